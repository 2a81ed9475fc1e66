"""Images that are added to an archive of Docker's: what it holds then, who may do it at once, and what is refused."""

from __future__ import annotations

import copy
import gzip
import io
import json
import os
import tarfile
import threading
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from orlop import errors
from orlop.archive.old_tar import OldTar
from orlop.streams.compression import zstd_module
from tests.unit.layouts import Layout, named, packed, unpacked
from tests.unit.test_cli_push import Shell

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

A, B, C = (f"docker.io/example/app:{tag}" for tag in "abc")
FORMATS = pytest.mark.parametrize("form", ["docker", "docker-20.10"])


@pytest.fixture
def images(tmp_path: Path) -> Iterator[orlop.ImageService]:
    made = Layout()
    made.top(
        made.image("1", "2", **named(A)),
        made.image("1", "2", "3", **named(B)),
        made.image("4", "2", **named(C)),
    )
    with orlop.open(tmp_path / "root") as service:
        service.load(io.BytesIO(made.pack()))
        yield service


def contents(archive: Path) -> dict[str, tuple[bytes, bytes]]:
    """Each member's header fields and content."""
    with tarfile.open(archive) as tar:
        return {
            member.name: (
                member.tobuf(),
                b"" if (file := tar.extractfile(member) if member.isfile() else None) is None else file.read(),
            )
            for member in tar
        }


def ids_in(archive: Path, folder: Path) -> dict[str, str]:
    """Return the ID of each name that a fresh store has after a load of the archive."""
    with orlop.open(folder) as other:
        other.load(archive)
        return {str(name): str(image.id) for image in other.images(all=True) for name in image.references} | {
            str(image.id): str(image.id) for image in other.images(all=True) if not image.references
        }


def test_one_by_one_gives_what_all_at_once_give(images: orlop.ImageService, tmp_path: Path) -> None:
    for name in (A, B, C):
        images.save([name], tmp_path / "one.tar", append=True)
    images.save([A, B, C], tmp_path / "all.tar")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "all.tar").read_bytes()


@pytest.mark.parametrize("compress", [None, "gzip:1"])
def test_one_by_one_gives_an_oci_layout_that_all_at_once_give(
    images: orlop.ImageService, tmp_path: Path, compress: str | None
) -> None:
    for name in (B, A, C):
        images.save([name], tmp_path / "one.tar", format="oci", compress=compress, append=True)
    images.save([B, A, C], tmp_path / "all.tar", format="oci", compress=compress)
    one, all_ = contents(tmp_path / "one.tar"), contents(tmp_path / "all.tar")
    assert list(one) == list(all_)
    assert {name: one[name] for name in one if name != "index.json"} == {
        name: all_[name] for name in all_ if name != "index.json"
    }
    assert ids_in(tmp_path / "one.tar", tmp_path / "a") == ids_in(tmp_path / "all.tar", tmp_path / "b")
    raw = (tmp_path / "one.tar").read_bytes()
    images.save([A], tmp_path / "one.tar", format="oci", compress=compress, append=True)
    assert (tmp_path / "one.tar").read_bytes() == raw


def test_a_layout_of_others_keeps_its_order_and_every_byte(images: orlop.ImageService, tmp_path: Path) -> None:
    made = Layout()
    made.top(made.image("9", "2", **named("docker.io/other/app:1")), made.image("8", **named(A)))
    archive = tmp_path / "others.tar"
    archive.write_bytes(made.pack())
    before = contents(archive)
    images.save([A], archive, format="oci", append=True)
    after = contents(archive)
    assert [name for name in after if name in before and name != "index.json"] == [
        name for name in before if name != "index.json"
    ]
    assert {name: after[name] for name in before if name != "index.json"} == {
        name: before[name] for name in before if name != "index.json"
    }
    assert ids_in(archive, tmp_path / "other")[A] == str(images.inspect(A).image.id)
    assert "docker.io/other/app:1" in ids_in(archive, tmp_path / "other")


