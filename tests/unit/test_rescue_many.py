"""More roots than a process may open, and roots that name one thing again and again."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import resource
import sys
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from orlop.errors import LimitExceeded, RootDamaged, StorageError
from orlop.foreign import podman_root, rebuilt, remains, root
from orlop.foreign.content import CONTENT, Content
from orlop.foreign.database import Children
from orlop.foreign.disk import Folder
from orlop.foreign.documents import salvaged_entries
from orlop.foreign.held import MOST_COPIES
from orlop.foreign.root import open_root
from orlop.intake.taking import measuring
from orlop.model.digest import Digest
from orlop.model.limits import DEFAULT_LIMITS
from orlop.model.manifest import OCI_MANIFEST
from orlop.service.rescue import look, rescue_store
from tests.foreign_roots import make_root
from tests.open_files import open_below

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOST = f"sha256:{1:064x}"


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names are enough


@contextmanager
def files_allowed(count: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def calls_of(action: Any) -> int:
    calls: Counter[str] = Counter()
    sys.setprofile(lambda _frame, event, _what: calls.update((event,)))
    try:
        action()
    finally:
        sys.setprofile(None)
    return calls["call"] + calls["c_call"]


def podman(top: Path, images: list[dict[str, Any]], layers: list[dict[str, Any]], **extra: object) -> str:
    """Make a root of Podman with one config of a layer that is lost, and return its digits."""
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [LOST]}} | extra
    raw = json.dumps(config).encode()
    found = hashlib.sha256(raw).hexdigest()
    folder = top / "overlay-images" / found
    folder.mkdir(parents=True)
    (folder / ("=" + base64.b64encode(f"sha256:{found}".encode()).decode())).write_bytes(raw)
    (top / "overlay-images" / "images.json").write_text(json.dumps([{"id": found} | one for one in images]))
    (top / "overlay-layers").mkdir()
    (top / "overlay-layers" / "layers.json").write_text(json.dumps(layers))
    return found


def test_more_roots_than_a_process_may_open_are_all_read(tmp_path, monkeypatch):
    monkeypatch.setattr(root, "_MOST_OPEN", 4)
    for number in range(12):
        make_root(tmp_path / f"disk-{number}", 1, {f"file-{number}": b"content"})
    with open_root(tmp_path) as found:
        assert len(open_below(tmp_path)) < 8
        assert len(found.images) == 12
        assert len(found.data_roots) == 12
    assert open_below(tmp_path) == []
    report = look(tmp_path, verify=True)
    assert [image.state for image in report.images] == ["whole"] * 12
    rescued = rescue_store(tmp_path.parent / f"{tmp_path.name}-store", tmp_path)
    assert [image.state for image in rescued.images] == ["rescued"] * 12


def test_the_homes_of_very_many_users_do_not_use_up_all_descriptors(tmp_path):
    users = 150
    for number in range(users):
        home = tmp_path / "home" / f"user{number}" / ".local/share/containers/storage"
        podman(home, [{"names": [f"localhost/of{number}:1"]}], [], author=f"{number}")
    with files_allowed(descriptors() + root._MOST_OPEN + 20):
        report = look(tmp_path)
    assert len({name for image in report.images for name in image.image.names}) == users


def test_a_root_that_was_exchanged_while_it_was_not_open_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(root, "_MOST_OPEN", 1)
    for name in ("a", "b"):
        make_root(tmp_path / name, 1, {name: b"content"})
    with open_root(tmp_path) as found, measuring(DEFAULT_LIMITS) as taking:
        layer = next(image.offered for image in found.images[1:] if image.offered).layers[0]
        for how in ("another directory", "a symbolic link", "missing"):
            (tmp_path / "b").rename(tmp_path / f"moved, {how}")
            if how == "another directory":
                (tmp_path / "b").mkdir()
            elif how == "a symbolic link":
                (tmp_path / "b").symlink_to(tmp_path / f"moved, {how}")
            with pytest.raises(RootDamaged, match=how):
                next(found.copies(layer)).root.copy()  # type: ignore[attr-defined]  # of a layer of files
            assert "another" in str(next(found.copies(layer)).problem()) or how != "another directory"
            if how != "missing":
                (tmp_path / "b").rmdir() if how == "another directory" else (tmp_path / "b").unlink()
            (tmp_path / f"moved, {how}").rename(tmp_path / "b")
        assert found.taken(layer, taking)[0].diff.diff_id == layer.diff_id


def test_a_process_that_may_open_nothing_more_takes_nothing_for_lost(tmp_path):
    make_root(tmp_path / "docker", 1, {"a": b"b"})
    with open_root(tmp_path / "docker") as found:
        (layer,) = next(image.offered for image in found.images if image.offered).layers
        with files_allowed(1), pytest.raises(StorageError, match="Too many open files"):
            next(found.copies(layer)).problem()
        assert next(found.copies(layer)).problem() == ""


def test_an_image_that_a_list_names_often_is_read_once_and_has_all_names(tmp_path, monkeypatch):
    read = 0

    def counted(self: Any, image: str) -> Any:
        nonlocal read
        read += 1
        return real(self, image)

    real = podman_root._DriverRoot._document
    monkeypatch.setattr(podman_root._DriverRoot, "_document", counted)
    podman(tmp_path, [{"names": [f"a/b:{number}"]} for number in range(300)], [])
    (image,) = look(tmp_path).images
    assert read == 1
    assert image.image.names == tuple(f"a/b:{number}" for number in range(300))


def test_of_one_layer_only_some_places_are_tried(tmp_path):
    for count in (10, 1000):
        top = tmp_path / str(count)
        podman(top, [{}], [{"id": f"{number:064x}", "diff-digest": LOST} for number in range(count)])
        with open_root(top) as found:
            (layer,) = next(image.offered for image in found.images if image.offered).layers
            copies = list(found.copies(layer))
            # The last one stands for those that the list calls others.
            assert len(copies) == min(count, MOST_COPIES) + 1
        assert look(top, verify=True).images[0].state == "damaged"


def shared(top: Path, images: int, parts: int) -> str:
    """Make a Docker root with images that all have one layer on top of another one, each of a chain of its own."""
    make_root(top, parts, {})
    base = top / "image/overlay2"
    diff_ids = [path.read_text() for path in sorted((base / "layerdb/sha256").glob("*/diff"))]
    same = diff_ids[0]
    names = {}
    for number in range(images):
        lower = diff_ids[1:][number % (parts - 1)] if parts > 1 else same
        config = {"architecture": "amd64", "os": "linux", "author": f"{number}"}
        raw = json.dumps(config | {"rootfs": {"type": "layers", "diff_ids": [lower, same]}}).encode()
        image = hashlib.sha256(raw).hexdigest()
        (base / "imagedb/content/sha256" / image).write_bytes(raw)
        names[f"made/image:{number}"] = f"sha256:{image}"
        chain = hashlib.sha256(f"{lower} {same}".encode()).hexdigest()
        entry = base / "layerdb/sha256" / chain
        if not entry.exists():
            entry.mkdir()
            for path in (base / "layerdb/sha256" / same.removeprefix("sha256:")).iterdir():
                (entry / path.name).write_bytes(path.read_bytes())
    (base / "repositories.json").write_text(json.dumps({"Repositories": {"made/image": names}}))
    return same


@pytest.mark.sampled(3)
def test_images_that_share_a_layer_in_chains_of_their_own_take_work_by_their_number(tmp_path):
    calls = []
    for count in (40, 80):
        shared(tmp_path / str(count), count, count + 1)
        calls.append(calls_of(lambda count=count: look(tmp_path / str(count))))
    assert calls[1] < 2.5 * calls[0]


def test_a_lost_layer_is_looked_for_once_however_many_images_have_it(tmp_path, monkeypatch):
    tried: Counter[str] = Counter()

    def counted(self: Any, *given: Any) -> Any:
        tried[self.split[4]] += 1
        return real(self, *given)

    real = rebuilt.UnpackedLayer.attempts
    monkeypatch.setattr(rebuilt.UnpackedLayer, "attempts", counted)
    work = []
    for count in (3, 9):
        top = tmp_path / str(count)
        same = shared(top, count, 2).removeprefix("sha256:")
        for path in (top / "overlay2").glob("*/diff/*"):
            if path.name == "number-0" or path.read_bytes() == b"0":
                path.write_bytes(b"x")
        tried.clear()
        report = rescue_store(tmp_path / f"store-{count}", top)
        assert len(report.damaged) >= count
        work.append(sum(tried.values()))
        assert tried[same]
    assert work[0] == work[1]


def test_documents_that_small_ones_lead_to_again_and_again_are_bounded(tmp_path):
    raw = json.dumps({"config": "x" * 987}).encode()
    assert len(raw) == 1001
    name = hashlib.sha256(raw).hexdigest()
    blobs = tmp_path / CONTENT / "blobs/sha256"
    blobs.mkdir(parents=True)
    (blobs / name).write_bytes(raw)
    with Folder.open(str(tmp_path)) as folder:
        content = Content(folder, replace(DEFAULT_LIMITS, documents_size=1000))
        for _ in range(32):
            assert content.document(f"sha256:{name}", what="it") == raw
        with pytest.raises(LimitExceeded, match="documents-size"):
            content.document(f"sha256:{name}", what="it")


@pytest.mark.parametrize("depth", [50, 500])  # which ends in the string, and in most Pythons by its depth
def test_entries_that_each_go_on_to_the_end_of_a_damaged_list_are_not_all_tried(monkeypatch, depth):
    begin = b'{"id":"%064x","x":[' % 1
    entry = b'{"id":"%064x"}' % 2
    decoded = 0

    class Counted(json.JSONDecoder):
        def raw_decode(self, s: str, idx: int = 0) -> Any:
            nonlocal decoded
            decoded += len(s) - idx
            return super().raw_decode(s, idx)

    monkeypatch.setattr("orlop.foreign.documents.json.JSONDecoder", Counted)
    raw = b"[" + begin * depth + b'"' + b"a" * 100_000
    assert not list(salvaged_entries(raw))
    assert decoded < 10 * len(raw)
    # What is whole behind a few of them is found all the same.
    found = [one["id"] for one in salvaged_entries(b"[" + entry + b"," + begin * 3 + b'"end"]}, ' + entry)]
    assert found == [f"{number:064x}" for number in (2, 1, 2)]


def test_lost_manifests_that_all_lead_to_the_same_ones_are_not_each_followed_to_the_end(tmp_path, monkeypatch):
    looked = 0

    def counted(content: Content, name: str) -> None:
        nonlocal looked
        looked += 1

    monkeypatch.setattr(remains, "manifest_of", counted)
    many = Children("", (), tuple(str(Digest.of(b"%d" % number)) for number in range(300)))
    lost = [str(Digest.of(b"lost %d" % number)) for number in range(50)]
    with Folder.open(str(tmp_path)) as folder:
        content = Content(folder, replace(DEFAULT_LIMITS, json_values_total=1000))
        left = remains.Remains(content, lambda: dict.fromkeys(lost, many))
        assert not [one for digest in lost for one in left.of(digest, "it is lost", [])]
    assert 0 < looked <= 1000


def test_lists_of_images_give_so_many_names_and_no_more(tmp_path, monkeypatch):
    names = [f"a/list-{number}:1" for number in range(8)]
    podman(tmp_path, [{}], [])
    images = tmp_path / "overlay-images"
    (image,) = (path for path in images.iterdir() if path.is_dir())
    digest = Digest.of(b"manifest")
    (image / ("=" + base64.b64encode(f"manifest-{digest}".encode()).decode())).touch()
    entries = json.loads((images / "images.json").read_text())
    for name in names:
        raw = json.dumps(
            {
                "schemaVersion": 2,
                "manifests": [{"mediaType": OCI_MANIFEST, "digest": str(digest), "size": 8}],
                "x": name,
            }
        ).encode()
        found = hashlib.sha256(raw).hexdigest()
        (images / found).mkdir()
        (images / found / "manifest").write_bytes(raw)
        entries.append({"id": found, "names": [name]})
    (images / "images.json").write_text(json.dumps(entries))
    assert set(look(tmp_path).images[0].image.names) == set(names)
    real = podman_root.read_podman_root
    few = replace(DEFAULT_LIMITS, json_values_total=5)
    monkeypatch.setattr(podman_root, "read_podman_root", lambda folder, _, beside: real(folder, few, beside))
    # The document itself has more values than there may be names then.
    monkeypatch.setattr(podman_root, "parsed", lambda raw, *_: json.loads(raw))
    report = look(tmp_path)
    assert len(report.images[0].image.names) == 5
    assert [note for note in report.notes if "names" in note] == [
        "podman overlay: lists of images lead to more than 5 names; the other names are left out"
    ]
