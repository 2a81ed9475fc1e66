"""OCI layouts in directories that are there: others' content stays, nothing is written through, nobody loses a name."""

from __future__ import annotations

import io
import json
import os
import stat
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from orlop import errors
from orlop.archive import oci_directory
from orlop.archive.oci_layout import LayoutContent, TopEntry
from orlop.model.descriptor import Descriptor
from orlop.model.digest import Digest
from orlop.model.limits import DEFAULT_LIMITS
from orlop.model.manifest import OCI_MANIFEST
from orlop.model.reference import Reference
from tests.layout_walk import files, walked
from tests.needs import need
from tests.unit.layouts import LAYER, NAME, REF, Layout, named, sha256, tagged, unpacked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.sampled(3)

APPS = [f"example/app{number}:{number}.0" for number in range(8)]


@pytest.fixture
def images(tmp_path: Path) -> Iterator[orlop.ImageService]:
    """A store with eight images, which have one layer in common."""
    layout = Layout()
    tops = [layout.image("common", f"file{number}", **named(name)) for number, name in enumerate(APPS)]
    with orlop.open(tmp_path / "root") as service:
        service.load(io.BytesIO(layout.top(*tops).pack()))
        yield service


def save(images: orlop.ImageService, place: Path, *names: str, **options: Any) -> orlop.SaveReport:
    return images.save(names or APPS[:1], place, format="oci-dir", **options)


def index_of(place: Path) -> dict[str, Any]:
    index: dict[str, Any] = json.loads((place / "index.json").read_bytes())
    return index


def write_index(place: Path, *entries: dict[str, Any], **more: Any) -> None:
    document = {"schemaVersion": 2, "manifests": list(entries)} | more
    (place / "index.json").write_text(json.dumps(document))


def is_tidy(place: Path) -> bool:
    """Return whether nothing that was on its way is left."""
    return not [path for path in (place, *place.rglob("*")) if path.name.startswith(".orlop-")]


# What is there stays.


def test_images_are_added_beside_others(tmp_path: Path, images: orlop.ImageService) -> None:
    other = Layout()
    top = other.image("other", **tagged("kept"), compress=False)
    odd = {"mediaType": "application/x-odd", "digest": "blake3:ab", "size": 1e2, "odd": [1.50, {"a": None}]}
    place = unpacked(other.top(top).files, tmp_path / "out")
    (place / "README").write_text("mine")
    raw = json.dumps({"schemaVersion": 2, "x": {"y": 1.0}, "manifests": [odd, top], "annotations": {"a": "b"}})
    (place / "index.json").write_text(raw.replace("1.5,", "1.50,"))
    save(images, place, *APPS[:2])
    index = index_of(place)
    assert index["manifests"][:2] == [odd, top]
    assert (index["x"], index["annotations"]) == ({"y": 1.0}, {"a": "b"})
    # Not even a number is spelled otherwise.
    assert json.dumps(odd).replace("1.5,", "1.50,") in (place / "index.json").read_text()
    assert {NAME: "docker.io/example/app1:1.0", REF: "1.0"} in [
        entry.get("annotations") for entry in index["manifests"]
    ]
    assert (place / "README").read_text() == "mine"
    assert is_tidy(place)


def test_adding_again_changes_nothing(tmp_path: Path, images: orlop.ImageService) -> None:
    save(images, tmp_path / "out", *APPS)
    before = files(tmp_path / "out")
    inodes = {path: path.stat().st_ino for path in (tmp_path / "out/blobs").rglob("*")}
    events: list[object] = []
    save(images, tmp_path / "out", *APPS, progress=events.append)
    assert files(tmp_path / "out") == before
    assert {path: path.stat().st_ino for path in (tmp_path / "out/blobs").rglob("*")} == inodes
    assert {type(event) for event in events} == {orlop.LayerExists}


