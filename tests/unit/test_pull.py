"""Pulls: what is asked of a registry, what is kept, and what is not fetched again."""

from __future__ import annotations

import errno
import gzip
import io
import json
import os
import random
import signal
import stat
import subprocess
import sys
import tarfile
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from orlop import errors
from orlop.model.progress import LayerDone, LayerExists
from orlop.registry.credentials import Credentials
from orlop.store.blobs.files import FileBlobStore
from tests.unit.layouts import CONFIG, INDEX, LAYER, MANIFEST, Layout, layer_tar, named, sha256
from tests.unit.pulling import REPOSITORY, pulling, push
from tests.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from orlop.model.progress import ProgressEvent

HOST = orlop.Platform("linux", "amd64")
LARGE = int(os.environ.get("ORLOP_LAYER_MIB", "64")) << 20
"""The size of a layer in the middle of which a pull is killed."""
ME = Credentials(user="me", password="secret")


@pytest.fixture(autouse=True)
def _on_amd64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orlop.intake.platforms.host_platform", lambda: HOST)


def big_tar(size: int, seed: int = 1) -> bytes:
    """Return a tar that does not get smaller."""
    chance = random.Random(seed)
    # At once it makes less than 256 MiB.
    content = b"".join(chance.randbytes(min(1 << 20, size - start)) for start in range(0, size, 1 << 20))
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        member = tarfile.TarInfo("random")
        member.size = size
        tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def image_of(layout: Layout, *tars: bytes, layers: list[dict[str, Any]] | None = None, **more: Any) -> dict[str, Any]:
    """Add an image of some layers to a layout, and return the descriptor of its manifest."""
    config = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [sha256(tar) for tar in tars]},
    }
    found = [layout.blob(gzip.compress(tar, 1, mtime=0), f"{LAYER}+gzip") for tar in tars] if layers is None else layers
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": layout.document(config, CONFIG), "layers": found}
    return layout.document(manifest | more, MANIFEST)


def test_an_image_is_pulled_with_a_request_for_each_part(tmp_path: Path):
    layout = Layout()
    top = layout.image("one", "two", "three")
    with pulling(tmp_path) as there:
        digest = push(there.registry, layout, top, "1")
        report = there.pull()
        assert sorted(there.asked) == sorted(["GET manifests", *["GET blobs"] * 4])
        assert str(report.digest) == digest
        assert report.messages() == (f"Digest: {digest}", f"Status: Downloaded newer image for {there.name()}")
        details = there.images.inspect(there.name())
        assert [str(name) for name in details.references] == [there.name(), there.name(f"@{digest}")]
        manifest = json.loads(layout.files[f"blobs/sha256/{digest[7:]}"])
        assert str(details.image.id) == manifest["config"]["digest"]
        assert there.partial() == []


def test_what_is_there_costs_one_request_and_two_with_a_token(tmp_path: Path):
    layout = Layout()
    with pulling(tmp_path, ME, users={"me": "secret"}) as there:
        push(there.registry, layout, layout.index(layout.image("one", platform=True)), "1")
        there.pull()
        report = there.pull()
        assert there.asked == ["HEAD manifests"]
        assert report.messages()[1] == f"Status: Image is up to date for {there.name()}"
        there.pull(f"@{report.digest}")
        assert there.asked == []
    with pulling(tmp_path, ME, users={"me": "secret"}, auth="bearer") as there:
        push(there.registry, layout, layout.index(layout.image("one", platform=True)), "1")
        there.pull()
        there.pull()
        assert there.asked == ["HEAD manifests"]


def test_a_tag_that_moved_fetches_what_is_new(tmp_path: Path):
    layout = Layout()
    with pulling(tmp_path) as there:
        push(there.registry, layout, layout.image("one", "two"), "1")
        old = there.pull().images.images[0].id
        push(there.registry, layout, layout.image("one", "three"), "1")
        report = there.pull()
        assert there.asked == ["HEAD manifests", "GET manifests", "GET blobs", "GET blobs"]
        assert report.changed
        assert [move.old_id for move in report.images.moved] == [old]


