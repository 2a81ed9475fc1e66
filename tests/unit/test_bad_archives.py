"""Bad input: one clear sentence, a stable class, and a store that is exactly as it was."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop import errors
from tests.unit.layouts import everything, layer_tar, packed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.layouts import Files


LAYER = layer_tar("hello")
DIFF_ID = "sha256:" + hashlib.sha256(LAYER).hexdigest()


def config(*diff_ids: str, **more: object) -> bytes:
    document = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": list(diff_ids)}}
    return json.dumps(document | more).encode()


def manifest(**changes: object) -> bytes:
    return json.dumps([{"Config": "config.json", "RepoTags": ["a/b:c"], "Layers": ["layer.tar"]} | changes]).encode()


def good() -> Files:
    return {"manifest.json": manifest(), "config.json": config(DIFF_ID), "layer.tar": LAYER}


def with_link(kind: bytes, name: str, target: str, files: Files) -> bytes:
    out = io.BytesIO(packed(files))
    with tarfile.open(fileobj=out, mode="a") as tar:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, target
        tar.addfile(member)
    return out.getvalue()


def without(name: str) -> bytes:
    return packed({key: value for key, value in good().items() if key != name})


def pax(name: str, records: bytes) -> bytes:
    """A member of no content with these raw records before it."""
    header = tarfile.TarInfo("pax").tobuf(tarfile.USTAR_FORMAT)
    fields = bytearray(header)
    fields[156:157] = b"x"
    fields[124:136] = b"%011o\0" % len(records)
    fields[148:156] = b" " * 8
    fields[148:156] = b"%06o\0 " % sum(fields)
    member = tarfile.TarInfo(name).tobuf(tarfile.USTAR_FORMAT)
    return bytes(fields) + records + bytes(-len(records) % 512) + member


def record(key: str, value: str) -> bytes:
    text = f" {key}={value}\n"
    size = len(text) + 2
    return f"{size}{text}".encode()


def huge_sparse() -> bytes:
    facts = {"major": "1", "minor": "0", "realsize": str(2**63 - 1)}
    records = b"".join(record(f"GNU.sparse.{key}", value) for key, value in facts.items())
    return b"".join(pax(name, records) for name in ("one", "two")) + bytes(1024)


def digits() -> bytes:
    """What a search for the next record would take hours for."""
    return pax("x", b"1" * (1 << 20)) + bytes(1024)


def without_end(content: bytes) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        last = tar.getmembers()[-1]
    return content[: last.offset_data + -(-last.size // 512) * 512]


def changed(**files: bytes) -> bytes:
    return packed(
        good() | {name.replace("_json", ".json").replace("_tar", ".tar"): body for name, body in files.items()}
    )


BAD: dict[str, tuple[Callable[[], bytes], type[orlop.OrlopError], str]] = {
    "empty": (lambda: b"", errors.InvalidArchive, "empty"),
    "junk": (lambda: b"junk\n", errors.InvalidTar, "not an image archive"),
    "long junk": (lambda: bytes(range(1, 256)) * 100, errors.InvalidTar, "tar"),
    "cut in a header": (lambda: packed(good())[:1100], errors.InvalidTar, "ends"),
    "cut in a layer": (lambda: packed(good())[: -(10240 - 512 * 8)][: 512 * 7], errors.InvalidInput, ""),
    "damaged gzip": (lambda: gzip.compress(packed(good()))[:-20], errors.InvalidCompression, ""),
    "unknown compression": (lambda: b"\x04\x22\x4d\x18" + b"x" * 5000, errors.InvalidInput, ""),
    "no manifest": (lambda: without("manifest.json"), errors.InvalidArchive, "manifest.json"),
    "no config": (lambda: without("config.json"), errors.InvalidArchive, "'config.json'"),
    "no layer": (lambda: without("layer.tar"), errors.InvalidArchive, "'layer.tar'"),
    "manifest null": (lambda: changed(manifest_json=b"null"), errors.InvalidArchive, "not a list"),
    "manifest object": (lambda: changed(manifest_json=b"{}"), errors.InvalidArchive, "not a list"),
    "manifest empty list": (lambda: changed(manifest_json=b"[]"), errors.InvalidArchive, "no image"),
    "manifest of numbers": (lambda: changed(manifest_json=b"[1]"), errors.InvalidArchive, "entry 0"),
    "manifest no JSON": (lambda: changed(manifest_json=b"[{"), errors.InvalidJSON, ""),
    "manifest too large": (
        lambda: changed(manifest_json=b"[" + b" " * (5 << 20) + b"]"),
        errors.InvalidInput,
        "manifest.json",
    ),
    "config a number": (lambda: changed(manifest_json=manifest(Config=1)), errors.InvalidArchive, "Config"),
    "layers a text": (lambda: changed(manifest_json=manifest(Layers="layer.tar")), errors.InvalidArchive, "Layers"),
    "layers of numbers": (lambda: changed(manifest_json=manifest(Layers=[1])), errors.InvalidArchive, "Layers"),
    "tags a text": (lambda: changed(manifest_json=manifest(RepoTags="a:b")), errors.InvalidArchive, "RepoTags"),
    "too few layers": (lambda: changed(manifest_json=manifest(Layers=[])), errors.InvalidArchive, "diff IDs"),
    "too many layers": (
        lambda: changed(manifest_json=manifest(Layers=["layer.tar"] * 2)),
        errors.InvalidArchive,
        "diff IDs",
    ),
    "126 layers": (
        lambda: changed(manifest_json=manifest(Layers=["layer.tar"] * 126), config_json=config(*[DIFF_ID] * 126)),
        errors.LimitExceeded,
        "126 layers or more, but the limit layers is 125",
    ),
    "config without rootfs": (lambda: changed(config_json=b"{}"), errors.InvalidImage, ""),
    "config with garbage after it": (lambda: changed(config_json=config(DIFF_ID) + b"x"), errors.InvalidInput, ""),
    "history of two layers": (
        lambda: changed(config_json=config(DIFF_ID, history=[{}, {}])),
        errors.InvalidImage,
        "history",
    ),
    "wrong diff ID": (
        lambda: changed(config_json=config("sha256:" + "1" * 64)),
        errors.DigestMismatch,
        "diff ID",
    ),
    "diff ID a path": (lambda: changed(config_json=config("sha256:../../../x")), errors.InvalidDigest, ""),
    "config digest": (
        lambda: packed(
            {
                "manifest.json": manifest(Config="1" * 64 + ".json"),
                "1" * 64 + ".json": config(DIFF_ID),
                "layer.tar": LAYER,
            }
        ),
        errors.DigestMismatch,
        "config",
    ),
    "layer no tar": (lambda: changed(layer_tar=b"x" * 2000), errors.InvalidTar, "layer"),
    "layer cut": (
        lambda: changed(layer_tar=LAYER[:514], config_json=config("sha256:" + hashlib.sha256(LAYER[:514]).hexdigest())),
        errors.InvalidTar,
        "layer",
    ),
    "layer outside": (
        lambda: changed(manifest_json=manifest(Layers=["../layer.tar"])),
        errors.InvalidArchive,
        "outside",
    ),
    "member outside": (lambda: packed(good() | {"../x": b"x"}), errors.InvalidArchive, "outside"),
    "two different members": (
        lambda: packed([*good().items(), ("./config.json", config(DIFF_ID, author="x"))]),
        errors.InvalidArchive,
        "two different members",
    ),
    "two different layers": (
        lambda: packed([*good().items(), ("layer.tar", layer_tar("other"))]),
        errors.InvalidArchive,
        "two different members",
    ),
    "link circle": (
        lambda: with_link(tarfile.SYMTYPE, "a.tar", "a.tar", good() | {"manifest.json": manifest(Layers=["a.tar"])}),
        errors.InvalidArchive,
        "loop",
    ),
    "link to nothing": (
        lambda: with_link(tarfile.LNKTYPE, "a.tar", "b.tar", good() | {"manifest.json": manifest(Layers=["a.tar"])}),
        errors.InvalidArchive,
        "incomplete",
    ),
    "link out": (
        lambda: with_link(
            tarfile.SYMTYPE, "a.tar", "../../etc/passwd", good() | {"manifest.json": manifest(Layers=["a.tar"])}
        ),
        errors.InvalidArchive,
        "outside",
    ),
    "tag without tag": (lambda: changed(manifest_json=manifest(RepoTags=["t"])), errors.InvalidReference, '"t"'),
    "tag no name": (lambda: changed(manifest_json=manifest(RepoTags=["A:B:C"])), errors.InvalidReference, "A:B:C"),
    "tag an ID": (lambda: changed(manifest_json=manifest(RepoTags=["a" * 64])), errors.InvalidReference, ""),
    "sparse files of more than a disk, by a map that does not fit": (
        lambda: changed(
            layer_tar=huge_sparse(), config_json=config("sha256:" + hashlib.sha256(huge_sparse()).hexdigest())
        ),
        errors.InvalidTar,
        "sparse map",
    ),
    "a name without end": (lambda: packed(good() | {"n" * 5000: b"x"}), errors.LimitExceeded, "4096"),
    "a link and a file of one name": (
        lambda: with_link(tarfile.SYMTYPE, "layer.tar", "config.json", good()),
        errors.InvalidArchive,
        "two different members",
    ),
    "digits without end": (lambda: changed(layer_tar=digits()), errors.InvalidTar, ""),
    "parent that is none": (
        lambda: packed(
            {
                "manifest.json": json.dumps(
                    [
                        {"Config": "config.json", "RepoTags": None, "Layers": ["layer.tar"]},
                        {
                            "Config": "child.json",
                            "RepoTags": None,
                            "Layers": ["layer.tar"],
                            "Parent": "sha256:" + hashlib.sha256(config(DIFF_ID)).hexdigest(),
                        },
                    ]
                ).encode(),
                "config.json": config(DIFF_ID),
                "child.json": config(DIFF_ID, history=[{"created_by": "a"}, {"created_by": "b", "empty_layer": True}]),
                "layer.tar": LAYER,
            }
        ),
        errors.InvalidArchive,
        "parent",
    ),
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("way", ["file", "stream", "gzip"])
def test_a_bad_archive_is_refused_and_changes_nothing(data, tmp_path, case, way):
    make, kind, sentence = BAD[case]
    content = make()
    if way == "gzip" and case not in {"empty", "junk", "damaged gzip"}:
        content = gzip.compress(content)
    (tmp_path / "bad.tar").write_bytes(content)
    source = io.BytesIO(content) if way == "stream" else tmp_path / "bad.tar"
    with orlop.open(tmp_path / "root") as images:
        images.load(data / "dockerd-29-overlay2" / "tiny.tar")
        before = everything(tmp_path / "root")
        with pytest.raises(kind) as caught:
            images.load(source)
        assert everything(tmp_path / "root") == before
    text = str(caught.value)
    assert sentence in text
    assert "\n" not in text
    assert len(text) < 500


@pytest.mark.sampled(2)
@pytest.mark.parametrize("way", ["file", "stream"])
def test_what_daemons_accept_is_accepted(tmp_path, way):
    odd = {
        "data after the manifest": changed(manifest_json=manifest() + b"x"),
        "keys in other cases": changed(manifest_json=manifest().replace(b"Config", b"CONFIG")),
        "no end blocks": without_end(packed(good())),
        "a dot before the names": packed({f"./{name}": body for name, body in good().items()}),
        "a symbolic link": with_link(
            tarfile.SYMTYPE, "d/a.tar", "../layer.tar", good() | {"manifest.json": manifest(Layers=["d/a.tar"])}
        ),
        "a hard link": with_link(
            tarfile.LNKTYPE, "d/a.tar", "layer.tar", good() | {"manifest.json": manifest(Layers=["d/a.tar"])}
        ),
        "a member twice": packed([*good().items(), *good().items()]),
        "other members": packed(good() | {"README": b"hello" * 1000, "x/y": b"", "big": os.urandom(5000)}),
        "no layers": changed(manifest_json=manifest(Layers=None), config_json=config()),
        "foreign platform": changed(config_json=config(DIFF_ID, os="plan9", architecture="mips")),
        "a layer of no bytes": changed(layer_tar=b"", config_json=config("sha256:" + hashlib.sha256(b"").hexdigest())),
        "bytes after the layer": changed(
            layer_tar=LAYER + b"tail" * 500,
            config_json=config("sha256:" + hashlib.sha256(LAYER + b"tail" * 500).hexdigest()),
        ),
        "any type of root file system": changed(config_json=config(DIFF_ID).replace(b'"layers"', b'"other"')),
        "a parent elsewhere": changed(manifest_json=manifest(Parent="sha256:" + "2" * 64)),
    }
    (tmp_path / "odd.tar").touch()
    for number, (case, content) in enumerate(odd.items()):
        (tmp_path / "odd.tar").write_bytes(content)
        with orlop.open(tmp_path / f"root{number}") as images:
            report = images.load(io.BytesIO(content) if way == "stream" else tmp_path / "odd.tar")
            assert len(report.images) == 1, case
            out = io.BytesIO()
            images.save(["a/b:c"], out)
            assert images.raw_config("a/b:c") in out.getvalue(), case


def test_zeros_without_end_are_no_archive(tmp_path):
    with orlop.open(tmp_path / "root") as images, open("/dev/zero", "rb") as zeros, pytest.raises(errors.InvalidInput):  # noqa: PTH123
        images.load(zeros)


def test_a_failed_load_leaves_a_new_root_usable(tmp_path):
    with orlop.open(tmp_path / "root") as images:
        with pytest.raises(orlop.OrlopError):
            images.load(io.BytesIO(b"junk"))
        assert images.images() == []
        assert images.load(io.BytesIO(packed(good()))).images


@pytest.mark.needs("mounts")
def test_a_full_disk_is_a_clear_error_and_loses_nothing(data, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "orlop-test", small], check=True)
    try:
        body = os.urandom(8 << 20)
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            member = tarfile.TarInfo("big")
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
        layer = out.getvalue()
        big = changed(layer_tar=layer, config_json=config("sha256:" + hashlib.sha256(layer).hexdigest()))
        with orlop.open(small / "root") as images:
            images.load(data / "dockerd-29-overlay2" / "tiny.tar")
            before = everything(small / "root")
            with pytest.raises(errors.NoSpace, match="no space left"):
                images.load(io.BytesIO(big))
            assert everything(small / "root") == before
            # The space is given back: what fits is loaded as before.
            assert images.load(data / "dockerd-29-overlay2" / "multi.tar").images
            (tmp_path / "big.tar").write_bytes(big)
        with orlop.open(tmp_path / "roomy") as images:
            images.load(tmp_path / "big.tar")
            with pytest.raises(errors.NoSpace, match=re.escape(str(small))):
                images.save(["a/b:c"], small / "out.tar")
        assert sorted(path.name for path in small.iterdir()) == ["root"]
    finally:
        subprocess.run(["umount", "-l", small], check=True)


@pytest.mark.needs("mounts")
def test_a_store_on_a_read_only_mount_is_read_and_not_written(data, tmp_path):
    root, view = tmp_path / "root", tmp_path / "view"
    with orlop.open(root) as images:
        images.load(data / "dockerd-29-overlay2" / "tiny.tar")
    view.mkdir()
    subprocess.run(["mount", "--bind", "-o", "ro", root, view], check=True)
    try:
        before = everything(root)
        with orlop.open(view) as images:
            assert [image.references[0].familiar for image in images.images()] == ["example/tiny:1.0"]
            out = io.BytesIO()
            images.save(["example/tiny:1.0"], out)
            assert out.getvalue() == (data / "dockerd-29-overlay2" / "tiny.tar").read_bytes()
            for change in (
                lambda: images.load(data / "dockerd-29-overlay2" / "dup.tar"),
                lambda: images.tag("example/tiny:1.0", "x:y"),
                lambda: images.remove("example/tiny:1.0"),
            ):
                with pytest.raises(errors.ReadOnlyStore, match="read-only"):
                    change()
        assert everything(root) == before
        # Who may write through another mount is seen, with what is still in a log and without.
        with orlop.open(view) as looking:
            with orlop.open(root) as images:
                images.tag("example/tiny:1.0", "second:1")
                assert len(looking.images()[0].references) == 2
                images.tag("example/tiny:1.0", "third:1")
                assert len(looking.images()[0].references) == 3
            assert len(looking.images()[0].references) == 3
    finally:
        subprocess.run(["umount", "-l", view], check=True)


@pytest.mark.needs("root")
def test_a_root_of_another_user_is_a_clear_error(data, public):
    # Another user may come as far as the root itself.
    with orlop.open(public / "root") as images:
        images.load(data / "dockerd-29-overlay2" / "tiny.tar")
    # The process gives up its privileges by itself: another user might not reach this interpreter's files.
    script = """
