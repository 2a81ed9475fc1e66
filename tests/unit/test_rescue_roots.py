"""What Podman, containerd and Engine 29 left behind, and what comes out of it."""

from __future__ import annotations

import itertools
import json
import shutil
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop.errors import InvalidRoot, OrlopError
from orlop.foreign.containerd_root import _NamespaceReader
from orlop.foreign.content import Content
from orlop.foreign.database import Children, NamedTarget, _children
from orlop.foreign.disk import Folder
from orlop.foreign.documents import salvaged_entries
from orlop.foreign.held import Held
from orlop.foreign.remains import Remains
from orlop.foreign.root import open_root
from orlop.foreign.snapshots import Snapshots
from orlop.intake.taking import measuring
from orlop.model.descriptor import Descriptor
from orlop.model.digest import Digest
from orlop.model.limits import DEFAULT_LIMITS
from orlop.model.manifest import OCI_INDEX
from orlop.service.rescue import look, rescue_store
from tests.foreign_roots import CONTAINERD, PODMAN, folder, layer_rows, snapshot, unpack

if TYPE_CHECKING:
    from pathlib import Path

    from orlop.foreign.root import ForeignRoot


def rebuilt(root: ForeignRoot) -> tuple[dict[str, int], dict[str, str]]:
    """Return the sizes of the layers that come out, and why the others do not, by diff ID."""
    sizes: dict[str, int] = {}
    lost: dict[str, str] = {}
    with measuring(DEFAULT_LIMITS) as taking:
        source = root.source(taking)
        for image in root.images:
            for layer in () if image.offered is None else image.offered.layers:
                try:
                    sizes[str(layer.diff_id)] = source.layer(layer).diff.size
                except OrlopError as error:
                    lost[str(layer.diff_id)] = str(error)
    return sizes, lost


def listed(path: Path) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for line in path.read_text().splitlines():
        name, image = line.split()
        found.setdefault(image, set()).update({name} - {"<none>:<none>"})
    return found


@pytest.fixture(params=PODMAN)
def podman(request):
    return request.param


def test_podmans_images_and_layers_are_all_there(data, podman, tmp_path):
    root = unpack(data, podman, tmp_path / "storage")
    rows = {row.diff_id: row for row in layer_rows(folder(data, podman) / "layers.tsv") if row.verdict == "equal"}
    with open_root(root) as found:
        images = {image.id: set(image.names) for image in found.images}
        sizes, lost = rebuilt(found)
        layers = {str(layer.diff_id) for image in found.images if image.offered for layer in image.offered.layers}
    assert {image: images[image] for image in listed(folder(data, podman) / "images.txt")} == listed(
        folder(data, podman) / "images.txt"
    )
    assert {diff_id: sizes[diff_id] for diff_id in rows} == {diff_id: row.size for diff_id, row in rows.items()}
    # Podman's own save fails for three images more.
    assert len(sizes) == len(layers) - 1 == 24
    assert ['the whiteout ".wh.fender" had a content' in why for why in lost.values()] == [True]


@pytest.mark.sampled(2)
def test_a_rescue_leaves_podmans_root_as_it_is(data, podman, tmp_path):
    root = unpack(data, podman, tmp_path / "storage")
    before = snapshot(root)
    report = rescue_store(tmp_path / "store", root)
    assert [image.state for image in report.images].count("rescued") == 22
    assert snapshot(root) == before


@pytest.mark.sampled(16)
@pytest.mark.parametrize("lists", [("layers",), ("images",), ("images", "layers")], ids="+".join)
@pytest.mark.parametrize("left", [b"", bytes(100), b'[{"id":"cut'], ids=["empty", "zeros", "cut"])
def test_lists_that_a_power_loss_has_emptied_are_not_needed(data, podman, tmp_path, lists, left):
    root = unpack(data, podman, tmp_path / "storage")
    with open_root(root) as found:
        whole = {image.id for image in found.images}
    driver = podman.rpartition("-")[2]
    for name in lists:
        (root / f"{driver}-{name}" / f"{name}.json").write_bytes(left)
    with open_root(root) as found:
        assert {image.id for image in found.images} == whole
        sizes, _ = rebuilt(found)
        notes = " ".join(note for held in found.held for note in held.notes)
    assert len(sizes) == 24
    assert ("names of its images are lost" in notes) == ("images" in lists)
    assert f"{lists[0]}.json is" in notes