def test_a_name_moves_to_what_is_saved_last(tmp_path: Path, images: orlop.ImageService) -> None:
    save(images, tmp_path / "out", APPS[0], APPS[1])
    images.tag(APPS[2], APPS[0])
    save(images, tmp_path / "out", APPS[0])
    out = walked(tmp_path / "out")
    assert len(out.entries) == 2
    assert out.names.keys() == {"docker.io/example/app0:0.0", "docker.io/example/app1:1.0"}
    digests = {str(image.id): image for image in images.images()}
    config = json.loads(
        (tmp_path / "out/blobs" / out.names["docker.io/example/app0:0.0"].replace(":", "/")).read_bytes()
    )
    assert orlop.Reference.parse(APPS[2]) in digests[config["config"]["digest"]].references


@pytest.mark.parametrize(
    ("annotations", "left"),
    [
        ({REF: "docker.io/example/app0:0.0"}, None),
        ({REF: "example/app0:0.0"}, None),
        ({NAME: "example/app0:0.0", REF: "0.0"}, {REF: "0.0"}),
        ({NAME: "other:1", REF: "example/app0:0.0", "a": "b"}, {NAME: "other:1", "a": "b"}),
        ({REF: "0.0"}, {REF: "0.0"}),
        ({NAME: "example/app0:other"}, {NAME: "example/app0:other"}),
    ],
)
def test_only_the_same_name_is_taken_from_others(
    tmp_path: Path, images: orlop.ImageService, annotations: dict[str, str], left: dict[str, str] | None
) -> None:
    other = Layout()
    place = unpacked(other.top(other.image("other", annotations=annotations)).files, tmp_path / "out")
    save(images, place)
    entries = [entry["annotations"] for entry in index_of(place)["manifests"]]
    mine = {NAME: "docker.io/example/app0:0.0", REF: "0.0"}
    if left is None or ("a" not in left and REF in left and NAME not in left and NAME in annotations):
        assert entries == [mine]
    else:
        short = "docker.io/example/app0:0.0" if left.get(REF) == "0.0" else "0.0"
        assert entries == [left, mine | {REF: short}]
    # What was written means one thing to orlop's own reader, too.
    with orlop.open(tmp_path / "again") as again:
        again.load(place)
        assert again.inspect(APPS[0]).image.id == images.inspect(APPS[0]).image.id


def test_an_entry_without_a_name_is_not_written_where_its_digest_is(tmp_path: Path, images: orlop.ImageService) -> None:
    save(images, tmp_path / "out")
    before = (tmp_path / "out/index.json").read_bytes()
    save(images, tmp_path / "out", str(images.inspect(APPS[0]).image.id))
    assert (tmp_path / "out/index.json").read_bytes() == before


def test_what_was_left_out_and_comes_later_is_no_longer_left_out(tmp_path: Path, images: orlop.ImageService) -> None:
    layout = Layout()
    children = [layout.image(name, platform=True, architecture=name) for name in ("amd64", "arm64", "s390x")]
    images.load(io.BytesIO(layout.top(layout.index(*children, **named("example/two:1"))).pack()))
    digests = {child["platform"]["architecture"]: child["digest"] for child in children}
    place = tmp_path / "out"
    save(images, place, "example/two:1", platform=["linux/amd64", "linux/s390x"])
    assert index_of(place)["annotations"] == {"dev.orlop.omitted": digests["arm64"]}
    save(images, place, APPS[0])
    assert index_of(place)["annotations"] == {"dev.orlop.omitted": digests["arm64"]}
    save(images, place, "example/two:1")
    assert "annotations" not in index_of(place)
    assert not walked(place).absent


def test_the_index_keeps_its_mode(tmp_path: Path, images: orlop.ImageService) -> None:
    save(images, tmp_path / "out")
    (tmp_path / "out/index.json").chmod(0o664)
    save(images, tmp_path / "out", *APPS)
    assert stat.S_IMODE((tmp_path / "out/index.json").stat().st_mode) == 0o664


def test_the_index_does_not_run_with_the_rights_of_whoever_writes_it(
    tmp_path: Path, images: orlop.ImageService
) -> None:
    save(images, tmp_path / "out")
    (tmp_path / "out/index.json").chmod(0o6777)
    save(images, tmp_path / "out", *APPS)
    assert stat.S_IMODE((tmp_path / "out/index.json").stat().st_mode) == 0o777


