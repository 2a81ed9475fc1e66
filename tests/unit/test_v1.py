"""Version 1 IDs and configs: goldens of real engines, and the answers of the image package itself."""

from __future__ import annotations

import base64
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from orlop.errors import InvalidDigest, InvalidImage, InvalidReference
from orlop.model import v1
from orlop.model.dialect import Dialect
from orlop.model.digest import DiffID, Digest, chain_id
from orlop.model.image import Image, RootFS
from orlop.model.reference import Reference

DATA = Path(__file__).parent.parent / "data"
VECTORS = [
    json.loads(line) for line in (DATA / "reference-answers/vectors.jsonl").read_text(encoding="utf-8").splitlines()
]
DIALECTS = {
    "dockerd-20.10-overlay2": Dialect.ENGINE_20_10,
    "dockerd-20.10-vfs": Dialect.ENGINE_20_10,
    "dockerd-29-overlay2": Dialect.ENGINE_29,
}
ARCHIVES = [
    (folder, path.name)
    for folder in DIALECTS
    for path in sorted((DATA / folder).glob("*.tar"))
    if path.stem != "data-root"
]


def files_of(folder: str, name: str) -> dict[str, bytes]:
    with tarfile.open(DATA / folder / name) as archive:
        return {member.name: content.read() for member in archive if (content := archive.extractfile(member))}


def configs_of(files: dict[str, bytes]) -> list[bytes]:
    return [files[entry["Config"]] for entry in json.loads(files["manifest.json"])]


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def answer_image(question: dict[str, str]) -> dict[str, Any]:
    raw = base64.b64decode(question["raw"])
    try:
        image = Image.from_json(raw)
        history = v1.history_from_config(raw, empty_layer=True)
        config = v1.make_config_from_v1_config(raw, RootFS(), [history])
    except InvalidImage:
        return {"error": True}
    chain = image.rootfs.chain_id()
    parent = Digest.unchecked(question["parent"]) if question["parent"] else None
    return {
        "marshal": base64_of(image.to_json()),
        "chain_id": "" if chain is None else str(chain),
        "v1_id": str(v1.create_id(image, chain, parent)),
        "v1_config": base64_of(v1.make_v1_config_from_config(image, "aaaa", "bbbb", throwaway=True)),
        "history": base64_of(history.to_json()),
        "config_from_v1": base64_of(config),
    }


def answer_reference(question: dict[str, str]) -> dict[str, Any]:
    try:
        reference = Reference.parse(question["name"])
    except InvalidReference:
        return {"error": True}
    return {
        "string": str(reference),
        "familiar": reference.familiar,
        "domain": reference.domain,
        "path": reference.path,
        "tagged": str(reference.with_default_tag()),
    }


def answer_chain(question: dict[str, str]) -> dict[str, Any]:
    chain = chain_id(map(DiffID.unchecked, json.loads(question["ids"])))
    return {"chain_id": "" if chain is None else str(chain)}


def answer_digest(question: dict[str, str]) -> dict[str, Any]:
    try:
        return {"ok": str(Digest.parse(question["d"]))}
    except InvalidDigest:
        return {"error": True}


ANSWERS = {"image": answer_image, "ref": answer_reference, "chain": answer_chain, "digest": answer_digest}


@pytest.mark.parametrize("operation", ANSWERS)
def test_every_question_gets_the_answer_of_the_reference_package(operation):
    asked = 0
    for vector in VECTORS:
        question = vector["in"]
        if question["op"] != operation:
            continue
        expected = {key: value for key, value in vector.items() if key != "in"}
        if "error" in expected:
            expected = {"error": True}
        assert ANSWERS[operation](question) == expected, question
        asked += 1
    assert asked


@pytest.mark.parametrize(("folder", "name"), ARCHIVES)
def test_an_engine_writes_its_configs_as_we_do(folder, name):
    for raw in configs_of(files_of(folder, name)):
        assert Image.from_json(raw, dialect=DIALECTS[folder]).to_json(DIALECTS[folder]) == raw


@pytest.mark.parametrize(("folder", "name"), ARCHIVES)
def test_v1_ids_and_json_are_those_inside_the_archives(folder, name):
    files = files_of(folder, name)
    dialect = DIALECTS[folder]
    if dialect is Dialect.ENGINE_29:
        stem, tail = "blobs/sha256/", ""
        inside = {name: content for name, content in files.items() if content.startswith(b'{"id":')}
    else:
        stem, tail = "", "/json"
        inside = {name: content for name, content in files.items() if name.endswith("/json")}
    layers = [layer for raw in configs_of(files) for layer in v1.v1_layers(Image.from_json(raw), dialect)]
    assert {f"{stem}{layer.id}{tail}": layer.json for layer in layers} == inside