@pytest.mark.sampled(6)
@pytest.mark.parametrize("how", ["cut", "junk behind it", "a damaged entry"])
def test_what_is_left_of_lists_is_taken(data, podman, tmp_path, how):
    root = unpack(data, podman, tmp_path / "storage")
    driver = podman.rpartition("-")[2]
    with open_root(root) as found:
        before = {image.id: image.names for image in found.images}
    for kind in ("images", "layers"):
        path = root / f"{driver}-{kind}" / f"{kind}.json"
        raw = path.read_bytes()
        second = raw.index(b'{"id"', 10)
        damaged = {
            "cut": raw[: len(raw) // 2],
            "junk behind it": raw + b"\0x",
            "a damaged entry": raw[: second + 80] + b'\xff"' + raw[second + 80 :],
        }
        path.write_bytes(damaged[how])
    with open_root(root) as found:
        after = {image.id: image.names for image in found.images}
        sizes, _ = rebuilt(found)
        notes = " ".join(note for held in found.held for note in held.notes)
    assert after.keys() == before.keys()
    assert len(sizes) == 24
    named = sum(names == before[image] for image, names in after.items())
    assert (named == len(before)) if how == "junk behind it" else (named >= 8)
    assert "of its entries are whole" in notes
    assert ("the names of other images are lost" in notes) == (how != "junk behind it")


@pytest.mark.sampled(2)
def test_an_additional_store_may_have_the_layers(data, podman, tmp_path):
    root = unpack(data, podman, tmp_path / "storage")
    driver = podman.rpartition("-")[2]
    with open_root(root) as found:
        sizes, _ = rebuilt(found)
    disk = tmp_path / "disk"
    (disk / "images").mkdir(parents=True)
    (root / f"{driver}-images").rename(disk / "images" / f"{driver}-images")
    root.rename(disk / "layers")
    with open_root(disk) as found:
        assert [len(held.images) for held in found.held] == [23, 0]
        assert rebuilt(found)[0] == sizes
    # Nothing but the tar-splits tells then which layers there are, and of one a file is only found elsewhere.
    for path in (disk / "layers" / f"{driver}-layers").glob("*.json"):
        path.unlink()
    files = (path for path in (disk / "layers" / driver).rglob("*") if path.is_file() and not path.is_symlink())
    lost = max(files, key=lambda path: (path.stat().st_size, path))
    lost.rename(disk / "layers" / "lost")
    with open_root(disk) as found:
        assert rebuilt(found)[0] == sizes


@pytest.mark.sampled(2)
@pytest.mark.parametrize("driver", ["overlay", "fuse-overlayfs"])
def test_another_engine_may_have_the_layers(data, tmp_path, driver):
    storage = unpack(data, "podman-4.3-overlay", tmp_path / "storage")
    with open_root(storage) as found:
        wanted, _ = rebuilt(found)
    disk = tmp_path / "disk"
    disk.mkdir()
    storage.rename(disk / "storage")
    unpack(data, f"engine-20.10-{driver}", tmp_path / "docker").rename(disk / "docker")
    shutil.rmtree(disk / "docker" / "image" / driver / "imagedb")
    for path in (disk / "storage" / "overlay-layers").glob("*.tar-split.gz"):
        path.unlink()
    with open_root(disk) as found:
        sizes, _ = rebuilt(found)
    # Its images are lost, but not its layers, which are those of the same archives.
    assert len(sizes) >= 8
    # fuse-overlayfs keeps a whiteout with content, which others have lost.
    assert (sizes.items() <= wanted.items()) == (driver == "overlay")
    assert all(wanted.get(diff_id, size) == size for diff_id, size in sizes.items())


def test_a_list_made_to_be_read_for_ever_is_not():
    begin = b'{"id":"%064x","x":[' % 1
    entry = {"id": f"{2:064x}"}
    for raw in (begin * 20_000, begin + json.dumps([entry] * 20_000).encode()[1:-1], b'{"id":"' * 20_000):
        assert all(found == entry for found in salvaged_entries(b"[" + raw))


def test_directories_that_look_like_a_list_of_images_are_no_root(tmp_path):
    (tmp_path / "disk-images").mkdir()
    (tmp_path / "my" / "vm-layers").mkdir(parents=True)
    with pytest.raises(InvalidRoot, match="is not a data root"):
        look(tmp_path)


def test_an_older_podman_root_has_what_podman_saved(data, tmp_path):
    report = rescue_store(tmp_path / "store", unpack(data, "podman-older", tmp_path / "storage"))
    assert {image.state for image in report.images} == {"rescued"}
    with orlop.open(tmp_path / "loaded") as images:
        images.load(data / "other-tools" / "podman-multi.tar")
        assert {str(image.id) for image in images.images(all=True)} < {image.image.id for image in report.images}


@pytest.fixture
def containerd(data, tmp_path):
    return unpack(data, CONTAINERD, tmp_path / "disk") / "containerd" / "daemon"


@pytest.fixture
def engine29(data, tmp_path):
    return unpack(data, "engine-29-containerd", tmp_path / "docker")


def test_a_root_that_has_lost_its_content_still_tells_its_names(containerd):
    with open_root(containerd) as root:
        names = {name for image in root.images for name in image.names}
    shutil.rmtree(containerd / "io.containerd.content.v1.content")
    for place in (containerd, containerd.parent):
        report = look(place)
        assert {name for image in report.images for name in image.image.names} == names
        assert {image.state for image in report.images} == {"damaged"}
        assert all("is missing" in image.problems[0] for image in report.images)


@pytest.mark.sampled(8)
@pytest.mark.parametrize("which", ["containerd", "engine29"])
@pytest.mark.parametrize("left", [None, b"", b"{", "a link"])
def test_without_its_manifest_an_image_is_made_of_its_config_and_layers(which, left, request, tmp_path):
    root = request.getfixturevalue(which)
    with open_root(root) as found:
        offered = [image.offered for image in found.images if image.offered is not None]
        names = {image.id: {*image.names} for image in found.images}
    expected = {str(one.image.id): [layer.diff_id for layer in one.layers] for one in offered}
    blobs = (
        root / ("." if which == "containerd" else "containerd/daemon") / "io.containerd.content.v1.content/blobs/sha256"
    )
    for manifest in {one.manifest for one in offered if one.manifest is not None}:
        (blobs / manifest.hex).unlink()
        if left == "a link":
            (blobs / manifest.hex).symlink_to("/etc/passwd")
        elif left is not None:
            (blobs / manifest.hex).write_bytes(left)
    report = look(root, verify=True)
    assert {image.state for image in report.images} == {"whole"}
    assert all("made of its config" in image.problems[0] for image in report.images)
    with open_root(root) as found:
        after = [image.offered for image in found.images if image.offered is not None]
        for image in found.images:
            assert {name for name in image.names if "@" not in name} <= names[image.id]
    assert {str(one.image.id): [layer.diff_id for layer in one.layers] for one in after} == expected
    taken = rescue_store(tmp_path / "store", root)
    assert {image.state for image in taken.images} == {"rescued"}


@pytest.mark.sampled(3)
def test_each_name_that_is_asked_for_means_what_it_did(engine29, tmp_path):
    names = ["example/tiny:1.0", "example/tiny:latest"]
    meant = []
    for number, asked in enumerate(([], names, names[::-1])):
        rescue_store(tmp_path / str(number), engine29, asked)
        with orlop.open(tmp_path / str(number)) as images, images.store.metadata.read() as rows:
            meant.append({(top.suffix, top.digest) for top in rows.tops() if top.name == "docker.io/example/tiny"})
    assert {suffix for suffix, _ in meant[0]} == {":1.0", ":latest"}
    assert meant[1:] == meant[:1] * 2


def test_a_database_that_leads_nowhere_for_ever_is_left(engine29):
    chain = [str(Digest.of(b"%d" % number)) for number in range(5000)]
    below = {one: Children("", (), (after, chain[0])) for one, after in itertools.pairwise(chain)}
    held = Held("containerd moby")
    with Folder.open(str(engine29 / "containerd" / "daemon")) as folder:
        content = Content(folder, DEFAULT_LIMITS)
        reader = _NamespaceReader(content, Snapshots(folder, DEFAULT_LIMITS), Remains(content, lambda: below))
        reader.read([NamedTarget("moby", "a/b:1", Descriptor(OCI_INDEX, Digest.parse(chain[0]), 9))], held)
    assert [image.offered for image in held.images] == [None]


@pytest.mark.parametrize("label", ["m.{}", "{}"])
def test_what_an_index_leads_to_is_told_of_any_labels(label):
    def labels(names):
        return {b"containerd.io/gc.ref.content." + name.encode(): name.encode() for name in names}

    names = [label.format(number) for number in range(12)]
    assert _children(labels(names)).manifests == tuple(names)
    assert _children(labels(["config", *(f"l.{number}" for number in range(12))])) == Children(
        "config", tuple(f"l.{number}" for number in range(12)), ()
    )
    assert _children(labels(["x", "l.", "l.1.2", "m.-1", "moby/container.config"])) == Children("", (), ())


@pytest.mark.parametrize("nested", [False, True])
def test_below_an_index_that_is_lost_manifests_stay(engine29, nested):
    with open_root(engine29) as found:
        offered = max((image.offered for image in found.images if image.offered), key=lambda one: len(one.layers))
    lost, other = Digest.of(b"lost"), Digest.of(b"another one")
    # It leads to itself, too.
    below = {str(lost): Children("", (), (str(lost), str(other if nested else offered.manifest)))}
    below[str(other)] = Children("", (), (str(offered.manifest),))
    held = Held("containerd moby")
    with Folder.open(str(engine29 / "containerd" / "daemon")) as folder:
        content = Content(folder, DEFAULT_LIMITS)
        reader = _NamespaceReader(content, Snapshots(folder, DEFAULT_LIMITS), Remains(content, lambda: below))
        reader.read([NamedTarget("moby", "docker.io/give/rich:1", Descriptor(OCI_INDEX, lost, 9))], held)
    [image] = held.images
    assert image.offered is not None
    assert image.names == ("give/rich:1",)
    assert image.offered.layers == offered.layers
    assert [manifest.row.digest for manifest in held.manifests] == [offered.manifest]


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    "place",
    [
        "",
        "docker",
        "var/lib/docker",
        "var/lib/docker/100000.100000",
        "100000.100000",
        "lib/docker",
        "var/snap/docker/common/var-lib-docker",
        "home/me/.local/share/docker",
        "root/.local/share/docker",
    ],
)
def test_engine_29_is_found_on_any_disk(engine29, tmp_path, place):
    with open_root(engine29) as found:
        images = [image.id for image in found.images]
    disk = tmp_path / "disk"
    (disk / place).parent.mkdir(parents=True, exist_ok=True)
    engine29.rename(disk / place)
    with open_root(disk) as found:
        assert [held.place for held in found.held] == ["containerd moby"]
        assert [image.id for image in found.images] == images