import os, sys, orlop
from orlop import OrlopError
with orlop.open(sys.argv[2]) as images:
    images.images()
os.setgroups([]), os.setgid(65534), os.setuid(65534)
try:
    orlop.open(sys.argv[1]).images()
except OrlopError as error:
    print(error.code, error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, public / "root", public / "warm"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("PERMISSION_DENIED"), done
    assert str(public / "root") in done.stdout


ELF = b"\x7fELF\x02\x01\x01" + bytes(range(256)) * 8
OTHERS = {"text": b"root:x:0:0:root:/root:/bin/bash\n" * 50, "program": ELF, "picture": b"\x89PNG\r\n\x1a\n" + ELF}


@pytest.mark.parametrize("content", OTHERS.values(), ids=OTHERS)
def test_a_file_that_is_no_archive_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other"
    path.write_bytes(content)
    with orlop.open(tmp_path / "store") as images:
        with pytest.raises(errors.InvalidTar, match=rf"^{path} is not an image archive: .*; give one such"):
            images.load(path)
        with pytest.raises(errors.InvalidTar, match=r"^the input is not an image archive: "):
            images.load(io.BytesIO(content))
        with pytest.raises(errors.InvalidTar, match=r"^the first 512 bytes .* are not a tar header"):
            images.import_image(io.BytesIO(gzip.compress(content)))
        with pytest.raises(errors.InvalidTar, match=rf"^the file '{path}' is not a layer tar: the first 512 bytes"):
            images.import_image(path)


BROKEN = (
    b"",
    b'[{"Config":',
    b"\xef\xbb\xbf{}",
    b"{\xff}",
    b'{"a":NaN}',
    b'{"imageLayoutVersion":"1","imageLayoutVersion":"2","os":"a","os":"b"}',
)


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize(
    "name", ["manifest.json", "config.json", "oci-layout", "index.json", "repositories", "v1/json"]
)
def test_an_error_names_the_document_that_is_damaged(tmp_path: Path, name: str, broken: bytes):
    files = good()
    if name in {"oci-layout", "index.json"}:
        files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": b'{"manifests":[]}'}
    elif name in {"repositories", "v1/json"}:
        files = {
            "repositories": b'{"a":{"1":"v1"}}',
            "v1/json": b'{"id":"v1"}',
            "v1/layer.tar": LAYER,
            "v1/VERSION": b"1",
        }
    (tmp_path / "broken.tar").write_bytes(packed(files | {name: broken}))
    with orlop.open(tmp_path / "store") as images, pytest.raises(errors.InvalidInput) as refused:
        images.load(tmp_path / "broken.tar")
    assert name in str(refused.value)
