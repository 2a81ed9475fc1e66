"""A sync of very many tags costs as many times as much as there are tags, and loses no bytes when it ends early."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from orlop.archive import oci_directory, oci_index
from orlop.archive.oci_forget import forget_names
from orlop.model.reference import Reference
from orlop.service.sync.choice import TagChoice
from orlop.service.sync.layout_target import LayoutNames
from orlop.service.sync.plan import SyncPlan
from orlop.service.sync.state import SyncState
from orlop.service.sync.verb import Sync
from tests.unit.layouts import Layout, named, unpacked
from tests.unit.pushed import placed
from tests.unit.synced import actions, entry, sync

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.unit.pushed import Place


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with placed(tmp_path / "root") as found:
        yield found


class Counted:
    """How often some functions were called."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch
        self.calls: dict[str, int] = {}

    def watch(self, owner: Any, name: str) -> None:
        inner = getattr(owner, name)
        self.calls[name] = 0

        def counting(*args: Any, **more: Any) -> Any:
            self.calls[name] += 1
            return inner(*args, **more)

        self._patch.setattr(owner, name, staticmethod(counting) if owner is oci_index._Entry else counting)

    def taken(self) -> dict[str, int]:
        """Return the numbers, and begin at nothing."""
        found = self.calls
        self.calls = dict.fromkeys(found, 0)
        return found


def many(folder: Path, count: int, *, repositories: int = 1, shared: str = "", first: int = 0) -> str:
    """Write a layout of so many small images, each with a tag, and return its path."""
    layout = Layout()
    names = {number: f"team/app{number % repositories or ''}:{number}" for number in range(first, first + count)}
    files = {number: [shared] * bool(shared) + [f"file{number}"] for number in names}
    layout.top(*(layout.image(*files[number], **named(name)) for number, name in names.items()))
    return str(unpacked(layout.files, folder))


def blobs(path: Path) -> dict[str, int]:
    return {one.name: one.stat().st_ino for one in (path / "blobs/sha256").iterdir()}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("repositories", [1, 40])
def test_four_times_as_many_tags_cost_four_times_as_much(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repositories: int
):
    counted = Counted(monkeypatch)
    counted.watch(oci_index._Entry, "read")
    counted.watch(oci_directory, "put_file")
    found = {}
    for count in (40, 160):
        source, target = many(tmp_path / f"from{count}", count, repositories=repositories), tmp_path / f"to{count}"
        counted.taken()
        report = sync(place, entry(f"oci:{source}", f"oci:{target}"))
        assert [one.action.value for one in report.tags] == ["copied"] * count
        found[count] = counted.taken()
        assert len(blobs(target)) == len(blobs(tmp_path / f"from{count}"))
    assert found[160]["read"] < 5 * found[40]["read"]
    # The index is written more rarely, the more entries it has.
    assert found[160]["put_file"] < 3 * found[40]["put_file"]