def test_a_layer_that_was_loaded_from_docker_save_is_not_fetched(tmp_path: Path):
    layout = Layout()
    plain = layout.image("one", "two", compress=False, **named("local/app:1"))
    with pulling(tmp_path) as there:
        there.images.load(io.BytesIO(layout.top(plain).pack()))
        push(there.registry, layout, layout.image("one", "two"), "1")
        events: list[ProgressEvent] = []
        there.pull(progress=events.append)
        # Loaded with its own config: that is the same, and held.
        assert there.asked == ["GET manifests"]
        assert [type(event) for event in events] == [LayerExists, LayerExists]
        there.pull(exact=True)
        assert there.asked.count("GET blobs") == 2
        report = orlop.stores.fsck(there.root)
        assert report.problems == ()


def test_a_manifest_goes_out_as_it_came(tmp_path: Path):
    layout = Layout()
    index = layout.index(
        layout.image("one", platform=True), layout.image("two", architecture="arm64", platform=True),
        annotations={"of": "the index"},
    )  # fmt: skip
    with pulling(tmp_path) as there:
        digest = push(there.registry, layout, index, "1")
        there.pull(platform="all")
        there.images.save([there.name()], str(tmp_path / "out"), format="oci-dir", platform="all")
    names = {path.name for path in (tmp_path / "out" / "blobs" / "sha256").iterdir()}
    assert names == {name.rpartition("/")[2] for name in layout.files if name.startswith("blobs/")}
    out = json.loads((tmp_path / "out" / "index.json").read_text())
    assert [one["digest"] for one in out["manifests"]] == [digest]


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("asked", "found"),
    [(None, "amd64"), ("linux/arm64", "arm64"), ("linux/arm/v6", "arm/v6"), ("linux/arm", "arm/v7")],
)
def test_of_an_index_the_image_of_one_platform_is_fetched(tmp_path: Path, asked: str | None, found: str):
    layout = Layout()
    images = [
        layout.image("one", platform=True),
        layout.image("two", architecture="arm64", platform=True),
        layout.image("three", architecture="arm", variant="v7", platform=True),
        layout.image("four", architecture="arm", variant="v6", platform=True),
    ]
    attestation = {"schemaVersion": 2, "mediaType": MANIFEST, "config": layout.document({}, CONFIG), "layers": []}
    unknown = layout.document(attestation, MANIFEST, platform={"os": "unknown", "architecture": "unknown"})
    with pulling(tmp_path) as there:
        digest = push(there.registry, layout, layout.index(unknown, *images), "1")
        report = there.pull(platform=asked)
        assert there.asked == ["GET manifests", "GET manifests", "GET blobs", "GET blobs"]
        (image,) = report.images.images
        assert str(image.platform) == f"linux/{found}"
        assert [str(name.digest) for name in image.digests] == [digest]


def test_another_platform_and_all_of_them(tmp_path: Path):
    layout = Layout()
    index = layout.index(
        layout.index(layout.image("two", architecture="arm64", platform=True)), layout.image("one", platform=True)
    )
    with pulling(tmp_path) as there:
        push(there.registry, layout, index, "1")
        with pytest.raises(errors.PlatformNotFound, match="for linux/s390x; it holds linux/amd64, linux/arm64"):
            there.pull(platform="linux/s390x")
        report = there.pull(platform="all")
        assert [str(image.platform) for image in report.images.images] == ["linux/amd64", "linux/arm64"]
        assert [bool(image.references) for image in report.images.images] == [True, False]


def test_a_name_with_tag_and_digest_is_pulled_by_its_digest(tmp_path: Path):
    layout = Layout()
    with pulling(tmp_path) as there:
        digest = push(there.registry, layout, layout.image("one"), "1")
        push(there.registry, layout, layout.image("two"), "1")
        report = there.pull(f"1@{digest}")
        (image,) = report.images.images
        assert [str(name) for name in (*image.references, *image.digests)] == [there.name(f"@{digest}")]