@pytest.mark.parametrize("path", sorted((DATA / "dockerd-29-containerd").glob("*.tar")), ids=lambda path: path.name)
def test_configs_in_the_order_of_the_oci_specification_are_read_all_the_same(path):
    # With containerd storage the engine writes a config as its builder makes it: not sorted, without container_config.
    for raw in configs_of(files_of("dockerd-29-containerd", path.name)):
        image = Image.from_json(raw, dialect=Dialect.ENGINE_29)
        again = Image.from_json(image.to_json(Dialect.ENGINE_29), dialect=Dialect.ENGINE_29)
        assert raw.startswith(b'{"created":')
        assert image.image_id == str(Digest.of(raw))
        assert (again.v1, again.rootfs, again.history) == (image.v1, image.rootfs, image.history)


def test_layers_go_bottom_first_and_name_the_one_below():
    image = Image.from_json(
        b'{"rootfs":{"type":"layers","diff_ids":["sha256:%s","sha256:%s"]},"os":"linux","author":"a"}'
        % (b"1" * 64, b"2" * 64)
    )
    lower, upper = v1.v1_layers(image)
    assert lower.chain_id == chain_id(image.rootfs.diff_ids[:1])
    assert upper.chain_id == image.rootfs.chain_id()
    assert json.loads(lower.json)["created"] == "1970-01-01T00:00:00Z"
    assert json.loads(lower.json)["os"] == "linux"
    assert json.loads(upper.json)["parent"] == lower.id
    assert json.loads(upper.json)["author"] == "a"
    assert v1.v1_layers(Image.from_json(b'{"rootfs":{}}')) == ()


@pytest.mark.parametrize(
    ("version", "exact"),
    [
        ("", False),
        ("1.8.2", False),
        ("1.8", False),
        ("x.y", False),
        ("1.8.3-rc1", False),
        ("1.8.3.-1", False),
        ("1.8.3", True),
        ("1.8.3.1", True),
        ("1.10.0-dev", True),
        ("+2", True),
        ("99999999999999999999", True),
        ("-99999999999999999999", False),
    ],
)
def test_configs_of_old_engines_pass_through_the_typed_fields(version, exact):
    raw = json.dumps({"docker_version": version, "unknown": 1.0, "id": "x", "Size": 5, "parent": "y"}).encode()
    config = json.loads(v1.make_config_from_v1_config(raw, RootFS(), []))
    assert ("unknown" in config) is exact
    assert ("container_config" in config) is not exact
    assert config["rootfs"] == {"type": "layers"}
    assert config["history"] == []
    assert not {"id", "parent", "Size"} & set(config)


@pytest.mark.parametrize("raw", [b"", b"[]", b'{"docker_version":1}', b'{"id":1}', b'{"container_config":[]}'])
def test_v1_configs_that_cannot_be_read_are_refused(raw):
    with pytest.raises(InvalidImage):
        v1.make_config_from_v1_config(raw, RootFS(), [])
    if raw != b'{"docker_version":1}':
        with pytest.raises(InvalidImage):
            v1.history_from_config(raw, empty_layer=False)


def test_the_command_of_a_history_entry_is_its_words():
    history = v1.history_from_config(
        b'{"container_config":{"Cmd":["a","b c"]},"author":"x","comment":"y"}', empty_layer=False
    )
    assert (history.created_by, history.author, history.comment, history.empty_layer) == ("a b c", "x", "y", False)


def test_a_v1_config_may_lack_parent_and_throwaway():
    image = Image.from_json(b'{"rootfs":{},"history":[],"os.version":"1","OS.features":[],"z":1 }')
    assert v1.make_v1_config_from_config(image, "i<", "", throwaway=False) == (
        rb'{"OS.features":[],"id":"i\u003c","z":1}'
    )
    with pytest.raises(InvalidImage):
        v1.make_v1_config_from_config(Image(), "i", "", throwaway=False)


def test_v1_ids_are_64_hex_digits():
    v1.validate_id("0a" * 32)
    for text in ("", "0A" * 32, "0a" * 31, "0a" * 33, "0a" * 32 + "\n", "sha256:" + "0a" * 32):
        with pytest.raises(InvalidDigest):
            v1.validate_id(text)
