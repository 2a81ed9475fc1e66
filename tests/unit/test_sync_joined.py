"""Several entries of a sync that go into one file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orlop import errors
from orlop.service.sync.plan import SyncPlan
from orlop.service.sync.report import SyncAction
from orlop.service.sync.whole import names_in
from orlop.transfer import file_targets
from orlop.transfer.members_source import opened_layout
from orlop.transfer.places import parse_place
from tests.unit.pushed import placed, simple
from tests.unit.synced import MANIFEST, actions, add_image, descriptor, entry, sync

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.unit.pushed import Place

FORMS = ["oci-archive", "docker-archive"]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with placed(tmp_path / "root") as found:
        names = [found.name(f"team/{name}:1") for name in ("one", "two")]
        for name in names:
            found.load(simple(name, name))
        found.push("team/one:1", "team/two:1")
        yield found


def joined(place: Place, target: str, *names: str, **more: object) -> str:
    return "".join(entry(f"docker://{place.name(f'team/{name}')}", target, **more) for name in names)


def held(target: str) -> set[str]:
    return {name.familiar.rpartition("/")[2] for name in names_in(parse_place(target, is_target=False))}


@pytest.mark.parametrize("form", FORMS)
def test_entries_go_into_one_archive(form: str, place: Place, tmp_path: Path):
    target = f"{form}:{tmp_path}/x.tar"
    text = joined(place, target, "one", "two")
    assert [one.action for one in sync(place, text, state=tmp_path / "state").tags] == [SyncAction.COPIED] * 2
    assert held(target) == {"one:1", "two:1"}
    before = (tmp_path / "x.tar").stat()
    assert [one.action for one in sync(place, text, state=tmp_path / "state").tags] == [SyncAction.UNCHANGED] * 2
    assert (tmp_path / "x.tar").stat() == before
    place.load(simple(place.name("team/one:2"), "2"))
    place.push("team/one:2")
    sync(place, text, state=tmp_path / "state")
    assert held(target) == {"one:1", "one:2", "two:1"}
    again = sync(place, text, state=tmp_path / "state")
    assert {one.action for one in again.tags} == {SyncAction.UNCHANGED}


def test_a_file_of_several_entries_is_written_once(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    written = []

    def counted(path: str, content: object, progress: object) -> None:
        written.append(path)
        write(path, content, progress)  # type: ignore[arg-type]

    write = file_targets.write_oci_archive
    monkeypatch.setattr(file_targets, "write_oci_archive", counted)
    report = sync(place, joined(place, f"oci-archive:{tmp_path}/x.tar", "one", "two"))
    assert (report.error, len(written)) == (None, 1)


@pytest.mark.parametrize("form", FORMS)
def test_entries_of_one_source_remember_their_own_tags(form: str, place: Place, tmp_path: Path):
    place.load(simple(place.name("team/one:2"), "2"))
    place.push("team/one:2")
    target, state = f"{form}:{tmp_path}/x.tar", tmp_path / "state"
    text = joined(place, target, "one", tags=["1"]) + joined(place, target, "one", tags=["2"])
    sync(place, text, state=state)
    assert held(target) == {"one:1", "one:2"}
    assert {one.action for one in sync(place, text, state=state).tags} == {SyncAction.UNCHANGED}


@pytest.mark.parametrize("form", FORMS)
def test_what_one_source_dropped_goes_and_the_other_stays(form: str, place: Place, tmp_path: Path):
    place.load(simple(place.name("team/one:2"), "2"))
    place.push("team/one:2")
    target, state = f"{form}:{tmp_path}/x.tar", tmp_path / "state"
    text = joined(place, target, "one", "two", mirror=True)
    sync(place, text, state=state)
    del place.there.repository("team/one").tags["1"]
    report = sync(place, text, state=state, delete=True)
    assert (report.error, report.count(SyncAction.REMOVED)) == (None, 1)
    assert held(target) == {"one:2", "two:1"}


@pytest.mark.parametrize("form", FORMS)
def test_a_file_is_not_written_without_what_one_entry_wants(form: str, place: Place, tmp_path: Path):
    text = joined(place, f"{form}:{tmp_path}/x.tar", "one", "missing", "two")
    report = sync(place, text)
    assert [one.action for one in report.tags] == [SyncAction.FAILED, SyncAction.DEFERRED, SyncAction.DEFERRED]
    assert isinstance(report.error, errors.NotFound)
    assert not (tmp_path / "x.tar").exists()


def test_a_file_is_not_written_without_what_an_entry_cannot_open(place: Place, tmp_path: Path):
    target = f"oci-archive:{tmp_path}/x.tar"
    text = joined(place, target, "one") + entry(f"oci:{tmp_path}/nothing", target)
    report = sync(place, text)
    assert [one.action for one in report.tags] == [SyncAction.FAILED, SyncAction.DEFERRED]
    assert not (tmp_path / "x.tar").exists()


def test_two_sources_do_not_get_one_name(place: Place, tmp_path: Path):
    target = f"oci-archive:{tmp_path}/x.tar:example.com/one"
    report = sync(place, joined(place, target, "one", "two"))
    assert isinstance(report.error, errors.Conflict)
    assert not (tmp_path / "x.tar").exists()


def test_one_tag_that_two_entries_want_is_there_once(place: Place, tmp_path: Path):
    target = f"oci-archive:{tmp_path}/x.tar"
    report = sync(place, joined(place, target, "one", tags=["1"]) + joined(place, target, "one", match=["*"]))
    assert (report.error, held(target)) == (None, {"one:1"})


@pytest.mark.parametrize("first", [True, False])
def test_referrers_come_with_the_entries_that_want_them(place: Place, tmp_path: Path, *, first: bool):
    for name in ("one", "two"):
        subject = place.there.repository(f"team/{name}").tags["1"]
        size = len(place.there.repository(f"team/{name}").manifests[subject][1])
        add_image(
            place.there,
            f"team/{name}",
            None,
            f"about {name}",
            subject=descriptor(MANIFEST, subject, size),
            artifactType=f"about/{name}",
        )
    target = f"oci-archive:{tmp_path}/x.tar"
    text = joined(place, target, "one", referrers=first) + joined(place, target, "two", referrers=not first)
    report = sync(place, text)
    assert report.error is None
    with opened_layout(str(tmp_path / "x.tar")) as layout:
        found = {root.descriptor.artifact_type for root in layout.tops() if root.name is None}
    assert found == {"about/one" if first else "about/two"}


@pytest.mark.parametrize(
    ("one", "two"),
    [("oci-archive:x.tar", "docker-archive:x.tar"), ("dir:x", "dir:x"), ("dir:x", "oci-archive:./x")],
)
def test_a_file_has_one_form_and_a_directory_one_image(one: str, two: str):
    text = entry("docker://example.com/one", one) + entry("docker://example.com/two", two)
    with pytest.raises(errors.InvalidSettings, match=r"sync 1 and sync 2 .*x"):
        SyncPlan.parse(text)


def test_other_targets_keep_their_order():
    targets = ["oci-archive:x.tar", "oci:y", "oci-archive:./x.tar", "store:z/"]
    plan = SyncPlan.parse("".join(entry(f"docker://example.com/{n}", one) for n, one in enumerate(targets)))
    numbers = [[int(one.source.name[-1]) for one in entries] for entries in plan.together()]
    assert numbers == [[0, 2], [1], [3]]


def test_a_dry_run_tells_of_all_entries_and_writes_nothing(place: Place, tmp_path: Path):
    report = sync(place, joined(place, f"oci-archive:{tmp_path}/x.tar", "one", "two"), dry_run=True)
    assert set(actions(report).values()) == {"copied"}
    assert (report.size > 0, (tmp_path / "x.tar").exists()) == (True, False)