def test_a_damaged_blob_of_a_layout_is_replaced(images: orlop.ImageService, tmp_path: Path) -> None:
    archive = tmp_path / "some.tar"
    images.save([A], archive, format="oci")
    good = archive.read_bytes()
    with tarfile.open(archive) as tar:
        blob = max((member for member in tar if member.name.startswith("blobs/sha256/")), key=lambda one: one.size)
    archive.write_bytes(good[: blob.offset_data] + b"\xff" + good[blob.offset_data + 1 :])
    images.save([A], archive, format="oci", append=True)
    assert archive.read_bytes() == good


@FORMATS
def test_all_images_load_and_what_was_there_stays_to_the_byte(
    images: orlop.ImageService, tmp_path: Path, form: str
) -> None:
    archive = tmp_path / "some.tar"
    images.save([A], archive, format=form)
    archive.chmod(0o640)
    before = contents(archive)
    # The format of the archive decides.
    images.save([B, C], archive, append=True)
    after = contents(archive)
    documents = {"manifest.json", "index.json", "repositories"}
    folder = {"blobs"}
    assert {name: after[name] for name in before.keys() - documents - folder} == {
        name: before[name] for name in before.keys() - documents - folder
    }
    assert ("index.json" in after) == (form == "docker")
    assert ids_in(archive, tmp_path / "other") == {name: str(images.inspect(name).image.id) for name in (A, B, C)}
    assert archive.stat().st_mode & 0o777 == 0o640
    raw = archive.read_bytes()
    images.save([B, C], archive, append=True)
    assert archive.read_bytes() == raw


@FORMATS
def test_a_name_moves_and_its_image_stays(images: orlop.ImageService, tmp_path: Path, form: str) -> None:
    archive = tmp_path / "some.tar"
    images.save([A, C], archive, format=form)
    first = str(images.inspect(A).image.id)
    images.tag(B, A)
    images.save([A], archive, append=True)
    second = str(images.inspect(B).image.id)
    assert ids_in(archive, tmp_path / "other") == {
        A: second,
        C: str(images.inspect(C).image.id),
        first: first,
    }


def test_a_second_name_of_an_image_joins_the_first(images: orlop.ImageService, tmp_path: Path) -> None:
    archive = tmp_path / "some.tar"
    images.save([A], archive)
    images.tag(A, "docker.io/example/other:1")
    images.save(["example/other:1"], archive, append=True)
    (entry,) = json.loads(contents(archive)["manifest.json"][1])
    assert entry["RepoTags"] == ["example/app:a", "example/other:1"]


def test_a_damaged_member_is_replaced(images: orlop.ImageService, tmp_path: Path) -> None:
    archive = tmp_path / "some.tar"
    images.save([A], archive)
    raw = bytearray(archive.read_bytes())
    images.save([A], tmp_path / "good.tar")
    with tarfile.open(archive) as tar:
        layer = next(member for member in tar if member.name.startswith("blobs/sha256/") and member.mode == 0o666)
    raw[layer.offset_data] ^= 1
    archive.write_bytes(raw)
    images.save([A], archive, append=True)
    assert archive.read_bytes() == (tmp_path / "good.tar").read_bytes()


def test_archives_of_engines_are_added_to(images: orlop.ImageService, data: Path, tmp_path: Path) -> None:
    for engine in ("dockerd-20.10-overlay2", "dockerd-29-overlay2"):
        archive = tmp_path / f"{engine}.tar"
        archive.write_bytes((data / engine / "multi.tar").read_bytes())
        before = ids_in(archive, tmp_path / f"{engine}-before")
        images.save([A], archive, append=True)
        added = {A: str(images.inspect(A).image.id)}
        assert ids_in(archive, tmp_path / f"{engine}-after") == before | added


def test_an_archive_of_containerd_storage_is_added_to(images: orlop.ImageService, data: Path, tmp_path: Path) -> None:
    raw = zstd_module().decompress((data / "oci" / "engine29-referrers.tar.zst").read_bytes())
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        inner = next((member for member in tar if member.name.endswith(".tar")), None)
        if inner is not None:
            file = tar.extractfile(inner)
            assert file is not None
            raw = file.read()
    archive = tmp_path / "some.tar"
    archive.write_bytes(raw)
    before = ids_in(archive, tmp_path / "before")
    images.save([A], archive, append=True)
    assert ids_in(archive, tmp_path / "after") == before | {A: str(images.inspect(A).image.id)}


