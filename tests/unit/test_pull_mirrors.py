"""Pulls from mirrors that lack something, break off, or send something else: the next place is asked."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from orlop import errors
from orlop.registry.hosts import Hosts, Rule, Server
from orlop.registry.patience import Patience
from orlop.testing.registry.fake import FakeRegistry
from orlop.testing.registry.quirks import Quirks
from tests.unit.artifacts import chart, signature
from tests.unit.layouts import Layout, layer_tar
from tests.unit.pulling import REPOSITORY, pulling, push
from tests.unit.pushed import reached
from tests.unit.test_pull import HOST, big_tar, image_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orlop.registry.registries import Registries


@pytest.fixture(autouse=True)
def _on_amd64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orlop.intake.platforms.host_platform", lambda: HOST)


class Mirrored:
    def __init__(self, mirror: FakeRegistry, there: FakeRegistry, registries: Registries) -> None:
        self.mirror, self.there, self.registries = mirror, there, registries
        self.name = f"{there.authority}/{REPOSITORY}:1"

    def push(self, layout: Layout, top: dict[str, Any]) -> None:
        for one in (self.mirror, self.there):
            push(one, layout, top, "1")

    def sent(self, registry: FakeRegistry) -> int:
        return sum(one.sent for one in registry.requests if "/blobs/" in one.path)


@contextmanager
def mirrored(**quirks: Any) -> Iterator[Mirrored]:
    with FakeRegistry(Quirks(**quirks)) as mirror, FakeRegistry() as there:
        rule = Rule(prefix=there.authority, mirrors=(Server(location=mirror.authority, plain_http=True),))
        with reached(hosts=Hosts([rule]), patience=Patience(tries=2)) as registries:
            yield Mirrored(mirror, there, registries)


BAD = [
    {"corrupt": True},
    {"longer": 5},
    {"longer": 5, "length": False},
    {"cut": 300, "cuts": 99},
    {"encoding": "label", "corrupt": True},
    {"digest_header": "wrong"},
    {"manifest_type": "text/html", "corrupt": True},
]


@pytest.mark.sampled(9)
@pytest.mark.parametrize("quirks", BAD, ids=str)
@pytest.mark.parametrize("kind", ["image", "artifact", "index"])
def test_a_mirror_that_sends_something_else_does_not_end_a_pull(tmp_path: Path, quirks: dict[str, Any], kind: str):
    layout = Layout()
    if kind == "artifact":
        top = chart(layout, b"content " * 500)
    elif kind == "image":
        top = image_of(layout, big_tar(20_000), layer_tar("two"))
    else:
        children = [layout.image(arch, architecture=arch, platform=True) for arch in ("amd64", "arm64")]
        top = layout.index(*children)
    with mirrored(**quirks) as places, orlop.open(tmp_path / "root") as images:
        places.push(layout, top)
        images.pull(places.name, places.registries, platform="all" if kind == "index" else None)
        assert not list((tmp_path / "root" / "partial").glob("*"))
    assert orlop.stores.fsck(tmp_path / "root").problems == ()


@pytest.mark.sampled(2)
@pytest.mark.parametrize("tag", ["{}", "[]", '{"schemaVersion": 1, "fsLayers": []}', "not json"])
def test_a_mirror_whose_tag_is_not_a_manifest_is_passed_over(tmp_path: Path, tag: str):
    layout = Layout()
    with mirrored() as places, orlop.open(tmp_path / "root") as images:
        push(places.there, layout, layout.image("one"), "1")
        places.mirror.add_manifest(REPOSITORY, tag.encode(), "application/vnd.oci.image.manifest.v1+json", tag="1")
        images.pull(places.name, places.registries)


def test_what_a_mirror_has_sent_before_it_broke_off_is_not_fetched_again(tmp_path: Path):
    layout, tar = Layout(), big_tar(2 << 20)
    with mirrored(cut=1 << 20, cuts=99, ranges="none") as places, orlop.open(tmp_path / "root") as images:
        places.push(layout, image_of(layout, tar))
        images.pull(places.name, places.registries)
        assert places.sent(places.there) < 1.2 * (1 << 20)


def test_where_no_place_is_right_the_error_is_that_of_the_registry(tmp_path: Path):
    layout = Layout()
    with mirrored(corrupt=True) as places, orlop.open(tmp_path / "root") as images:
        places.push(layout, layout.image("one"))
        places.there.quirks = Quirks(corrupt=True)
        with pytest.raises((errors.IntegrityError, errors.InvalidInput)):
            images.pull(places.name, places.registries)
        assert images.counts()["blobs"] == 0
        assert not list((tmp_path / "root" / "partial").glob("*"))


@pytest.mark.sampled(6)
@pytest.mark.parametrize("quirks", [{"corrupt": True}, {"longer": 5}, {"cut": 300, "cuts": 99}], ids=str)
@pytest.mark.parametrize("target", ["oci:{}/out", "docker://{}/copy:1", "store:copy:1"])
def test_a_mirror_that_sends_something_else_does_not_end_a_copy_or_a_sync(
    tmp_path: Path, quirks: dict[str, Any], target: str
):
    layout = Layout()
    with mirrored(**quirks) as places, FakeRegistry() as other, orlop.open(tmp_path / "root") as images:
        places.push(layout, image_of(layout, big_tar(20_000), layer_tar("two")))
        place = target.format(other.authority if "docker" in target else tmp_path)
        images.copy(f"docker://{places.name}", place, places.registries)
        untagged = place.replace("copy:1", "again").replace("out", "again")
        text = f'[[sync]]\nsource = "docker://{places.name}"\ntarget = "{untagged}"\n'
        report = images.sync(orlop.SyncPlan.parse(text), places.registries)
        assert [one.action.value for one in report.tags] == ["copied"]


def test_a_blob_of_an_artifact_that_broke_off_is_gone_on_with(tmp_path: Path):
    layout = Layout()
    top = signature(layout, None, big_tar(1 << 20).hex()[: 2 << 20].encode())
    with pulling(tmp_path, tries=1, cut=1 << 20, cuts=2) as there:
        push(there.registry, layout, top, "1")
        with pytest.raises(errors.RegistryError):
            there.pull()
        # The other blob may have been stopped with it.
        kept = max(path.stat().st_size for path in there.partial())
        assert kept > 900_000
        there.quirks()
        there.pull()
        assert there.sent() <= (2 << 20) - kept + 20_000
        assert there.partial() == []
        assert orlop.stores.fsck(there.root).problems == ()


def test_two_pulls_of_an_artifact_at_once_fetch_each_blob_once(tmp_path: Path):
    layout = Layout()
    manifest = "application/vnd.oci.image.manifest.v1+json"
    blobs = [layout.blob(big_tar(1 << 19, seed), "application/octet-stream") for seed in range(4)]
    config = layout.document({"name": "x"}, "application/vnd.cncf.helm.config.v1+json")
    tops = [
        layout.document({"schemaVersion": 2, "mediaType": manifest, "config": config, "layers": order}, manifest)
        for order in (blobs, blobs[::-1])
    ]
    with pulling(tmp_path) as there, orlop.open(there.root) as other:
        for number, top in enumerate(tops):
            push(there.registry, layout, top, str(number))
        there.registry.requests.clear()
        second = threading.Thread(target=lambda: other.pull(there.name("1"), registries=there.registries))
        second.start()
        there.images.pull(there.name("0"), registries=there.registries)
        second.join(60)
        fetched = [one.path for one in there.registry.requests if "/blobs/" in one.path and one.sent > 1000]
        assert sorted(fetched) == sorted(set(fetched))
        assert len(fetched) == 4
        assert there.partial() == []