@pytest.mark.parametrize("there", [[], ["blobs"], ["blobs", "blobs/sha256", "ingest"]])
def test_an_empty_directory_becomes_a_layout(tmp_path: Path, images: orlop.ImageService, there: list[str]) -> None:
    place = tmp_path / "out"
    place.mkdir()
    place.chmod(0o711)
    for name in there:
        (place / name).mkdir()
    inode = place.stat().st_ino
    save(images, place)
    assert walked(place).names.keys() == {"docker.io/example/app0:0.0"}
    assert (place.stat().st_ino, stat.S_IMODE(place.stat().st_mode)) == (inode, 0o711)


def test_a_link_to_a_layout_is_followed(tmp_path: Path, images: orlop.ImageService) -> None:
    save(images, tmp_path / "real")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "dangling").symlink_to("new")
    save(images, tmp_path / "link", APPS[1])
    save(images, tmp_path / "dangling", APPS[1])
    assert len(walked(tmp_path / "real").entries) == 2
    assert len(walked(tmp_path / "new").entries) == 1
    assert (tmp_path / "link").is_symlink()


# What is not a layout, and what leads out of it.


def _file(place: Path) -> None:
    place.write_text("mine")


def _pipe(place: Path) -> None:
    os.mkfifo(place)


def _other_directory(place: Path) -> None:
    place.mkdir()
    (place / "mine").touch()


def _index_without_layout(place: Path) -> None:
    place.mkdir()
    write_index(place)


def _version(place: Path) -> None:
    place.mkdir()
    (place / "oci-layout").write_text('{"imageLayoutVersion":"2.0.0"}')


def _layout_is_a_list(place: Path) -> None:
    place.mkdir()
    (place / "oci-layout").write_text("[]")


def _whole(place: Path) -> Path:
    other = Layout()
    return unpacked(other.top(other.image("other")).files, place)


def _index_is(content: str) -> Callable[[Path], None]:
    def make(place: Path) -> None:
        (_whole(place) / "index.json").write_text(content)

    return make


def _instead_of(name: str, kind: str) -> Callable[[Path], None]:
    def make(place: Path) -> None:
        path = _whole(place) / name
        moved = place.parent / "moved"
        path.rename(moved)
        if kind == "link":
            path.symlink_to(moved)
        elif kind == "pipe":
            os.mkfifo(path)
        else:
            path.mkdir()

    return make


@pytest.mark.parametrize(
    ("make", "error"),
    [
        pytest.param(_file, errors.TargetExists, id="file"),
        pytest.param(_pipe, errors.TargetExists, id="pipe"),
        pytest.param(_other_directory, errors.TargetExists, id="other directory"),
        pytest.param(_index_without_layout, errors.TargetExists, id="index without layout"),
        pytest.param(_version, errors.InvalidArchive, id="version"),
        pytest.param(_layout_is_a_list, errors.InvalidArchive, id="layout is a list"),
        pytest.param(_index_is("{"), errors.InvalidInput, id="index 6"),
        pytest.param(_index_is("[]"), errors.InvalidInput, id="index 7"),
        pytest.param(_index_is('{"manifests":{}}'), errors.InvalidArchive, id="index 8"),
        pytest.param(_index_is('{"manifests":[1]}'), errors.InvalidArchive, id="index 9"),
        pytest.param(_index_is('{"manifests":[{"digest":1}]}'), errors.InvalidArchive, id="index 10"),
        pytest.param(_index_is('{"manifests":[],"Manifests":[]}'), errors.InvalidInput, id="index 11"),
        pytest.param(_index_is('{"manifests":[],"layers":[]}'), errors.InvalidArchive, id="index 12"),
        pytest.param(_index_is('{"manifests":[],"annotations":[]}'), errors.InvalidArchive, id="index 13"),
        pytest.param(_index_is("{}" + " " * (17 << 20)), errors.LimitExceeded, id="index 14"),
        pytest.param(_instead_of("blobs", "link"), errors.WriteFailed, id="blobs is a link"),
        pytest.param(_instead_of("blobs/sha256", "link"), errors.WriteFailed, id="blobs/sha256 is a link"),
        pytest.param(_instead_of("blobs", "pipe"), errors.WriteFailed, id="blobs is a pipe"),
        pytest.param(_instead_of("index.json", "link"), errors.WriteFailed, id="index.json is a link"),
        pytest.param(_instead_of("index.json", "pipe"), errors.WriteFailed, id="index.json is a pipe"),
        pytest.param(_instead_of("index.json", "directory"), errors.WriteFailed, id="index.json is a directory"),
        pytest.param(_instead_of("oci-layout", "link"), errors.WriteFailed, id="oci-layout is a link"),
    ],
)
def test_what_is_not_a_layout_is_left_alone(
    tmp_path: Path, images: orlop.ImageService, make: Callable[[Path], None], error: type[Exception]
) -> None:
    place = tmp_path / "target" / "out"
    place.parent.mkdir()
    make(place)
    before = files(tmp_path / "target")
    with pytest.raises(error) as caught:
        save(images, place)
    assert "out" in str(caught.value) or "index.json" in str(caught.value)
    assert "of the store" not in str(caught.value)
    assert files(tmp_path / "target") == before
    assert is_tidy(tmp_path / "target")


