"""What a sync keeps and removes is the same for every kind of target."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from orlop import errors
from orlop.archive.reader import Archive
from orlop.model.digest import Digest
from orlop.model.manifest import Manifest, parse_manifest
from orlop.service.copy import Copy
from orlop.service.sync.whole import names_in
from orlop.transfer.members_source import opened_directory, opened_layout
from orlop.transfer.places import parse_place
from tests.unit.layouts import Layout, named
from tests.unit.pushed import placed, simple
from tests.unit.synced import actions, add_image, entry, sync

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.unit.pushed import Place

KINDS = ["docker", "store", "oci", "oci-archive", "docker-archive"]
ARCHIVES = ["oci-archive", "docker-archive"]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with placed(tmp_path / "root") as found:
        for tag in ("1", "2", "3"):
            found.load(simple(found.name(f"team/app:{tag}"), tag))
        found.push("team/app:1", "team/app:2", "team/app:3")
        yield found


class Target:
    """A target of a kind, and the tags of the mirrored repository in it."""

    def __init__(self, kind: str, place: Place, folder: Path) -> None:
        self._place = place
        self._kind = kind
        self.text = {
            "docker": f"docker://{place.there.authority}/mirror/app",
            "store": "store:mirror/app",
            "oci": f"oci:{folder}/layout",
        }.get(kind, f"{kind}:{folder}/app.tar")

    @property
    def tags(self) -> set[str]:
        if self._kind == "docker":
            return set(self._place.there.repository("mirror/app").tags)
        if self._kind == "store":
            names = [name for one in self._place.images.images() for name in one.references]
            return {str(name.tag) for name in names if name.familiar.startswith("mirror/app:")}
        if self._kind == "oci":
            with opened_layout(self.text.partition(":")[2]) as layout:
                return {str(root.tag) for root in layout.tops()}
        return {str(name.tag) for name in names_in(parse_place(self.text, is_target=False))}


def test_a_tag_whose_digest_is_by_an_unknown_algorithm_is_there(place: Place, tmp_path: Path):
    target = Target("oci", place, tmp_path)
    text = entry(f"docker://{place.name('team/app')}", target.text, skip_existing=True)
    sync(place, text)
    index = tmp_path / "layout" / "index.json"
    document = json.loads(index.read_bytes())
    document["manifests"][0]["digest"] = strange = f"blake3:{'7' * 64}"
    index.write_text(json.dumps(document))
    assert set(actions(sync(place, text)).values()) == {"unchanged"}
    assert strange in index.read_text()


def drop(place: Place, *tags: str) -> None:
    for tag in tags:
        del place.there.repository("team/app").tags[tag]


@pytest.mark.sampled(4)
@pytest.mark.parametrize("kind", KINDS)
def test_what_the_source_dropped_stays(kind: str, place: Place, tmp_path: Path):
    target = Target(kind, place, tmp_path)
    text = entry(f"docker://{place.name('team/app')}", target.text)
    for state in (None, tmp_path / "state"):
        sync(place, text, state=state)
    drop(place, "1")
    for delete in (False, True):
        sync(place, text, state=tmp_path / "state", delete=delete)
        assert {"1", "2", "3"} <= target.tags


@pytest.mark.sampled(4)
@pytest.mark.parametrize("kind", KINDS)
def test_a_mirror_removes_where_that_is_asked_for(kind: str, place: Place, tmp_path: Path):
    target, state = Target(kind, place, tmp_path), tmp_path / "state"
    text = entry(f"docker://{place.name('team/app')}", target.text, mirror=True)
    sync(place, text, state=state)
    drop(place, "1")
    told = {one.source.rpartition(":")[2]: one.action.value for one in sync(place, text, state=state).tags}
    assert (told["1"], target.tags) == ("dropped", {"1", "2", "3"})
    told = {
        one.source.rpartition(":")[2]: one.action.value
        for one in sync(place, text, state=state, delete=True, dry_run=True).tags
    }
    assert (told["1"], target.tags) == ("removed", {"1", "2", "3"})
    report = sync(place, text, state=state, delete=True)
    assert {one.source.rpartition(":")[2] for one in report.tags if one.action.value == "removed"} == {"1"}
    assert target.tags == {"2", "3"}
    again = sync(place, text, state=state, delete=True)
    assert [one.action.value for one in again.tags] == ["unchanged"] * 2


@pytest.mark.sampled(2)
@pytest.mark.parametrize("kind", KINDS)
def test_a_mirror_leaves_tags_alone_that_it_does_not_cover(kind: str, place: Place, tmp_path: Path):
    target = Target(kind, place, tmp_path)
    source = f"docker://{place.name('team/app')}"
    sync(place, entry(source, target.text))
    sync(place, entry(source, target.text, match=["2", "9"], mirror=True), delete=True)
    assert target.tags == {"1", "2", "3"}
    drop(place, "1", "2")
    sync(place, entry(source, target.text, match=["2", "3"], mirror=True), delete=True)
    assert target.tags == {"1", "3"}


@pytest.mark.parametrize("kind", ARCHIVES)
def test_an_archive_is_not_left_without_an_image(kind: str, place: Place, tmp_path: Path):
    target = Target(kind, place, tmp_path)
    text = entry(f"docker://{place.name('team/app')}", target.text, match=["1"], mirror=True)
    sync(place, text)
    drop(place, "1")
    before = (tmp_path / "app.tar").read_bytes()
    assert isinstance(sync(place, text, delete=True).error, errors.NotFound)
    assert (tmp_path / "app.tar").read_bytes() == before


@pytest.mark.parametrize("kind", ARCHIVES)
def test_a_file_that_is_not_an_archive_is_not_written_over(kind: str, place: Place, tmp_path: Path):
    (tmp_path / "app.tar").write_bytes(b"notes of mine\n" * 1000)
    target = Target(kind, place, tmp_path)
    report = sync(place, entry(f"docker://{place.name('team/app')}", target.text))
    assert isinstance(report.error, errors.InvalidInput)
    assert (tmp_path / "app.tar").read_bytes() == b"notes of mine\n" * 1000


def test_what_an_archive_has_is_not_fetched_again(place: Place, tmp_path: Path):
    target = Target("oci-archive", place, tmp_path)
    text = entry(f"docker://{place.name('team/app')}", target.text)
    sync(place, text)
    place.load(simple(place.name("team/app:4"), "4"))
    place.push("team/app:4")
    place.there.requests.clear()
    sync(place, text)
    got = [one for one in place.there.requests if one.method == "GET" and "/blobs/" in one.target]
    assert len(got) == 2
    assert target.tags == {"1", "2", "3", "4"}


def test_damage_in_an_archive_is_mended_from_the_source(place: Place, tmp_path: Path):
    target = Target("oci-archive", place, tmp_path)
    text = entry(f"docker://{place.name('team/app')}", target.text)
    sync(place, text)
    path = tmp_path / "app.tar"
    whole = path.read_bytes()
    at = whole.index(b'"rootfs"')
    path.write_bytes(whole[:at] + b'"ROOTFS"' + whole[at + 8 :])
    assert set(actions(sync(place, text)).values()) == {"copied"}
    with orlop.Archive(path) as archive:
        archive.verify()
        assert len(archive.images) == 3


def test_names_of_other_repositories_and_referrers_stay(place: Place, tmp_path: Path):
    target = Target("oci-archive", place, tmp_path)
    subject = place.there.repository("team/app").tags["1"]
    size = len(place.there.repository("team/app").manifests[subject][1])
    kind = "application/vnd.oci.image.manifest.v1+json"
    add_image(place.there, "team/app", None, "about", subject={"mediaType": kind, "digest": subject, "size": size})
    add_image(place.there, "team/other", "1", "other")
    sync(place, entry(f"docker://{place.name('team/app')}", target.text, referrers=True))
    text = entry(f"docker://{place.name('team/other')}", target.text)
    assert set(actions(sync(place, text)).values()) == {"copied"}
    with opened_layout(str(tmp_path / "app.tar")) as layout:
        assert len(layout.tops()) == 5
    drop(place, "1")
    sync(place, entry(f"docker://{place.name('team/app')}", target.text, mirror=True), delete=True)
    with opened_layout(str(tmp_path / "app.tar")) as layout:
        assert {str(root.tag) for root in layout.tops()} == {"1", "2", "3"}
        assert len(layout.tops()) == 3


@pytest.mark.parametrize("media_type", ["application/octet-stream", "application/vnd.example.manifest.v1+json"])
def test_what_is_not_an_image_and_has_no_name_stays_in_an_archive(media_type: str, place: Place, tmp_path: Path):
    layout = Layout()
    entry_of_blob = layout.blob(b'["of mine"]', media_type)
    layout.top(layout.image("old"), entry_of_blob)
    (tmp_path / "app.tar").write_bytes(layout.pack())
    target = Target("oci-archive", place, tmp_path)
    assert sync(place, entry(f"docker://{place.name('team/app')}", target.text)).error is None
    with opened_layout(str(tmp_path / "app.tar")) as written:
        assert entry_of_blob["digest"] in {str(root.descriptor.digest) for root in written.tops()}
        assert len(written.tops()) == 5


@pytest.mark.parametrize("kind", ARCHIVES)
def test_a_repository_named_in_the_target_has_the_tags_of_the_source(kind: str, place: Place, tmp_path: Path):
    target = Target(kind, place, tmp_path)
    sync(place, entry(f"docker://{place.name('team/app')}", f"{target.text}:mirror.example/app"))
    found = names_in(parse_place(target.text, is_target=False))
    assert {name.familiar for name in found} == {f"mirror.example/app:{tag}" for tag in ("1", "2", "3")}


def test_images_without_a_name_stay_in_an_archive_of_docker(place: Place, tmp_path: Path):
    place.load(simple("docker.io/example/old:1", "old"))
    old = place.images.inspect("example/old:1").image.id
    place.images.save([str(old)], tmp_path / "app.tar")
    sync(place, entry(f"docker://{place.name('team/app')}", f"docker-archive:{tmp_path}/app.tar"))
    with Archive(tmp_path / "app.tar") as archive:
        assert [image.id for image in archive.images if not image.references] == [old]
        assert len(archive.images) == 4


def test_images_without_a_name_are_copied_from_an_archive_of_docker(place: Place, tmp_path: Path):
    place.load(simple("docker.io/example/old:1", "old"))
    place.load(simple("docker.io/example/new:1", "new"))
    old = place.images.inspect("example/old:1").image.id
    place.images.save([str(old), "example/new:1"], tmp_path / "app.tar")
    place.images.copy(f"docker-archive:{tmp_path}/app.tar", f"oci:{tmp_path}/out", place.registries)
    with opened_layout(str(tmp_path / "out")) as layout:
        assert sorted(str(root.name) for root in layout.tops()) == ["None", "docker.io/example/new:1"]


@pytest.mark.parametrize("all_platforms", [False, True])
def test_other_platforms_are_not_images_without_a_name(place: Place, tmp_path: Path, *, all_platforms: bool):
    layout = Layout()
    children = [layout.image(one, architecture=one, platform=True) for one in ("amd64", "arm64")]
    layout.top(layout.index(*children, **named("example/many:1")), layout.image("other"))
    (tmp_path / "in.tar").write_bytes(layout.pack())
    target = f"docker-archive:{tmp_path}/app.tar"
    place.images.copy(f"oci-archive:{tmp_path}/in.tar", target, place.registries, all_platforms=all_platforms)
    with Archive(tmp_path / "app.tar") as archive:
        assert sorted(len(image.references) for image in archive.images) == [0, 0, 1] if all_platforms else [0, 1]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("kind", ARCHIVES)
def test_a_sync_waits_for_who_else_adds_to_an_archive(
    kind: str, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    target = Target(kind, place, tmp_path)
    place.load(simple(place.name("team/other:9"), "other"))
    place.push("team/other:9")
    texts = [entry(f"docker://{place.name(name)}", f"{target.text}") for name in ("team/app", "team/other")]
    carry = Copy.carry
    others: list[threading.Thread] = []

    def carrying(self: Copy, *words: Any) -> Any:
        """Begin another sync into the same file once the first one has read it."""
        if not others:
            others.append(threading.Thread(target=sync, args=(place, texts[1])))
            others[0].start()
            others[0].join(1)
        return carry(self, *words)

    monkeypatch.setattr(Copy, "carry", carrying)
    sync(place, texts[0])
    others[0].join(60)
    assert target.tags == {"1", "2", "3", "9"}


# Directories of skopeo's, which hold one image.


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_directory_of_skopeo_is_written_anew_where_its_tag_has_moved(
    *, can_exchange: bool, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    if not can_exchange:
        monkeypatch.setattr("orlop.streams.part_directory._exchanged", lambda *_: False)
    text = entry(f"docker://{place.name('team/app')}", f"dir:{tmp_path}/app", tags=["1"])
    assert [one.action.value for one in sync(place, text, state=tmp_path / "state").tags] == ["copied"]
    assert [one.action.value for one in sync(place, text, state=tmp_path / "state").tags] == ["unchanged"]
    tags = place.there.repository("team/app").tags
    tags["1"] = tags["2"]

    report = sync(place, text, state=tmp_path / "state")

    assert [(one.action.value, one.error) for one in report.tags] == [("copied", None)]
    assert Digest.of((tmp_path / "app" / "manifest.json").read_bytes()) == Digest.parse(tags["1"])
    with opened_directory(str(tmp_path / "app")) as found:
        (top,) = found.roots()
        manifest = parse_manifest(found.manifest(top.descriptor))
    assert isinstance(manifest, Manifest)
    parts = {one.digest.hex for one in (manifest.config, *manifest.layers)}
    assert {path.name for path in (tmp_path / "app").iterdir()} == {"version", "manifest.json", *parts}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["app", "root", "state"]
    assert [one.action.value for one in sync(place, text, state=tmp_path / "state").tags] == ["unchanged"]


def test_what_a_directory_of_skopeo_has_is_not_fetched_again(place: Place, tmp_path: Path):
    text = entry(f"docker://{place.name('team/app')}", f"dir:{tmp_path}/app", tags=["1"])
    sync(place, text, state=tmp_path / "state")
    place.there.requests.clear()
    sync(place, text)
    assert not [one.path for one in place.there.requests if "/blobs/" in one.path]
    assert (tmp_path / "app" / "version").read_text() == "Directory Transport Version: 1.1\n"


@pytest.mark.parametrize("name", ["notes.txt", "version", None])
def test_what_is_not_a_directory_of_skopeo_is_left_alone(name: str | None, place: Place, tmp_path: Path):
    if name is None:
        (tmp_path / "app").write_text("mine")
    else:
        (tmp_path / "app").mkdir()
        (tmp_path / "app" / name).write_text("mine")
    text = entry(f"docker://{place.name('team/app')}", f"dir:{tmp_path}/app", tags=["1"])
    (one,) = sync(place, text).tags
    assert one.action.value == "failed"
    assert (tmp_path / "app" / (name or "")).read_text() == "mine"