@pytest.mark.sampled(2)
def test_an_entry_for_each_repository_costs_no_more(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    counted = Counted(monkeypatch)
    counted.watch(oci_index._Entry, "read")
    found = {}
    for count in (40, 160):
        target = tmp_path / f"to{count}"
        texts = []
        for number in range(count):
            source = many(tmp_path / f"from{count}-{number}", 1, first=number)
            texts.append(entry(f"oci:{source}", f"oci:{target}"))
        counted.taken()
        report = sync(place, "".join(texts))
        assert [one.action.value for one in report.tags] == ["copied"] * count
        found[count] = counted.taken()
    assert found[160]["read"] < 5 * found[40]["read"]


@pytest.mark.sampled(2)
def test_tags_that_go_go_together(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    counted = Counted(monkeypatch)
    counted.watch(oci_index._Entry, "read")
    found = {}
    for count in (40, 160):
        target = tmp_path / f"to{count}"
        sync(place, entry(f"oci:{many(tmp_path / f'from{count}', count)}", f"oci:{target}"))
        text = entry(f"oci:{many(tmp_path / f'left{count}', 1)}", f"oci:{target}", mirror=True)
        counted.taken()
        report = sync(place, text, delete=True)
        assert sorted(one.action.value for one in report.tags) == [*["removed"] * (count - 1), "unchanged"]
        found[count] = counted.taken()
        assert len(blobs(target)) == len(blobs(tmp_path / f"left{count}"))
    assert found[160]["read"] < 5 * found[40]["read"]


def test_a_layer_that_many_tags_share_is_hashed_once(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    hashed: list[str] = []
    is_right = oci_directory.LayoutTarget._is_right

    def hashing(self: oci_directory.LayoutTarget, file: Any, digest: Any) -> bool:
        hashed.append(str(digest))
        return is_right(self, file, digest)

    monkeypatch.setattr(oci_directory.LayoutTarget, "_is_right", hashing)
    target = tmp_path / "to"
    source = many(tmp_path / "from", 30, shared="shared")
    sync(place, entry(f"oci:{source}", f"oci:{target}"))
    assert len(hashed) == 1


def test_what_is_interrupted_is_gone_on_with_and_writes_no_blob_again(place: Place, tmp_path: Path):
    source, target = many(tmp_path / "from", 30), tmp_path / "to"
    text = entry(f"oci:{source}", f"oci:{target}")
    take = LayoutNames.take
    taken: list[str] = []

    def interrupted(self: LayoutNames, copy: Any, tag: Any, then: Any) -> None:
        if len(taken) == 25:
            raise KeyboardInterrupt
        taken.append(tag.name.tag)
        take(self, copy, tag, then)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LayoutNames, "take", interrupted)
        with pytest.raises(KeyboardInterrupt):
            sync(place, text)
    there = {name.tag for name in LayoutNames(str(target))._read().names}
    before = blobs(target)
    # Some have their names, the last ones their blobs alone.
    assert set() < there < set(taken)
    report = sync(place, text)
    assert sum(one.action.value == "unchanged" for one in report.tags) == len(there)
    assert {name: number for name, number in blobs(target).items() if name in before} == before
    assert len(LayoutNames(str(target))._read().names) == 30


def test_a_tag_whose_blobs_somebody_removes_meanwhile_fails_and_comes_with_the_next_run(place: Place, tmp_path: Path):
    source, target = many(tmp_path / "from", 30), tmp_path / "to"
    text = entry(f"oci:{source}", f"oci:{target}")
    take = LayoutNames.take

    def disturbed(self: LayoutNames, copy: Any, tag: Any, then: Any) -> None:
        take(self, copy, tag, then)
        if self._waiting and not gone:
            gone.append(target / "blobs/sha256" / self._waiting[0][1].partition(":")[2])
            gone[0].unlink()

    gone: list[Path] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LayoutNames, "take", disturbed)
        report = sync(place, text)
    told = [one.action.value for one in report.tags]
    assert "failed" in told
    names = LayoutNames(str(target))._read().names
    assert len(names) == told.count("copied")
    report = sync(place, text)
    assert [one.action.value for one in report.tags].count("copied") == told.count("failed")
    assert len(LayoutNames(str(target))._read().names) == 30


@pytest.mark.sampled(2)
def test_what_waits_is_there_for_an_entry_that_reads_the_layout(place: Place, tmp_path: Path):
    source, one, two = many(tmp_path / "from", 30), tmp_path / "one", tmp_path / "two"
    text = entry(f"oci:{source}", f"oci:{one}") + entry(f"oci:{tmp_path}/./one", f"oci:{two}")
    assert len(sync(place, text).tags) == 60
    assert LayoutNames(str(one))._read().names == LayoutNames(str(two))._read().names


def test_what_waits_is_there_for_an_entry_that_spells_the_layout_otherwise(place: Place, tmp_path: Path):
    source, target = many(tmp_path / "from", 30), tmp_path / "to"
    text = entry(f"oci:{source}", f"oci:{target}") + entry(f"oci:{source}", f"oci:{tmp_path}/./to")
    report = sync(place, text)
    assert [one.action.value for one in report.tags] == ["copied"] * 30 + ["unchanged"] * 30


def test_what_waits_counts_as_there_when_somebody_else_adds_to_the_layout(place: Place, tmp_path: Path):
    source, other, target = many(tmp_path / "from", 30), many(tmp_path / "other", 1, first=99), tmp_path / "to"
    text = entry(f"oci:{source}", f"oci:{target}")
    take = LayoutNames.take
    seen: list[tuple[set[str], set[str]]] = []

    def joined(self: LayoutNames, copy: Any, tag: Any, then: Any) -> None:
        take(self, copy, tag, then)
        if self._waiting and not seen:
            place.images.copy(f"oci:{other}", f"oci:{target}")
            waiting = {name.tag or "" for name, *_ in self._waiting}
            seen.append((waiting, set(self.tags(tag.name))))
            assert {
                one.descriptor.digest for _, _, entries, _ in self._waiting for one in entries
            } <= self._read().digests

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LayoutNames, "take", joined)
        report = sync(place, text)
    assert [one.action.value for one in report.tags] == ["copied"] * 30
    ((waiting, tags),) = seen
    assert waiting
    assert waiting <= tags
    assert len(LayoutNames(str(target))._read().names) >= 30