def test_no_image_is_found_twice(containerd):
    with open_root(containerd) as found:
        images = [(image.place, image.id) for image in found.images]
    for disk in (containerd.parent, containerd.parent.parent):
        with open_root(disk) as found:
            assert [(image.place, image.id) for image in found.images] == images


def test_the_images_of_each_namespace_are_those_that_containerd_listed(data, containerd):
    spaces: dict[str, dict[str, str]] = {}
    names: dict[str, str] = {}
    for line in (folder(data, CONTAINERD) / "images.txt").read_text().splitlines():
        if line.startswith("== "):
            names = spaces.setdefault(line[3:], {})
        elif not line.startswith("REF"):
            name, _, digest = line.split()[:3]
            names[name] = digest
    with open_root(containerd) as root:
        found = {
            held.place.removeprefix("containerd "): {
                name: str(image.offered and image.offered.manifest)
                for image in held.images
                for name in image.names
                if "@" not in name and not name.startswith("sha256:")
            }
            for held in root.held
        }
        sizes, lost = rebuilt(root)
    assert found == spaces
    assert len(sizes) == 17
    assert not lost
    assert look(containerd).notes == ("containerd default: k8s.io/1/half-way was being written: 0 bytes are there",)


def test_engine_29_lists_the_same_images_names_parents_and_sizes(data, engine29):
    said = json.loads((data / "dockerd-29-containerd" / "api" / "images-all.json").read_text())
    with open_root(engine29) as root:
        images = {str(image.offered.manifest): image for image in root.images if image.offered}
        ids = {image.id: digest for digest, image in images.items()}
        sizes, lost = rebuilt(root)
    assert {
        digest: (sorted(image.names), image.size, ids.get(str(image.offered and image.offered.parent), ""))
        for digest, image in images.items()
    } == {one["Id"]: (sorted(one["RepoTags"] or []), one["Size"], one["ParentId"]) for one in said}
    assert len(sizes) >= 8
    assert not lost