@pytest.mark.parametrize("target", ["/", "", "missing/out", "root/blobs/sha256/x/y"])
def test_places_that_cannot_be_written_are_refused(tmp_path: Path, images: orlop.ImageService, target: str) -> None:
    with pytest.raises(errors.OrlopError):
        save(images, tmp_path / target if target not in {"/", ""} else target)  # type: ignore[arg-type]
    assert is_tidy(tmp_path)


def _blob(place: Path) -> Path:
    layer = next(digest for digest, (kind, _) in walked(place).found.items() if kind == f"{LAYER}+gzip")
    return place / "blobs" / layer.replace(":", "/")


@pytest.mark.parametrize("kind", ["torn", "wrong", "hard link", "link", "pipe"])
def test_a_wrong_blob_is_replaced_and_nothing_is_written_through_it(
    tmp_path: Path, images: orlop.ImageService, kind: str
) -> None:
    place, precious = tmp_path / "out", tmp_path / "precious"
    save(images, place)
    blob = _blob(place)
    content = blob.read_bytes()
    precious.write_bytes(b"x" * len(content))
    blob.unlink()
    if kind == "torn":
        blob.write_bytes(content[:-1])
    elif kind == "wrong":
        blob.write_bytes(b"x" * len(content))
    elif kind == "hard link":
        os.link(precious, blob)
    elif kind == "link":
        blob.symlink_to(precious)
    else:
        os.mkfifo(blob)
    save(images, place)
    assert blob.read_bytes() == content
    assert not blob.is_symlink()
    assert precious.read_bytes() == b"x" * len(content)


