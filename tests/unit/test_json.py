"""What programs rely on: the outputs in JSON fit their published schemas, and these describe every key."""

from __future__ import annotations

import json
import re
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator

from orlop.cli.main import run
from tests.unit.images_made import image as made_image
from tests.unit.images_made import layer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TOP = Path(__file__).parents[2]
SCHEMAS = {path.stem: json.loads(path.read_text()) for path in (TOP / "docs" / "schemas").glob("*.json")}
DATA = TOP / "tests" / "data"
ARCHIVES = [
    *(f"dockerd-{engine}/multi.tar" for engine in ("20.10-overlay2", "29-overlay2", "29-containerd")),
    "dockerd-20.10-overlay2/dup-by-id.tar",
    "other-tools/podman-oci.tar",
    "other-tools/legacy-v1-multi.tar",
    "other-tools/skopeo-oci-archive-zstd.tar",
]


def closed(schema: Any) -> Any:
    """Return a schema that forbids what it does not describe."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: closed(value) for key, value in schema.items()}
    if "title" in schema and "properties" in schema:
        inner["additionalProperties"] = False
    return inner


@pytest.fixture
def lines(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[Any]]:
    monkeypatch.setenv("ORLOP_ROOT", str(tmp_path / "root"))

    def call(*arguments: object) -> list[Any]:
        assert run([str(argument) for argument in arguments]) == 0
        return [json.loads(line) for line in capsysbinary.readouterr().out.splitlines()]

    return call


def check(name: str, documents: list[Any]) -> None:
    validator = Draft202012Validator(closed(SCHEMAS[name]))
    assert documents
    for document in documents:
        validator.validate(document)


@pytest.mark.sampled(6)
@pytest.mark.parametrize("archive", ARCHIVES)
def test_outputs_fit_their_schemas(lines: Callable[..., list[Any]], archive: str) -> None:
    loaded = lines("load", "-q", "-i", DATA / archive, "--format", "json")
    check("load", loaded)
    check("images", lines("images", "-a", "--digests", "--format", "json"))
    check("images", lines("images", "-a", "--no-trunc", "--format", "json"))
    check("images", lines("images", "--archive", DATA / archive, "--format", "json"))
    check("archive-ls", lines("archive", "ls", "--json", DATA / archive))
    ids = [image["ID"] for image in loaded]
    check("inspect", lines("inspect", "--format", "json", *ids))
    for image in ids:
        check("history", lines("history", "--format", "json", image))
        check("history", lines("history", "--human=false", "--no-trunc", "--format", "json", image))
    check("load", lines("load", "-q", "-i", DATA / archive, "--format", "json"))
    check("df", lines("df", "--format", "json"))
    check("df-verbose", lines("df", "-v", "--format", "json"))
    check("image-prune", lines("image", "prune", "-f", "--format", "json"))
    check("prune", lines("prune", "--dry-run", "-a", "--format", "json"))
    check("prune", lines("prune", "-f", "--format", "json"))
    for image in loaded:
        for name in image["Names"]:
            check("rmi", lines("rmi", "--format", "json", name))


def test_a_list_of_pins_fits(lines: Callable[..., list[Any]], capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    lines("load", "-q", "-i", DATA / ARCHIVES[0], "--format", "json")
    assert run(["pin", "example/tiny:1.0"]) == 0
    capsysbinary.readouterr()
    pinned = lines("pin", "--format", "json")
    check("images", pinned)
    assert [image["Repository"] for image in pinned] == ["example/tiny"]


def test_an_inspection_without_a_format_fits_too(
    lines: Callable[..., list[Any]], capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    lines("load", "-q", "-i", DATA / ARCHIVES[0], "--format", "json")
    assert run(["inspect", "example/tiny:1.0", "example/imported"]) == 0
    check("inspect", [json.loads(capsysbinary.readouterr().out)])


def test_a_pruning_fits_and_is_what_it_was_without_a_format(lines: Callable[..., list[Any]]) -> None:
    lines("load", "-q", "-i", DATA / ARCHIVES[0], "--format", "json")
    (pruned,) = lines("image", "prune", "-af", "--format", "json")
    check("image-prune", [pruned])
    assert "example/tiny:1.0" in pruned["Untagged"]
    assert pruned["Reclaimed"] > 3000


def test_a_sync_fits(lines: Callable[..., list[Any]], tmp_path: Path) -> None:
    lines("load", "-q", "-i", DATA / ARCHIVES[0], "--format", "json")
    file = tmp_path / "sync.toml"
    file.write_text(f'[[sync]]\nsource = "store:example/tiny"\ntarget = "oci:{tmp_path}/layout"\n')
    for options in (["--dry-run"], []):
        check("sync", lines("sync", "--state", tmp_path / "state", "--format", "json", *options, file))


def test_a_name_that_moved_fits(lines: Callable[..., list[Any]]) -> None:
    lines("load", "-q", "-i", DATA / ARCHIVES[0], "--format", "json")
    moved = lines("load", "-q", "-i", DATA / ARCHIVES[1], "--format", "json")
    assert any(image["Moved"] for image in moved)
    check("load", moved)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_a_schema_is_one_and_describes_what_it_names(name: str) -> None:
    Draft202012Validator.check_schema(SCHEMAS[name])
    for schema in objects(SCHEMAS[name]):
        assert set(schema["required"]) <= set(schema["properties"])


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    """Return every schema of an object that is titled."""
    if isinstance(schema, list):
        for item in schema:
            yield from objects(item)
    elif isinstance(schema, dict):
        if "title" in schema and "properties" in schema:
            yield schema
        for value in schema.values():
            yield from objects(value)


def test_every_schema_is_named_in_the_documentation() -> None:
    text = (TOP / "docs" / "json.md").read_text()
    for name in SCHEMAS:
        assert f"(schemas/{name}.json)" in text


def test_a_schema_refuses_what_does_not_fit() -> None:
    image = {"Untagged": "a:1", "Deleted": "sha256:no"}
    assert not Draft202012Validator(SCHEMAS["rmi"]).is_valid(image)
    assert Draft202012Validator(SCHEMAS["rmi"]).is_valid({"Untagged": "a:1", "Deleted": ""})
    assert not Draft202012Validator(SCHEMAS["rmi"]).is_valid({"Untagged": "a:1", "Deleted": f"sha256:{64 * '0'}"})


INSIDE = {
    "files": [
        ["ls", "-R", "made:1"],
        ["ls", "--layers", "made:1"],
        ["find", "made:1"],
        ["find", "made:1", "--layer", "1"],
    ],
    "stat": [["stat", "made:1", path] for path in ("/dev/odd", "/a", "/etc", "/caf\udce9")],
    "grep": [["grep", *more, "^o", "made:1"] for more in ([], ["-l"], ["-L"], ["-c"], ["-v"], ["--layers"])],
    "diff": [
        ["diff", "made:1#1", "made:1"],
        ["diff", "--content", "made:1", "made:1#1"],
        ["diff", "made:1#1", "made:1#2"],
    ],
    "diff-config": [["diff", "--config", "made:1", "other:1"]],
    "audit": [["audit", "made:1", "other:1"], ["audit", "--no-content", "made:1"]],
}


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("schema", "words"), [(schema, words) for schema in INSIDE for words in INSIDE[schema]], ids=str
)
def test_what_is_inside_fits(
    tmp_path: Path,
    capsysbinary: pytest.CaptureFixture[bytes],
    monkeypatch: pytest.MonkeyPatch,
    schema: str,
    words: list[str],
) -> None:
    monkeypatch.setenv("ORLOP_ROOT", str(tmp_path / "root"))
    device, odd = tarfile.TarInfo("dev/odd"), tarfile.TarInfo("far")
    device.type, device.devmajor = tarfile.BLKTYPE, 8
    odd.pax_headers, odd.mtime, odd.uid = {"SCHILY.xattr.user.café": "1"}, 10**12, -1
    layers = [
        layer(device, odd, "etc/", ("etc/was", b"word\n"), ("a", b"no\n"), ("caf\udce9", b"o\xff\n"), "l->caf\udce9"),
        layer(("a", b"other\n"), "etc/.wh.was", ("b", b"\0o"), "c=>a"),
    ]
    for tag, some, user in (("made:1", layers, "me"), ("other:1", layers[:1], "you")):
        (tmp_path / "made.tar").write_bytes(made_image(*some, tag=tag, config={"User": user}))
        assert run(["load", "-q", "-i", str(tmp_path / "made.tar")]) == 0
    capsysbinary.readouterr()
    assert run([words[0], "--format", "json", *words[1:]]) in {0, 4, 8}
    check(schema, [json.loads(line) for line in capsysbinary.readouterr().out.splitlines()])


def test_every_command_that_prints_json_is_listed_with_a_schema_and_tried() -> None:
    text = (TOP / "docs" / "json.md").read_text()
    pages = [page for page in (TOP / "docs" / "commands").glob("*.md") if "`--format FORMAT`" in page.read_text()]
    names = {page.read_text().partition("\n")[0].removeprefix("# ") for page in pages}
    assert {"orlop ls", "orlop images", "orlop store info"} <= names
    table = text.partition("\n\n`orlop import`")[0]
    assert sorted(name for name in names if not re.search(rf"`{name}\b|`{name.split()[-1]}`", table)) == []
    assert {*re.findall(r"\(schemas/([a-z-]+)\.json\)", table)} == {*SCHEMAS}