@pytest.mark.sampled(2)
def test_engine_29_images_keep_their_manifests(data, engine29, tmp_path):
    before = snapshot(engine29)
    rescue_store(tmp_path / "store", engine29)
    assert snapshot(engine29) == before
    with orlop.open(tmp_path / "store") as images:
        tiny = images.inspect("example/tiny:1.0")
        assert [str(name.digest) for name in tiny.repo_digests] == list(tiny.manifests)
        images.save(["example/tiny:1.0"], tmp_path / "tiny.tar")
    assert orlop.Archive(tmp_path / "tiny.tar").images


def test_a_blob_that_is_missing_is_named(engine29):
    content = engine29 / "containerd" / "daemon" / "io.containerd.content.v1.content" / "blobs" / "sha256"
    with open_root(engine29) as root:
        image = next(image for image in root.images if "example/imported:latest" in image.names)
        assert image.offered is not None
        layer, config = image.offered.layers[0], image.offered.image.id
    (content / str(layer.digest).removeprefix("sha256:")).unlink()
    report = look(engine29, ["example/imported"])
    assert report.images[0].state == "damaged"
    assert f"its blob {layer.digest} is missing" in report.images[0].problems[0]
    (content / config.hex).chmod(0o600)
    (content / config.hex).write_bytes(b"{}")
    report = look(engine29)
    lost = next(image for image in report.images if "example/imported:latest" in image.image.names)
    assert "has 2 bytes, but its descriptor says" in lost.problems[0]


def test_without_its_database_images_are_found_by_their_manifests(engine29, tmp_path):
    database = engine29 / "containerd" / "daemon" / "io.containerd.metadata.v1.bolt" / "meta.db"
    with open_root(engine29) as root:
        whole = {image.id for image in root.images}
    database.unlink()
    report = rescue_store(tmp_path / "store", engine29)
    assert {image.image.id for image in report.images} == whole
    assert "their names are lost" in report.notes[0]