@pytest.mark.parametrize("mode", [0o111, 0o311])
def test_the_folder_of_a_layout_need_not_be_listed(tmp_path: Path, images: orlop.ImageService, mode: int) -> None:
    """Whoever may search a folder can add to a layout in it; with leave to put files there, also make one."""
    folder = tmp_path / "folder"
    folder.mkdir()
    save(images, folder / "out", APPS[0])
    folder.chmod(mode)
    # Permissions do not hold root back, but without its capabilities they do.
    plain = [need("setpriv"), "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    orlop_save = [sys.executable, "-m", "orlop", "--root", str(tmp_path / "root"), "save", "--format", "oci-dir", "-o"]
    try:
        done = [
            subprocess.run([*plain, *orlop_save, str(folder / name), APPS[1]], capture_output=True, check=False)
            for name in ("out", "new")
        ]
    finally:
        folder.chmod(0o755)
    assert done[0].returncode == 0, done[0].stderr
    assert len(walked(folder / "out").names) == 2
    assert (folder / "new").exists() == (done[1].returncode == 0) == (mode == 0o311), done[1].stderr
    assert b"Traceback" not in done[1].stderr
    assert is_tidy(folder)


@pytest.mark.parametrize("inside", [[], ["precious"]])
def test_a_directory_in_the_place_of_a_blob_is_named_and_stays(
    tmp_path: Path, images: orlop.ImageService, inside: list[str]
) -> None:
    place = tmp_path / "out"
    save(images, place)
    blob = _blob(place)
    blob.unlink()
    blob.mkdir()
    for name in inside:
        (blob / name).touch()
    index = (place / "index.json").read_bytes()
    with pytest.raises(errors.WriteFailed) as caught:
        save(images, place)
    assert f"{blob} is a directory, not a file; move it away" in str(caught.value)
    assert ".part" not in str(caught.value)
    assert blob.is_dir()
    assert (place / "index.json").read_bytes() == index


def test_nothing_is_a_hard_link_into_the_store(tmp_path: Path, images: orlop.ImageService) -> None:
    save(images, tmp_path / "out", *APPS)
    assert {path.stat().st_nlink for path in (tmp_path / "out").rglob("*") if path.is_file()} == {1}
    assert {path.stat().st_nlink for path in (tmp_path / "root/blobs").rglob("*") if path.is_file()} == {1}


# Others at work.


def _other_entry(place: Path) -> dict[str, Any]:
    """Add an image as a program does that takes no lock, and return its entry."""
    other = Layout()
    entry = other.image("late", **named("example/late:1"))
    unpacked({name: content for name, content in other.files.items() if name.startswith("blobs/")}, place)
    write_index(place, *index_of(place)["manifests"], entry)
    return entry


def test_what_others_add_while_layers_are_written_stays(tmp_path: Path, images: orlop.ImageService) -> None:
    save(images, tmp_path / "out", APPS[0])
    added: list[dict[str, Any]] = []

    def late(_: object) -> None:
        if not added:
            added.append(_other_entry(tmp_path / "out"))

    save(images, tmp_path / "out", APPS[1], progress=late)
    out = walked(tmp_path / "out")
    assert added[0] in out.entries
    assert len(out.entries) == 3


def test_what_others_add_before_the_index_gets_its_name_stays(
    tmp_path: Path, images: orlop.ImageService, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(images, tmp_path / "out", APPS[0])
    place = oci_directory.LayoutTarget._place

    def late(self: Any, *args: Any) -> None:
        place(self, *args)
        _other_entry(tmp_path / "out")

    monkeypatch.setattr(oci_directory.LayoutTarget, "_place", late)
    save(images, tmp_path / "out", APPS[1])
    assert len(walked(tmp_path / "out").names) == 3


def test_an_index_that_never_rests_is_given_up(
    tmp_path: Path, images: orlop.ImageService, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(images, tmp_path / "out", APPS[0])
    merged = oci_directory.LayoutTarget._merged

    def restless(self: Any, layout: Any, before: bytes | None) -> Any:
        path = tmp_path / "out/index.json"
        path.write_bytes(path.read_bytes() + b" ")
        return merged(self, layout, before)

    monkeypatch.setattr(oci_directory.LayoutTarget, "_merged", restless)
    with pytest.raises(errors.WriteFailed, match="changes again and again"):
        save(images, tmp_path / "out", APPS[1])
    assert len(walked(tmp_path / "out").names) == 1
    assert is_tidy(tmp_path)


def test_a_blob_that_goes_while_it_is_relied_on_is_missed(tmp_path: Path, images: orlop.ImageService) -> None:
    save(images, tmp_path / "out", APPS[0])
    blob = next(
        path
        for path in (tmp_path / "out/blobs/sha256").iterdir()
        if path.name == json.loads(_manifest(tmp_path / "out"))["layers"][0]["digest"].partition(":")[2]
    )
    with pytest.raises(errors.WriteFailed, match="changed while it was written"):
        save(images, tmp_path / "out", APPS[1], progress=lambda _: blob.unlink(missing_ok=True))
    assert len(index_of(tmp_path / "out")["manifests"]) == 1


def _manifest(place: Path) -> bytes:
    return (place / "blobs" / walked(place).tops[0].replace(":", "/")).read_bytes()


def test_a_layout_that_appears_meanwhile_is_added_to(tmp_path: Path, images: orlop.ImageService) -> None:
    other = Layout()
    files_ = other.top(other.image("other", **named("example/late:1"))).files

    def late(_: object) -> None:
        if not (tmp_path / "out").exists():
            unpacked(files_, tmp_path / "out")

    save(images, tmp_path / "out", progress=late)
    assert walked(tmp_path / "out").names.keys() == {"docker.io/example/app0:0.0", "example/late:1"}
    assert is_tidy(tmp_path)


def test_something_else_that_appears_meanwhile_is_left_alone(tmp_path: Path, images: orlop.ImageService) -> None:
    with pytest.raises(errors.OrlopError):
        save(images, tmp_path / "out", progress=lambda _: (tmp_path / "out").write_text("mine"))
    assert (tmp_path / "out").read_text() == "mine"
    assert is_tidy(tmp_path)


@pytest.mark.parametrize("before", [0, 1])
def test_eight_writers_at_once_lose_no_name(tmp_path: Path, images: orlop.ImageService, before: int) -> None:
    if before:
        other = Layout()
        unpacked(other.top(other.image("other", **named("example/first:1"))).files, tmp_path / "out")
    images.close()
    code = (
        "import sys, orlop\n"
        "with orlop.open(sys.argv[1]) as images:\n"
        "    print(flush=True)\n"
        "    sys.stdin.readline()\n"
        "    images.save(sys.argv[3:], sys.argv[2], format='oci-dir')\n"
    )
    argv = [sys.executable, "-c", code, str(tmp_path / "root"), str(tmp_path / "out")]
    writers = [
        subprocess.Popen([*argv, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for name in APPS
    ]
    for writer in writers:
        assert writer.stdout is not None
        writer.stdout.readline()
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write(b"\n")
        writer.stdin.flush()
    said = [writer.communicate(timeout=100)[1] for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * 8, said
    out = walked(tmp_path / "out")
    assert {name for name in out.names if "app" in name} == {f"docker.io/{name}" for name in APPS}
    assert len(out.entries) == 8 + before
    assert not out.absent
    assert is_tidy(tmp_path)


def test_what_killed_writers_left_goes_with_the_next(tmp_path: Path, images: orlop.ImageService) -> None:
    save(images, tmp_path / "out")
    for folder in (tmp_path, tmp_path / "out"):
        (folder / ".orlop-layout-0123456789ab.part/blobs").mkdir(parents=True)
        (folder / ".orlop-layout-0123456789ab.part/blobs/x").write_text("left")
    (tmp_path / "out/.orlop-layout-ba9876543210.part").symlink_to(tmp_path / "root")
    # A store that is being made has another lock, and is left alone.
    store = tmp_path / ".orlop-store-0123456789ab.part"
    store.mkdir()
    save(images, tmp_path / "out", APPS[1])
    save(images, tmp_path / "new", APPS[1])
    assert store.exists()
    store.rmdir()
    assert not (tmp_path / ".orlop-layout-0123456789ab.part").exists()
    assert not (tmp_path / "out/.orlop-layout-0123456789ab.part").exists()
    assert (tmp_path / "root/metadata.db").exists()


def test_sha256_is_what_walks_compare(tmp_path: Path, images: orlop.ImageService) -> None:
    """The helper that the tests above trust finds damage."""
    save(images, tmp_path / "out")
    blob = _blob(tmp_path / "out")
    blob.write_bytes(b"x" + blob.read_bytes()[1:])
    assert sha256(blob.read_bytes()) != f"sha256:{blob.name}"
    with pytest.raises(AssertionError):
        walked(tmp_path / "out")


def test_a_layout_is_not_made_too_large_to_be_read_again(tmp_path: Path, images: orlop.ImageService):
    save(images, tmp_path / "out", APPS[0])
    before = (tmp_path / "out/index.json").read_bytes()
    limits = replace(DEFAULT_LIMITS, manifest_size=len(before) + 10)
    with pytest.raises(errors.LimitExceeded, match="another layout"):
        oci_directory.LayoutTarget(str(tmp_path / "out"), content_of_other(), None, limits).write()
    assert (tmp_path / "out/index.json").read_bytes() == before
    assert is_tidy(tmp_path)


def content_of_other() -> LayoutContent:
    """Return an entry that has no blob: it is refused before anybody asks for one."""
    entry = Descriptor(OCI_MANIFEST, Digest.of(b"other"), 5)
    return LayoutContent((TopEntry(entry, Reference.parse("other:1")),), (), (), {}, ())