def test_layers_are_left_out_that_the_archive_has(images: orlop.ImageService, tmp_path: Path) -> None:
    archive = tmp_path / "some.tar"
    images.save([A], archive)
    images.save([B], archive, since=[A], append=True)
    images.save([A, B], tmp_path / "all.tar")
    assert archive.read_bytes() == (tmp_path / "all.tar").read_bytes()


@pytest.mark.sampled(2)
@pytest.mark.parametrize("form", ["docker", "oci"])
def test_eight_writers_lose_nothing(images: orlop.ImageService, tmp_path: Path, form: str) -> None:
    archive = tmp_path / "some.tar"
    names = [f"docker.io/example/app:{number}" for number in range(8)]
    for name in names:
        images.tag(A, name)
    failures: list[BaseException] = []

    def add(name: str) -> None:
        try:
            images.save([name], archive, format=form, append=True)
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=add, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert sorted(name for name in ids_in(archive, tmp_path / "other") if "@" not in name) == names
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "root", "some.tar"]


def _twice(raw: bytes) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        members = [(member.name, tar.extractfile(member)) for member in tar if member.isfile()]
    files = [(name, b"" if file is None else file.read()) for name, file in members]
    return packed([*files, files[0]])


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (gzip.compress, "compressed"),
        (lambda raw: raw[:3000], "ends"),
        (lambda _: b"not a tar", "compressed|tar"),
        (lambda _: packed({"index.json": b"{}", "oci-layout": b"{}"}), "manifest.json"),
        (lambda _: packed({"manifest.json": b"{}"}), "manifest.json"),
        (lambda _: packed({"manifest.json": b"[1]"}), "manifest.json"),
        (lambda _: packed({"manifest.json": b"["}), "manifest.json"),
        (lambda _: packed({"manifest.json": b"[]", "index.json": b'{"manifests":[3]}'}), "index.json"),
        (lambda _: packed({"manifest.json": b"[]", "repositories": b"[]"}), "repositories"),
        (_twice, "twice"),
        (lambda _: b"", "manifest.json"),
    ],
    ids=["gzip", "cut", "text", "layout", "object", "numbers", "json", "index", "repositories", "twice", "empty"],
)
def test_what_is_not_such_an_archive_stays_as_it_is(
    images: orlop.ImageService, tmp_path: Path, change: Any, words: str
) -> None:
    archive = tmp_path / "some.tar"
    images.save([A], archive)
    raw = change(archive.read_bytes())
    archive.write_bytes(raw)
    with pytest.raises(errors.InvalidArchive, match=words):
        images.save([B], archive, append=True)
    assert archive.read_bytes() == raw
    assert sorted(path.name for path in tmp_path.iterdir()) == ["root", "some.tar"]


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (gzip.compress, "compressed"),
        (lambda raw: raw[:-3000], "ends|not an OCI layout"),
        (lambda _: packed({"manifest.json": b"[]", "index.json": b"{}", "oci-layout": b"{}"}), "manifest.json"),
        (lambda _: packed({"index.json": b"{}"}), "not an OCI layout"),
        (lambda _: packed({"index.json": b"{}", "oci-layout": b"[]"}), "version"),
        (lambda _: packed({"index.json": b"{}", "oci-layout": b'{"imageLayoutVersion":"2.0.0"}'}), "2.0.0"),
        (lambda _: packed({"index.json": b"[", "oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}), "index.json"),
        (lambda _: packed({"index.json": b'{"manifests":[3]}', "oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}), "3"),
        (_twice, "twice"),
        (lambda _: b"", "not an OCI layout"),
    ],
    ids=["gzip", "cut", "docker", "index-only", "array", "version", "json", "number", "twice", "empty"],
)
def test_what_is_not_a_layout_stays_as_it_is(
    images: orlop.ImageService, tmp_path: Path, change: Any, words: str
) -> None:
    archive = tmp_path / "some.tar"
    images.save([A], archive, format="oci")
    raw = change(archive.read_bytes())
    archive.write_bytes(raw)
    with pytest.raises(errors.InvalidArchive, match=words):
        images.save([B], archive, format="oci", append=True)
    assert archive.read_bytes() == raw
    assert sorted(path.name for path in tmp_path.iterdir()) == ["root", "some.tar"]


@pytest.mark.parametrize("form", ["docker", "oci"])
def test_what_others_add_meanwhile_is_not_lost(
    images: orlop.ImageService, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "some.tar"
    images.save([A], archive, format=form)
    content = OldTar.raw

    def raw(self: OldTar, entry: Any) -> Iterator[bytes]:
        with archive.open("ab") as file:
            file.write(bytes(512))
        return content(self, entry)

    monkeypatch.setattr(OldTar, "raw", raw)
    with pytest.raises(errors.InvalidArchive, match="changed meanwhile"):
        images.save([B], archive, format=form, append=True)
    monkeypatch.undo()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["root", "some.tar"]
    assert A in ids_in(archive, tmp_path / "other")


def test_only_files_are_added_to(images: orlop.ImageService, tmp_path: Path) -> None:
    with pytest.raises(errors.InvalidInput, match="oci-dir"):
        images.save([A], tmp_path / "some.tar", format="oci-dir", append=True)
    with pytest.raises(errors.InvalidInput, match="path"):
        images.save([A], io.BytesIO(), format="oci", append=True)
    with pytest.raises(errors.InvalidInput, match="path"):
        images.save([A], io.BytesIO(), append=True)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(errors.InvalidInput, match="not a file"):
        images.save([A], tmp_path / "pipe", append=True)
    with pytest.raises(errors.NotFound):
        images.save([A], tmp_path / "none" / "some.tar", append=True)


@pytest.mark.sampled(3)
def test_the_command(images: orlop.ImageService, tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    for name in (A, B):
        assert shell.run("save", "--append", "-o", f"{tmp_path}/some.tar", name).returncode == 0
    images.save([A, B], tmp_path / "all.tar")
    assert (tmp_path / "some.tar").read_bytes() == (tmp_path / "all.tar").read_bytes()
    assert shell.run("save", "--append", A).returncode == 2
    assert shell.run("save", "--append", "--format", "oci-dir", "-o", f"{tmp_path}/x", A).returncode == 2
    for name in (A, B):
        assert shell.run("save", "--append", "--format", "oci", "-o", f"{tmp_path}/oci.tar", name).returncode == 0
    images.save([A, B], tmp_path / "all-oci.tar", format="oci")
    assert (tmp_path / "oci.tar").read_bytes() == (tmp_path / "all-oci.tar").read_bytes()


def respelt(raw: bytes, change: Any, *, first: bytes = b"", format: int = tarfile.USTAR_FORMAT) -> bytes:  # noqa: A002
    """Return a tar whose members are changed, or left out, by a function; more may come before ``first``."""
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(raw)) as old, tarfile.open(fileobj=out, mode="w", format=format) as new:
        for member in old:
            file = old.extractfile(member) if member.isfile() else None
            for each in change(member):
                if each.name == "index.json" and first:
                    new.fileobj.write(first)
                    new.offset += len(first)
                new.addfile(each, file if each.isfile() else None)
    return out.getvalue()


def other(member: tarfile.TarInfo, **changes: Any) -> tarfile.TarInfo:
    found = copy.copy(member)
    for key, value in changes.items():
        setattr(found, key, value)
    return found


def added(images: orlop.ImageService, archive: Path, form: str = "oci") -> None:
    images.save([B], archive, format=form, append=True)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("form", ["docker", "oci"])
@pytest.mark.parametrize("spelling", ["./{}", ".//{}", "/{}", "a/../{}", "{}"])
def test_members_are_known_however_they_are_spelt(
    images: orlop.ImageService, tmp_path: Path, form: str, spelling: str
) -> None:
    archive = tmp_path / "some.tar"
    images.save([A], archive, format=form)
    archive.write_bytes(respelt(archive.read_bytes(), lambda one: [other(one, name=spelling.format(one.name))]))
    blobs = {name: found for name, found in contents(archive).items() if "blobs/sha256/" in name}
    added(images, archive, form)
    after = contents(archive)
    assert {name: after[name] for name in blobs} == blobs
    found = ids_in(archive, tmp_path / "other")
    assert {one: found[one] for one in (A, B)} == {one: str(images.inspect(one).image.id) for one in (A, B)}
    assert set(found.values()) == {found[A], found[B]}
    added(images, archive, form)
    assert contents(archive) == after


def _climbing(raw: bytes) -> bytes:
    return respelt(raw, lambda one: [other(one, name=f"a/../../{one.name}")])


def _linked_folder(raw: bytes) -> bytes:
    def change(one: tarfile.TarInfo) -> list[tarfile.TarInfo]:
        if one.name == "blobs":
            return [other(one, type=tarfile.SYMTYPE, linkname="store/blobs")]
        return [] if one.name == "blobs/sha256" else [other(one, name=one.name.replace("blobs/", "store/blobs/"))]

    return respelt(raw, change)


def _linked_index(raw: bytes) -> bytes:
    def change(one: tarfile.TarInfo) -> list[tarfile.TarInfo]:
        link = other(one, name="kept.json", type=tarfile.LNKTYPE, linkname="./index.json", size=0)
        return [one, link] if one.name == "index.json" else [one]

    return respelt(raw, change)


def _global_header(raw: bytes) -> bytes:
    header = tarfile.TarInfo.create_pax_global_header({"comment": "from elsewhere"})
    return respelt(raw, lambda one: [one], first=header)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("form", ["docker", "oci"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_climbing, "outside of it"),
        (_linked_folder, "blobs is not a folder"),
        (_linked_index, "kept.json is a hard link to ./index.json"),
        (_global_header, "global PAX header at byte"),
    ],
)
def test_what_would_come_out_as_something_else_is_refused(
    images: orlop.ImageService, tmp_path: Path, form: str, change: Any, words: str
) -> None:
    archive = tmp_path / "some.tar"
    images.save([A], archive, format=form)
    raw = change(archive.read_bytes())
    archive.write_bytes(raw)
    with pytest.raises(errors.InvalidArchive, match=words):
        added(images, archive, form)
    assert archive.read_bytes() == raw
    assert sorted(path.name for path in tmp_path.iterdir()) == ["root", "some.tar"]


def test_another_link_stays_what_it_is(images: orlop.ImageService, tmp_path: Path) -> None:
    archive = tmp_path / "some.tar"
    images.save([A], archive, format="oci")

    def change(one: tarfile.TarInfo) -> list[tarfile.TarInfo]:
        link = other(one, name="note", type=tarfile.LNKTYPE, linkname="oci-layout", size=0)
        return [one, link] if one.name == "oci-layout" else [one]

    archive.write_bytes(respelt(archive.read_bytes(), change))
    before = contents(archive)["note"]
    added(images, archive)
    assert contents(archive)["note"] == before
    assert {A, B} <= ids_in(archive, tmp_path / "other").keys()


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("b", None),
        (B, None),
        ("stable", {"org.opencontainers.image.ref.name": "stable", "x": "y"}),
        ("not a reference", {"org.opencontainers.image.ref.name": "not a reference", "x": "y"}),
        ("", None),
        (C, {"org.opencontainers.image.ref.name": C, "x": "y"}),
    ],
)
@pytest.mark.parametrize("form", ["oci", "oci-dir"])
def test_an_entry_that_loses_its_name_keeps_what_else_it_is_called(
    images: orlop.ImageService, tmp_path: Path, form: str, text: str, left: dict[str, str] | None
) -> None:
    made = Layout()
    notes = {"io.containerd.image.name": B, "x": "y"} | ({"org.opencontainers.image.ref.name": text} if text else {})
    entry = made.image("9", annotations=notes)
    made.top(entry)
    target = tmp_path / "some"
    if form == "oci":
        target.write_bytes(made.pack())
    else:
        unpacked(made.files, target)
    images.save([B], target, format=form, append=form == "oci")
    index = contents(target)["index.json"][1] if form == "oci" else (target / "index.json").read_bytes()
    entries = json.loads(index)["manifests"]
    assert [one["annotations"] for one in entries if one["digest"] == entry["digest"]] == (
        [] if left is None else [left]
    )
    assert [one["annotations"]["io.containerd.image.name"] for one in entries if one["digest"] != entry["digest"]] == [
        B
    ]


@FORMATS
@pytest.mark.parametrize("whole", [True, False])
def test_a_link_in_place_of_a_layer_leads_to_its_content(
    images: orlop.ImageService, tmp_path: Path, form: str, *, whole: bool
) -> None:
    images.save([B], tmp_path / "b.tar", format=form)
    layer = json.loads(files_of(tmp_path / "b.tar")["manifest.json"])[0]["Layers"][-1]
    archive = tmp_path / "some.tar"
    images.save([A], archive, format=form)
    with tarfile.open(archive, "a") as tar:
        link = tarfile.TarInfo(layer)
        link.type, link.linkname = tarfile.SYMTYPE, f"{'../' * layer.count('/')}kept.tar"
        tar.addfile(link)
        content = files_of(tmp_path / "b.tar")[layer] if whole else b"something else"
        kept = tarfile.TarInfo("kept.tar")
        kept.size = len(content)
        tar.addfile(kept, io.BytesIO(content))
    images.save([B], archive, format=form, append=True)
    with tarfile.open(archive) as tar:
        assert tar.getmember(layer).issym() == whole
    assert ids_in(archive, tmp_path / "other")[B] == str(images.inspect(B).image.id)


def files_of(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as tar:
        return {one.name: file.read() for one in tar if one.isfile() and (file := tar.extractfile(one)) is not None}


def rewritten(archive: Path, name: str, change: Any) -> None:
    files = files_of(archive)
    files[name] = json.dumps(change(json.loads(files[name]))).encode()
    archive.write_bytes(packed(files))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("manifest.json", lambda found: [{key.lower(): value for key, value in one.items()} for one in found]),
        ("manifest.json", lambda found: [one | {"Config": f".//{one['Config']}"} for one in found]),
        (
            "index.json",
            lambda found: {
                "MANIFESTS": [{key.upper(): value for key, value in one.items()} for one in found["manifests"]]
            },
        ),
    ],
    ids=["keys", "config", "index"],
)
def test_documents_are_read_however_they_are_spelt(
    images: orlop.ImageService, tmp_path: Path, name: str, change: Any
) -> None:
    archive = tmp_path / "some.tar"
    images.save([A], archive)
    rewritten(archive, name, change)
    for one in (A, B):
        images.save([one], archive, append=True)
    found = ids_in(archive, tmp_path / "other")
    assert found == {one: str(images.inspect(one).image.id) for one in (A, B)}
    files = files_of(archive)
    assert [len(one["RepoTags"]) for one in json.loads(files["manifest.json"])] == [1, 1]
    assert len(json.loads(files["index.json"])["manifests"]) == 2


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("manifest.json", lambda found: [found[0] | {"RepoTags": 5}]),
        ("manifest.json", lambda found: [found[0] | {"RepoTags": "example/app:1"}]),
        ("manifest.json", lambda found: [found[0] | {"Config": []}]),
        ("index.json", lambda found: found | {"manifests": {"a": 1}}),
        ("index.json", lambda found: found | {"manifests": 5}),
        (
            "index.json",
            lambda found: {"manifests": [found["manifests"][0] | {"annotations": {"io.containerd.image.name": []}}]},
        ),
    ],
    ids=["names-number", "names-text", "config", "object", "number", "name"],
)
def test_documents_that_say_nothing_are_not_added_to(
    images: orlop.ImageService, tmp_path: Path, name: str, change: Any
) -> None:
    archive = tmp_path / "some.tar"
    images.save([A], archive)
    rewritten(archive, name, change)
    raw = archive.read_bytes()
    with pytest.raises(errors.InvalidArchive, match=name):
        images.save([B], archive, append=True)
    assert archive.read_bytes() == raw