@pytest.mark.parametrize("length", [True, False])
def test_a_connection_that_breaks_is_gone_on_with(tmp_path: Path, length: bool):  # noqa: FBT001 - a parameter
    layout, tar = Layout(), big_tar(1 << 20)
    with pulling(tmp_path, cut=300_000, cuts=3, length=length) as there:
        push(there.registry, layout, image_of(layout, tar), "1")
        there.pull()
        assert there.sent() < 1.3 * len(tar)
        assert there.pauses.taken


def test_what_another_run_has_left_is_not_fetched_again(tmp_path: Path):
    layout, tar = Layout(), big_tar(1 << 20)
    with pulling(tmp_path, tries=1, cut=600_000, cuts=2) as there:
        push(there.registry, layout, image_of(layout, tar), "1")
        with pytest.raises(errors.RegistryError):
            there.pull()
        (left,) = there.partial()
        assert left.stat().st_size > 400_000
        assert list(there.images.images()) == []
        kept = left.stat().st_size
        there.quirks()
        there.pull()
        assert there.sent() <= len(tar) - kept + 20_000
        assert there.partial() == []
        assert orlop.stores.fsck(there.root).problems == ()


@pytest.mark.sampled(2)
@pytest.mark.parametrize("damage", ["none", "flip", "cut"])
def test_what_a_killed_write_has_named_is_not_fetched_again(tmp_path: Path, damage: str):
    layout, tar = Layout(), big_tar(1 << 20)
    with pulling(tmp_path) as there:
        manifest = image_of(layout, tar)
        push(there.registry, layout, manifest, "1")
        digest = json.loads(layout.files[f"blobs/{manifest['digest'].replace(':', '/')}"])["layers"][0]["digest"]
        named = there.root / "blobs" / digest.replace(":", "/")
        # Rows come before blobs.
        assert list(there.images.images()) == []
        content = bytearray(layout.files[f"blobs/{digest.replace(':', '/')}"])
        whole = len(content)
        if damage == "flip":
            content[200_000] ^= 1
        elif damage == "cut":
            del content[whole // 2 :]
        named.parent.mkdir(parents=True, exist_ok=True)
        named.write_bytes(content)
        named.chmod(0o400)
        report = there.pull()
        # The config is fetched in any case.
        fetched = {"none": 0, "flip": whole, "cut": whole - whole // 2}[damage]
        assert fetched <= there.sent() <= fetched + 20_000
        assert there.images.inspect(report.name).size
        assert there.partial() == []
        assert stat.S_IMODE(named.stat().st_mode) == 0o400
        assert orlop.stores.fsck(there.root).problems == ()


@pytest.mark.sampled(2)
def test_what_was_fetched_stays_where_it_cannot_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A commit that fails, of large layers or of a group of small ones, makes nobody fetch them again."""
    layout, tars = Layout(), [big_tar(size, number) for number, size in enumerate((5 << 20, 1 << 18, 1 << 17))]
    with pulling(tmp_path) as there:
        push(there.registry, layout, image_of(layout, *tars), "1")
        with monkeypatch.context() as patched:
            patched.setattr(FileBlobStore, "_sync_blob_names", full)
            with pytest.raises(errors.NoSpace):
                there.pull()
        fetched = there.sent()
        kept = sum(file.stat().st_size for file in there.partial())
        there.pull()
        # The rest is what was on its way as the first commit failed.
        assert kept >= sum(map(len, tars)) - (1 << 19)
        assert there.sent() - fetched <= sum(map(len, tars)) - kept + 20_000
        assert there.partial() == []
        assert orlop.stores.fsck(there.root).problems == ()


def test_what_was_left_and_cannot_be_read_any_more_is_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    layout, tar = Layout(), big_tar(1 << 20)
    with pulling(tmp_path) as there:
        push(there.registry, layout, image_of(layout, tar), "1")
        with monkeypatch.context() as patched:
            patched.setattr(FileBlobStore, "_sync_blob_names", full)
            with pytest.raises(errors.NoSpace):
                there.pull()
        left = {file.stat().st_ino for file in there.partial() if file.stat().st_size}
        assert left
        read = os.pread

        def pread(descriptor: int, size: int, start: int) -> bytes:
            if os.fstat(descriptor).st_ino in left:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return read(descriptor, size, start)

        monkeypatch.setattr(os, "pread", pread)
        there.pull()
        assert there.partial() == []


def full(*_: object) -> None:
    raise errors.NoSpace("the disk is full")


@pytest.mark.sampled(2)
@pytest.mark.parametrize("damage", ["flip", "longer", "zeros"])
def test_what_was_left_is_trusted_only_after_hashing(tmp_path: Path, damage: str):
    layout, tar = Layout(), big_tar(1 << 20)
    with pulling(tmp_path, tries=1, cut=600_000, cuts=2) as there:
        push(there.registry, layout, image_of(layout, tar), "1")
        with pytest.raises(errors.RegistryError):
            there.pull()
        (left,) = there.partial()
        content = bytearray(left.read_bytes())
        if damage == "flip":
            content[200_000] ^= 1
        elif damage == "longer":
            content += bytes(1 << 20)
        else:
            content[:] = bytes(len(content))
        left.write_bytes(content)
        there.quirks()
        report = there.pull()
        assert there.images.inspect(report.name).size
        assert there.partial() == []
        assert orlop.stores.fsck(there.root).problems == ()


@pytest.mark.parametrize(
    ("quirks", "kind"),
    [
        ({"corrupt": True}, (errors.DigestMismatch,)),
        ({"longer": 5}, (errors.SizeMismatch,)),
        ({"longer": 5, "length": False}, (errors.SizeMismatch,)),
    ],
)
def test_wrong_bytes_are_an_error_and_are_not_kept(
    tmp_path: Path, quirks: dict[str, Any], kind: tuple[type[Exception], ...]
):
    layout = Layout()
    with pulling(tmp_path) as there:
        push(there.registry, layout, layout.image("one"), "1")
        there.quirks(**quirks)
        with pytest.raises(kind, match=there.registry.authority):
            there.pull()
        assert there.partial() == []
        assert list(there.images.images(all=True)) == []
        assert there.images.counts()["blobs"] == 0
        there.quirks()
        there.pull()


def test_a_pull_that_fails_keeps_the_layers_that_came(tmp_path: Path):
    layout, tars = Layout(), [layer_tar("one"), layer_tar("two")]
    with pulling(tmp_path) as there:
        top = image_of(layout, *tars)
        push(there.registry, layout, top, "1")
        lost = sha256(gzip.compress(tars[1], 1, mtime=0))
        content = there.registry.repository(REPOSITORY).blobs.pop(lost)
        with pytest.raises(errors.NotInRegistry):
            there.pull()
        assert list(there.images.images(all=True)) == []
        there.registry.add_blob(REPOSITORY, content)
        there.pull()
        assert sum(one.path.endswith(lost) for one in there.registry.requests) == 1
        layers = [one for one in there.registry.requests if sha256(gzip.compress(tars[0], 1, mtime=0)) in one.path]
        assert len(layers) <= 1


def test_what_nothing_came_of_is_garbage(tmp_path: Path):
    layout, tar = Layout(), big_tar(1 << 20)
    with pulling(tmp_path, tries=1, cut=600_000, cuts=3) as there:
        push(there.registry, layout, image_of(layout, tar, layer_tar("small")), "1")
        with pytest.raises(errors.RegistryError):
            there.pull()
        assert there.partial()
        would = there.images.gc(dry_run=True)
        assert "partial" in {one.kind for one in would.garbage}
        assert there.partial()
        there.images.gc()
        assert there.partial() == []
        assert there.images.counts()["blobs"] == 0


@pytest.mark.sampled(2)
def test_two_pulls_at_once_fetch_each_layer_once(tmp_path: Path):
    layout, tars = Layout(), [big_tar(1 << 20, seed) for seed in range(4)]
    with pulling(tmp_path) as there, orlop.open(there.root) as other:
        push(there.registry, layout, image_of(layout, *tars), "1")
        push(there.registry, layout, image_of(layout, *reversed(tars)), "2")
        there.registry.requests.clear()

        def second() -> None:
            other.pull(there.name("2"), registries=there.registries)

        thread = threading.Thread(target=second)
        thread.start()
        there.images.pull(there.name("1"), registries=there.registries)
        thread.join()
        assert len(list(other.images())) == 2
        assert there.sent() < sum(map(len, tars)) + (1 << 20) // 2
        assert there.partial() == []


_PULL = """
import sys, orlop
with orlop.open(sys.argv[1]) as images:
    images.pull(sys.argv[2])
"""


@pytest.mark.sampled(3)
def test_two_processes_that_pull_at_once_fetch_each_layer_once(tmp_path: Path):
    layout, tars = Layout(), [big_tar(1 << 20, seed) for seed in range(4)]
    with pulling(tmp_path) as there:
        push(there.registry, layout, image_of(layout, *tars), "1")
        push(there.registry, layout, image_of(layout, *reversed(tars)), "2")
        argv = [sys.executable, "-c", _PULL, str(there.root)]
        both = [subprocess.Popen([*argv, there.name(tag)]) for tag in ("1", "2")]
        assert [process.wait(60) for process in both] == [0, 0]
        assert len(list(there.images.images())) == 2
        assert there.sent() < sum(map(len, tars)) + (1 << 20) // 2
        assert there.partial() == []


@pytest.mark.sampled(2)
def test_a_pull_that_is_killed_at_half_of_a_layer_fetches_the_other_half(tmp_path: Path):
    layout, tar = Layout(), big_tar(LARGE)
    with pulling(tmp_path, stall=LARGE // 2) as there:
        push(there.registry, layout, image_of(layout, tar), "1")
        process = subprocess.Popen([sys.executable, "-c", _PULL, str(there.root), there.name()])
        until(lambda: sum(path.stat().st_size for path in there.partial()) >= LARGE // 2)
        process.kill()
        process.wait()
        assert list(there.images.images()) == []
        there.quirks()
        report = there.pull()
        assert there.sent() <= 0.51 * len(tar)
        assert there.images.inspect(report.name).size
        assert there.partial() == []


_PULL_THAT_GATHERS = f"""
from orlop.intake import keeping
keeping._SOON = 3600
{_PULL}"""


@pytest.mark.sampled(3)
def test_small_layers_that_wait_for_others_are_not_lost_by_a_kill(tmp_path: Path):
    layout, tars = Layout(), [layer_tar(f"{number}") for number in range(12)]
    with pulling(tmp_path, stall=1 << 20) as there:
        push(there.registry, layout, image_of(layout, *tars, big_tar(2 << 20)), "1")
        process = subprocess.Popen([sys.executable, "-c", _PULL_THAT_GATHERS, str(there.root), there.name()])
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and sum(path.stat().st_size for path in there.partial()) < 1 << 20:
            time.sleep(0.05)
        process.kill()
        process.wait()
        assert len(there.partial()) == 13
        assert there.images.counts()["blobs"] == 0
        there.quirks()
        there.pull()
        assert [one for one in there.asked if one == "GET blobs"] == ["GET blobs"] * 2  # the config and the large layer
        assert there.partial() == []
        assert orlop.stores.fsck(there.root).problems == ()


@pytest.mark.sampled(3)
def test_two_pulls_of_many_small_layers_in_other_orders_end(tmp_path: Path):
    layout, tars = Layout(), [layer_tar(f"{number}") for number in range(24)]
    with pulling(tmp_path) as there:
        push(there.registry, layout, image_of(layout, *tars), "1")
        push(there.registry, layout, image_of(layout, *reversed(tars)), "2")
        there.registry.requests.clear()
        argv = [sys.executable, "-c", _PULL, str(there.root)]
        both = [subprocess.Popen([*argv, there.name(tag)]) for tag in ("1", "2")]
        assert [process.wait(60) for process in both] == [0, 0]
        fetched = [one.path for one in there.registry.requests if "/blobs/" in one.path]
        assert len(fetched) == len(set(fetched)) == 24 + 2
        assert there.partial() == []


def test_a_layer_that_cannot_be_kept_ends_a_pull_that_waits_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object) -> None:
        raise errors.ReadOnlyStore("cannot write")

    layout = Layout()
    with pulling(tmp_path, stall=1 << 20) as there:
        push(there.registry, layout, image_of(layout, layer_tar("small"), big_tar(2 << 20)), "1")
        monkeypatch.setattr("orlop.store.blobs.ingest.IngestedLayer.publish", fail)
        start = time.monotonic()
        with pytest.raises(errors.ReadOnlyStore):
            there.pull()
        # The server stays silent for a minute.
        assert time.monotonic() - start < 30


@pytest.mark.sampled(3)
def test_an_interrupt_ends_a_pull_that_waits_and_leaves_what_came(tmp_path: Path):
    layout, tars = Layout(), [big_tar(4 << 20, seed) for seed in range(2)]
    with pulling(tmp_path, stall=2 << 20) as there:
        push(there.registry, layout, image_of(layout, *tars), "1")
        process = subprocess.Popen(
            [sys.executable, "-c", _PULL, str(there.root), there.name()], stderr=subprocess.DEVNULL
        )
        until(lambda: sum(path.stat().st_size for path in there.partial()) >= 4 << 20)
        process.send_signal(signal.SIGINT)
        # The server stays silent for a minute.
        process.wait(40)
        assert sum(path.stat().st_size for path in there.partial()) >= 4 << 20
        assert list(there.images.images()) == []


def test_what_broke_off_is_bounded_and_goes_when_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pulling(tmp_path) as there:
        folder = there.root / "partial"
        folder.mkdir(mode=0o700)
        for number, age in enumerate([20, 1, 2]):
            file = folder / f"sha256-{number:064x}"
            file.write_bytes(bytes(1000))
            os.utime(file, (time.time() - age * 86_400,) * 2)
        layout = Layout()
        push(there.registry, layout, layout.image("one"), "1")
        there.pull()
        assert [path.name[-1] for path in there.partial()] == ["1", "2"]
        monkeypatch.setattr("orlop.service.pull._KEPT_BYTES", 1500)
        there.pull()
        assert [path.name[-1] for path in there.partial()] == ["1"]


def test_layers_report_their_progress(tmp_path: Path):
    layout = Layout()
    events: list[ProgressEvent] = []
    with pulling(tmp_path) as there:
        digest = push(there.registry, layout, layout.image("one", "two"), "1")
        there.pull(progress=events.append)
        manifest = json.loads(layout.files["blobs/" + digest.replace(":", "/")])
        ids = {layer["digest"].removeprefix("sha256:")[:12] for layer in manifest["layers"]}
        assert {event.layer for event in events if isinstance(event, LayerDone)} == ids
        there.pull(progress=events.append)
        assert {event.layer for event in events if isinstance(event, LayerExists)} == ids


def test_what_progress_raises_ends_a_pull(tmp_path: Path):
    layout = Layout()

    def stop(event: ProgressEvent) -> None:
        raise KeyboardInterrupt

    with pulling(tmp_path) as there:
        push(there.registry, layout, layout.image("one", "two"), "1")
        with pytest.raises(KeyboardInterrupt):
            there.pull(progress=stop)
        assert list(there.images.images(all=True)) == []
        there.pull()


def test_credentials_do_not_follow_a_layer_to_another_host(tmp_path: Path):
    layout = Layout()
    with pulling(tmp_path, ME, users={"me": "secret"}, auth="basic", redirect=307) as there:
        push(there.registry, layout, layout.image("one"), "1")
        there.pull()
        stores = [one for one in there.registry.requests if one.site == "store"]
        assert len(stores) == 2
        assert not any("authorization" in one.headers for one in stores)


def test_a_token_that_expires_in_the_middle_is_renewed(tmp_path: Path):
    layout = Layout()
    with pulling(tmp_path, ME, users={"me": "secret"}, auth="bearer", token_uses=2) as there:
        # Of more layers at once, each could meet a token that the others have used up before it has worked for anybody.
        push(there.registry, layout, layout.image("one"), "1")
        there.pull()
        assert there.asked.count("GET token") == 2


def test_both_at_once_is_refused(tmp_path: Path):
    layout = Layout()
    both = layout.document({"schemaVersion": 2, "mediaType": INDEX, "manifests": [], "layers": [], "config": {}}, INDEX)
    with pulling(tmp_path) as there:
        push(there.registry, layout, both, "1")
        with pytest.raises(errors.InvalidManifest, match="at once"):
            there.pull()


def test_a_manifest_that_lies_about_a_size_is_refused(tmp_path: Path):
    layout, tar = Layout(), layer_tar("one")
    blob = layout.blob(gzip.compress(tar, mtime=0), f"{LAYER}+gzip")
    for size in (blob["size"] - 1, blob["size"] + 1):
        with pulling(tmp_path) as there:
            push(there.registry, layout, image_of(layout, tar, layers=[blob | {"size": size}]), "1")
            with pytest.raises(errors.SizeMismatch):
                there.pull()
            assert list(there.images.images(all=True)) == []


@pytest.mark.sampled(2)
def test_an_index_of_very_many_is_not_followed(tmp_path: Path):
    layout = Layout()
    image = layout.image("one")
    many = [image | {"digest": sha256(str(number).encode())} for number in range(2000)]
    with pulling(tmp_path) as there:
        push(there.registry, layout, layout.index(*many), "1")
        with pytest.raises(errors.InvalidManifest, match="more than 1000 manifests"):
            there.pull(platform="all")
        assert len(there.asked) == 1


def test_a_pull_opens_few_connections(tmp_path: Path):
    # Registries refuse whoever opens many at once.
    layout = Layout()
    with pulling(tmp_path) as there:
        push(there.registry, layout, layout.image(*(f"file{number}" for number in range(12))), "1")
        there.pull()
        assert len(there.asked) == 14
        assert there.registry.registry.connections <= 6 + 1  # and one that tried TLS first


def test_a_layer_that_an_image_has_twice_is_fetched_once(tmp_path: Path):
    layout = Layout()
    with pulling(tmp_path) as there:
        push(there.registry, layout, layout.image("one", "two", "one"), "1")
        there.pull()
        assert sorted(there.asked) == ["GET blobs"] * 3 + ["GET manifests"]
        assert there.images.inspect(there.name()).size


def test_a_layer_that_is_elsewhere_gets_no_credentials(tmp_path: Path):
    layout, tar = Layout(), layer_tar("one")
    with pulling(tmp_path, ME, users={"me": "secret"}, auth="basic") as there:
        content = gzip.compress(tar, mtime=0)
        there.registry.add_blob("elsewhere/app", content)
        url = f"{there.registry.store.url}/objects/{sha256(content)}"
        foreign = {"mediaType": f"{LAYER}+gzip", "digest": sha256(content), "size": len(content), "urls": [url]}
        push(there.registry, layout, image_of(layout, tar, layers=[foreign]), "1")
        there.pull()
        (fetched,) = [one for one in there.registry.requests if one.site == "store"]
        assert "authorization" not in fetched.headers


def test_a_layer_that_is_elsewhere_comes_with_an_index_too(tmp_path: Path):
    layout, tar = Layout(), layer_tar("one")
    with pulling(tmp_path) as there:
        content = gzip.compress(tar, mtime=0)
        there.registry.add_blob("elsewhere/app", content)
        url = f"{there.registry.store.url}/objects/{sha256(content)}"
        foreign = {"mediaType": f"{LAYER}+gzip", "digest": sha256(content), "size": len(content), "urls": [url]}
        push(there.registry, layout, layout.index(image_of(layout, tar, layers=[foreign])), "1")
        assert len(there.pull(platform="all").images.images) == 1
