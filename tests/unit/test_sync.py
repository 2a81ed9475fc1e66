"""Syncs: what is copied, what is not asked for again, what goes, and what one bad tag does to the others."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from orlop import errors
from orlop.registry.patience import Patience
from orlop.service.sync.plan import SyncPlan
from orlop.service.sync.sources import RegistryRepository
from orlop.testing.registry.fake import FakeRegistry
from orlop.testing.registry.quirks import Failure, Quirks
from tests.layout_walk import walked
from tests.unit.pushed import placed, simple
from tests.unit.synced import actions, add_image, add_index, entry, sync

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orlop.model.digest import Digest
    from orlop.service.sync.sources import Item
    from tests.unit.pushed import Place

pytestmark = pytest.mark.sampled(3)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with placed(tmp_path / "root") as found:
        yield found


@pytest.fixture
def other() -> Iterator[FakeRegistry]:
    with FakeRegistry() as found:
        yield found


def between(place: Place, other: FakeRegistry, **more: Any) -> str:
    return entry(f"docker://{place.name('team/app')}", f"docker://{other.authority}/mirror/app", **more)


def test_tags_are_copied_with_their_digests_and_only_once(place: Place, other: FakeRegistry):
    for number in range(3):
        add_image(place.there, "team/app", f"1.{number}", f"{number}")
    report = sync(place, between(place, other))
    assert actions(report) == {"1.0": "copied", "1.1": "copied", "1.2": "copied"}
    assert other.repository("mirror/app").tags == place.there.repository("team/app").tags
    assert report.error is None
    again = sync(place, between(place, other))
    assert set(actions(again).values()) == {"unchanged"}
    assert again.sent == 0


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"tags": ["latest", "1.9"]}, "latest 1.9"),
        ({"tags": "latest"}, "latest"),
        ({"match": ["1.*"]}, "1.2 1.9 1.9-alpine 1.10"),
        ({"match": "1.*", "exclude": "*-alpine"}, "1.2 1.9 1.10"),
        ({"versions": ">=1.9, <2"}, "1.9 1.10"),
        ({"versions": "<2", "match": "*-alpine"}, "1.9-alpine"),
        ({"newest": 2}, "1.10 2.0"),
        ({"newest": 1, "versions": "<2", "tags": "latest"}, "latest 1.10"),
        ({"exclude": ["1*", "2*"]}, "latest nightly"),
    ],
)
def test_tags_are_chosen_by_list_pattern_and_version(
    place: Place, other: FakeRegistry, options: dict[str, Any], wanted: str
):
    for tag in ("latest", "nightly", "1.2", "1.9", "1.9-alpine", "1.10", "2.0", "2.1-rc1"):
        add_image(place.there, "team/app", tag, "one")
    sync(place, between(place, other, **options))
    assert set(other.repository("mirror/app").tags) == set(wanted.split())


@pytest.mark.sampled(3)
def test_a_thousand_unchanged_tags_cost_looks_and_pages_only(place: Place, other: FakeRegistry, tmp_path: Path):
    for number in range(1000):
        digest = add_image(place.there, "team/app", f"1.{number}", f"{number % 7}")
        media_type, raw = place.there.repository("team/app").manifests[digest]
        other.add_manifest("mirror/app", raw, media_type, tag=f"1.{number}")
    place.quirks(page=100)
    other.quirks = Quirks(page=100)
    place.there.requests.clear()
    report = sync(place, between(place, other, mirror=True), delete=True, state=tmp_path / "state")
    assert report.count(report.tags[0].action) == 1000
    for there in (place.there, other):
        heads = [one for one in there.requests if one.method == "HEAD"]
        pages = [one for one in there.requests if one.method == "GET"]
        assert len(heads) == 1000
        assert {one.path for one in pages} <= {"/v2/team/app/tags/list", "/v2/mirror/app/tags/list"}
        assert len(pages) <= 11
        assert len(there.requests) == len(heads) + len(pages)


def test_what_need_not_be_looked_at_again_costs_pages_only(place: Place, other: FakeRegistry):
    for number in range(20):
        add_image(place.there, "team/app", f"1.{number}", f"{number}")
    sync(place, between(place, other, skip_existing=True))
    place.there.requests.clear()
    other.requests.clear()
    report = sync(place, between(place, other, skip_existing=True))
    assert set(actions(report).values()) == {"unchanged"}
    assert [one.method for one in (*place.there.requests, *other.requests)] == ["GET", "GET"]


@pytest.mark.parametrize("with_state", [True, False])
def test_an_interrupted_sync_fetches_nothing_again(place: Place, other: FakeRegistry, tmp_path: Path, with_state: bool):  # noqa: FBT001
    for number in range(20):
        add_index(place.there, "team/app", f"1.{number}", "amd64", "arm64", "s390x", text=f"{number} ")
    text = between(place, other, platforms=["linux/amd64", "linux/arm64"])
    options: dict[str, Any] = {"state": tmp_path / "state"} if with_state else {}

    class Stop(BaseException):
        pass

    done = []

    def told(tag: Any) -> None:
        done.append(tag)
        if len(done) == 10:
            raise Stop

    with pytest.raises(Stop):
        sync(place, text, told=told, **options)
    place.there.requests.clear()
    report = sync(place, text, **options)
    assert sorted(actions(report).values()) == ["copied"] * 10 + ["unchanged"] * 10
    blobs = [one.path for one in place.there.requests if one.method == "GET" and "/blobs/" in one.path]
    assert len(blobs) == len(set(blobs)) == 10 * 2 * 2
    manifests = [one for one in place.there.requests if one.method == "GET" and "/manifests/" in one.path]
    assert len(manifests) == 30 if with_state else 40
    place.there.requests.clear()
    assert set(actions(sync(place, text, **options)).values()) == {"unchanged"}
    if with_state:
        assert {one.method for one in place.there.requests if "/manifests/" in one.path} == {"HEAD"}


def test_some_platforms_of_an_index_are_copied(place: Place, other: FakeRegistry, tmp_path: Path):
    whole = add_index(place.there, "team/app", "1", "amd64", "arm64", "s390x")
    sync(place, between(place, other, platforms=["linux/arm64"]))
    mirror = other.repository("mirror/app")
    child = json.loads(place.there.repository("team/app").manifests[whole][1])["manifests"][1]["digest"]
    assert mirror.tags["1"] == child
    report = sync(place, between(place, other, platforms=["linux/amd64", "linux/arm64"]), state=tmp_path / "state")
    assert actions(report) == {"1": "copied"}
    index = json.loads(mirror.manifests[mirror.tags["1"]][1])
    assert [one["platform"]["architecture"] for one in index["manifests"]] == ["amd64", "arm64"]
    assert mirror.tags["1"] == str(report.tags[0].digest)
    sync(place, between(place, other, platforms=["linux/amd64", "linux/arm64", "linux/s390x"]))
    assert mirror.tags["1"] == whole
    failed = sync(place, between(place, other, platforms=["linux/riscv64"]))
    assert isinstance(failed.error, errors.PlatformNotFound)
    assert mirror.tags["1"] == whole


def test_a_mirror_loses_what_its_source_dropped_and_nothing_else(place: Place, other: FakeRegistry):
    for tag in ("1.1", "1.2", "2.0", "other"):
        add_image(place.there, "team/app", tag, tag)
    text = between(place, other, match=["1.*", "2.*"], mirror=True)
    sync(place, text)
    add_image(other, "mirror/app", "mine", "mine")
    add_image(other, "mirror/app", "sha256-" + "0" * 64 + ".sig", "signature")
    del place.there.repository("team/app").tags["1.1"]
    kept = sync(place, text)
    assert actions(kept) == {"1.2": "unchanged", "2.0": "unchanged", "1.1": "dropped"}
    planned = sync(place, text, delete=True, dry_run=True)
    assert actions(planned)["1.1"] == "removed"
    assert "1.1" in other.repository("mirror/app").tags
    sync(place, text, delete=True)
    assert set(other.repository("mirror/app").tags) == {"1.2", "2.0", "mine", "sha256-" + "0" * 64 + ".sig"}


def test_the_newest_take_the_place_of_the_oldest(place: Place, other: FakeRegistry):
    for number in range(1, 5):
        add_image(place.there, "team/app", f"1.{number}", f"{number}")
    text = between(place, other, newest=2, mirror=True)
    sync(place, text, delete=True)
    assert set(other.repository("mirror/app").tags) == {"1.3", "1.4"}
    add_image(place.there, "team/app", "1.10", "10")
    sync(place, text, delete=True)
    assert set(other.repository("mirror/app").tags) == {"1.4", "1.10"}


def test_nothing_goes_where_the_source_cannot_be_seen(place: Place, other: FakeRegistry):
    add_image(place.there, "team/app", "1", "1")
    text = between(place, other, mirror=True)
    sync(place, text)
    place.there.repository("team/app").tags.clear()
    assert isinstance(sync(place, text, delete=True).error, errors.NotFound)
    place.quirks(failures=(Failure(403, path="/tags/", methods="GET"),))
    assert isinstance(sync(place, text, delete=True).error, errors.RegistryDenied)
    assert set(other.repository("mirror/app").tags) == {"1"}


def test_nothing_goes_where_a_tag_failed(place: Place, other: FakeRegistry):
    for tag in ("1", "2"):
        add_image(place.there, "team/app", tag, tag)
    text = between(place, other, mirror=True)
    sync(place, text)
    del place.there.repository("team/app").tags["1"]
    bad = add_image(place.there, "team/app", "3", "3")
    place.there.repository("team/app").manifests[bad] = ("application/json", b"{}")
    report = sync(place, text, delete=True)
    assert actions(report) == {"2": "unchanged", "3": "failed", "1": "dropped"}
    assert "1" in other.repository("mirror/app").tags


def test_a_registry_that_deletes_no_tags_loses_a_manifest_that_has_no_other(place: Place, other: FakeRegistry):
    for tag, text in {"1": "a", "2": "b", "3": "b"}.items():
        add_image(place.there, "team/app", tag, text)
    text = between(place, other, mirror=True)
    sync(place, text)
    other.quirks = Quirks(delete_tag=400)
    del place.there.repository("team/app").tags["1"]
    del place.there.repository("team/app").tags["2"]
    report = sync(place, text, delete=True)
    assert actions(report) == {"3": "unchanged", "1": "removed", "2": "failed"}
    assert isinstance(report.error, errors.Conflict)
    assert set(other.repository("mirror/app").tags) == {"2", "3"}


def test_a_bad_tag_harms_no_other(place: Place, other: FakeRegistry):
    for tag in ("1", "2", "3"):
        add_image(place.there, "team/app", tag, tag)
    broken = place.there.repository("team/app")
    layer = json.loads(broken.manifests[broken.tags["2"]][1])["layers"][0]["digest"]
    del broken.blobs[layer]
    report = sync(place, between(place, other, tags=["none", "1", "2", "3"]))
    assert actions(report) == {"none": "failed", "1": "copied", "2": "failed", "3": "copied"}
    assert set(other.repository("mirror/app").tags) == {"1", "3"}
    assert isinstance(report.error, errors.NotInRegistry)


def test_an_entry_that_fails_harms_no_other(place: Place, other: FakeRegistry):
    add_image(place.there, "team/app", "1", "1")
    text = entry(f"docker://{place.name('nothing')}", f"docker://{other.authority}/x") + between(place, other)
    report = sync(place, text)
    assert [one.action.value for one in report.tags] == ["failed", "copied"]


def test_a_registry_that_asks_to_be_left_alone_is_left_alone(place: Place, other: FakeRegistry):
    for number in range(10):
        add_image(place.there, "team/app", f"{number}", f"{number}")
    quota = (("ratelimit-limit", "100;w=21600"), ("ratelimit-remaining", "0;w=21600"))
    place.quirks(failures=(Failure(429, headers=quota, methods="GET", path="/manifests/"),))
    report = sync(place, between(place, other))
    assert set(actions(report).values()) == {"deferred"}
    assert isinstance(report.error, errors.RegistryBusy)
    assert len([one for one in place.there.requests if one.method == "GET" and "/manifests/" in one.path]) == 1
    assert set(actions(sync(place, between(place, other))).values()) == {"copied"}


def test_a_budget_is_kept_over_all_runs(place: Place, other: FakeRegistry, tmp_path: Path):
    for number in range(10):
        add_image(place.there, "team/app", f"{number}", f"{number}")
    text = f'[budget."{place.there.authority}"]\nmanifests = 4\nper = "1h"\n' + between(place, other)
    state = tmp_path / "state"
    first = sync(place, text, state=state)
    assert sorted(actions(first).values()) == ["copied"] * 4 + ["deferred"] * 6
    second = sync(place, text, state=state)
    assert sorted(actions(second).values()) == ["deferred"] * 6 + ["unchanged"] * 4
    lines = [json.loads(line) for line in state.read_text().splitlines()]
    moved = [json.dumps(line | ({"at": line["at"] - 3600} if "at" in line else {})) for line in lines]
    state.write_text("\n".join(moved) + "\n")
    third = sync(place, text, state=state)
    assert sorted(actions(third).values()) == ["copied"] * 4 + ["deferred"] * 2 + ["unchanged"] * 4
    assert len(other.repository("mirror/app").tags) == 8


@pytest.mark.parametrize("state", ["/", ".", "/dev/null", "/proc/self/mem"])
def test_a_state_that_cannot_be_kept_is_a_warning(
    place: Place, other: FakeRegistry, caplog: pytest.LogCaptureFixture, state: str
):
    add_image(place.there, "team/app", "1", "1")
    assert actions(sync(place, between(place, other), state=state)) == {"1": "copied"}
    assert [one.getMessage()[:27] for one in caplog.records] == ["this sync is not remembered"]


def test_a_dry_run_changes_nothing_and_says_how_much_is_to_be_copied(place: Place, other: FakeRegistry):
    for tag in ("1", "2"):
        add_image(place.there, "team/app", tag, tag)
    sync(place, between(place, other, tags="1"))
    add_image(place.there, "team/app", "1", "new")
    other.requests.clear()
    report = sync(place, between(place, other), dry_run=True)
    assert {one.method for one in other.requests} <= {"GET", "HEAD"}
    found = {one.target[-1]: one for one in report.tags}
    there = place.there.repository("team/app")
    for tag, reason in {"1": "was sha256:", "2": "is new"}.items():
        raw = there.manifests[there.tags[tag]][1]
        document = json.loads(raw)
        size = len(raw) + document["config"]["size"] + sum(one["size"] for one in document["layers"])
        assert (found[tag].action.value, found[tag].size) == ("copied", size)
        assert found[tag].reason.startswith(reason)
    done = sync(place, between(place, other))
    blobs = report.size - sum(len(there.manifests[digest][1]) for digest in there.tags.values())
    assert done.sent == blobs


def test_what_refers_to_images_is_kept_up_with(place: Place, other: FakeRegistry, tmp_path: Path):
    image = add_image(place.there, "team/app", "1", "1")
    subject = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": image, "size": 1}
    text = between(place, other, referrers=True)
    state = tmp_path / "state"
    assert actions(sync(place, text, state=state)) == {"1": "copied"}
    assert actions(sync(place, text, state=state)) == {"1": "unchanged"}
    signature = add_image(place.there, "team/app", None, "signature", subject=subject, artifactType="a/b")
    place.there.requests.clear()
    assert actions(sync(place, text, state=state)) == {"1": "copied"}
    assert signature in other.repository("mirror/app").manifests
    place.there.requests.clear()
    assert actions(sync(place, text, state=state)) == {"1": "unchanged"}
    assert not [one for one in place.there.requests if one.method == "GET" and "/manifests/sha256:" in one.path]


def test_an_air_gap_is_crossed_with_a_layout(place: Place, other: FakeRegistry, tmp_path: Path):
    for repository in ("team/app", "tools/lint"):
        for tag in ("1", "2"):
            add_index(place.there, repository, tag, "amd64", "arm64", text=f"{repository} {tag} ")
    media = tmp_path / "media"
    repositories = [place.name(name) for name in ("team/app", "tools/lint")]
    into = "".join(entry(f"docker://{name}", f"oci:{media}", mirror=True) for name in repositories)
    assert [one.action.value for one in sync(place, into).tags] == ["copied"] * 4
    walked(media)
    out = entry(f"oci:{media}", f"docker://{other.authority}/inside/", mirror=True)
    report = sync(place, out)
    assert [one.action.value for one in report.tags] == ["copied"] * 4
    for repository in ("team/app", "tools/lint"):
        assert other.repository(f"inside/{repository}").tags == place.there.repository(repository).tags

    before = {path.name for path in (media / "blobs" / "sha256").iterdir()}
    del place.there.repository("team/app").tags["1"]
    sync(place, into, delete=True)
    walked(media)
    after = {path.name for path in (media / "blobs" / "sha256").iterdir()}
    assert len(before - after) == 1 + 2 * 3
    assert after < before
    again = sync(place, out, delete=True)
    assert [one.action.value for one in again.tags] == ["unchanged"] * 3 + ["removed"]
    assert set(other.repository("inside/team/app").tags) == {"2"}


@pytest.mark.parametrize("form", ["oci-archive", "docker-archive"])
def test_an_archive_is_written_whole_where_something_has_changed(place: Place, tmp_path: Path, form: str):
    for tag in ("1", "2"):
        place.load(simple(place.name(f"app:{tag}"), tag))
    place.push("app:1", "app:2")
    path, state = tmp_path / "carry.tar", tmp_path / "state"
    text = entry(f"docker://{place.name('app')}", f"{form}:{path}")
    assert [one.action.value for one in sync(place, text, state=state).tags] == ["copied"] * 2
    written = path.stat().st_mtime_ns
    assert [one.action.value for one in sync(place, text, state=state).tags] == ["unchanged"] * 2
    assert path.stat().st_mtime_ns == written
    place.load(simple(place.name("app:2"), "another"))
    place.push("app:2")
    assert [one.action.value for one in sync(place, text, state=state).tags] == ["copied"] * 2
    with FakeRegistry() as other:
        back = entry(f"{form}:{path}", f"docker://{other.authority}/app")
        assert [one.action.value for one in sync(place, back).tags] == ["copied"] * 2
        if form == "oci-archive":
            assert other.repository("app").tags == place.there.repository("app").tags
        del place.there.repository("app").tags["1"]
        assert [one.action.value for one in sync(place, text, state=state).tags] == ["unchanged"]


def test_a_store_is_filled_and_emptied(place: Place, other: FakeRegistry, tmp_path: Path):
    for tag in ("1", "2"):
        place.load(simple(place.name(f"app:{tag}"), tag))
    place.push("app:1", "app:2")
    into = entry(f"docker://{place.name('app')}", "store:here/app", mirror=True)
    with placed(tmp_path / "second") as second:
        first = second.images.sync(SyncPlan.parse(into), place.registries)
        assert [one.action.value for one in first.tags] == ["copied"] * 2
        again = second.images.sync(SyncPlan.parse(into), place.registries)
        assert [one.action.value for one in again.tags] == ["unchanged"] * 2
        out = entry("store:here/app", f"docker://{other.authority}/app")
        second.images.sync(SyncPlan.parse(out), place.registries)
        assert other.repository("app").tags == place.there.repository("app").tags
        del place.there.repository("app").tags["1"]
        gone = second.images.sync(SyncPlan.parse(into), place.registries, delete=True)
        assert sorted(one.action.value for one in gone.tags) == ["removed", "unchanged"]
        names = [name.familiar for one in second.images.images() for name in one.references]
        assert [name for name in names if "@" not in name] == ["here/app:2"]


def test_a_registry_that_is_away_is_not_tried_for_each_tag(tmp_path: Path, other: FakeRegistry):
    from orlop.service.sync.state import SyncState
    from orlop.service.sync.verb import Sync
    from tests.unit.pushed import reached

    for number in range(100):
        add_image(other, "app", f"{number}", f"{number}")
    with FakeRegistry() as gone:
        authority = gone.authority
    tries: list[object] = []
    with reached(patience=Patience(tries=1)) as registries, SyncState.opened(None) as state:
        plan = SyncPlan.parse(entry(f"docker://{other.authority}/app", f"docker://{authority}/app"))
        report = Sync(plan, registries, lambda: None, state, told=tries.append).run()  # type: ignore[arg-type,return-value]
    assert len(tries) == 100
    assert {one.action.value for one in report.tags} == {"failed"}
    assert len([one for one in other.requests if one.method == "HEAD"]) <= 16


@pytest.mark.parametrize("kind", ["docker", "oci", "oci-archive"])
@pytest.mark.parametrize("platforms", [[], ["linux/amd64"]])
def test_a_tag_that_moves_while_it_is_looked_at_and_back_is_copied_again(
    place: Place, tmp_path: Path, kind: str, platforms: list[str]
):
    there = place.there
    before = add_index(there, "team/app", "1", "amd64", "arm64", text="before")
    after = add_index(there, "team/app", "2", "amd64", "arm64", text="after")
    target = f"docker://{there.authority}/mirror/app" if kind == "docker" else f"{kind}:{tmp_path}/to"
    more = {"platforms": platforms} if platforms else {}
    text = entry(f"docker://{there.authority}/team/app", target, tags=["1"], **more)
    tags = there.repository("team/app").tags
    digest = RegistryRepository.digest

    def moving(self: RegistryRepository, item: Item) -> Digest:
        found = digest(self, item)
        tags["1"] = after
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RegistryRepository, "digest", moving)
        assert [one.action.value for one in sync(place, text, state=tmp_path / "state").tags] == ["copied"]
    assert [one.action.value for one in sync(place, text, state=tmp_path / "state").tags] == ["unchanged"]
    tags["1"] = before
    assert [one.action.value for one in sync(place, text, state=tmp_path / "state").tags] == ["copied"]