def test_names_that_are_forgotten_together_leave_no_blob(place: Place, tmp_path: Path):
    source, target = many(tmp_path / "from", 12), tmp_path / "to"
    sync(place, entry(f"oci:{source}", f"oci:{target}"))
    names = LayoutNames(str(target))._read().names
    kept = min(names, key=str)
    forget_names(str(target), [name for name in names if name != kept])
    assert LayoutNames(str(target))._read().names == {kept: names[kept]}
    assert len(blobs(target)) == 3


def test_of_listed_tags_each_is_looked_up_at_once():
    class Tag(str):
        compared = 0
        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            Tag.compared += 1
            return str.__eq__(self, other)

    tags = [Tag(f"tag{number}") for number in range(500)]
    choice = TagChoice(tuple(tags))
    chosen = choice.chosen(list(map(Tag, tags)))
    assert (len(chosen), all(map(choice.covers, tags))) == (500, True)
    assert Tag.compared < 10 * len(tags)


def test_a_tag_is_told_once_though_it_waits(place: Place, tmp_path: Path):
    source, target = many(tmp_path / "from", 20), tmp_path / "to"
    sync(place, entry(f"oci:{source}", f"oci:{target}", tags=["3", "7"]))
    found = actions(sync(place, entry(f"oci:{source}", f"oci:{target}")))
    assert {tag for tag, action in found.items() if action == "unchanged"} == {"3", "7"}
    assert len(found) == 20
    assert Reference.parse("team/app:7") in LayoutNames(str(target))._read().names


@pytest.mark.sampled(3)
def test_a_sync_opens_the_store_once(place: Place, tmp_path: Path):
    opened: list[bool] = []

    @contextmanager
    def opening() -> Iterator[orlop.ImageService]:
        with orlop.open(tmp_path / "store") as images:
            opened.append(True)
            yield images
            opened.append(False)

    source = many(tmp_path / "from", 12)
    text = entry(f"oci:{source}", "store:x/app") + entry("store:x/app", "store:y/app")
    plan = SyncPlan.parse(text + entry("store:y/app", f"oci:{tmp_path}/to"))
    report = Sync(plan, place.registries, opening, SyncState()).run()
    assert [one.action.value for one in report.tags] == ["copied"] * 36
    assert opened == [True, False]
    again = Sync(plan, place.registries, opening, SyncState()).run()
    assert [one.action.value for one in again.tags] == ["unchanged"] * 36
    with orlop.open(tmp_path / "store") as images:
        names = [name for one in images.images() for name in one.references if name.tag is not None]
    assert len(names) == 24
