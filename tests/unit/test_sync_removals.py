"""What a sync must not remove, or write over: what other entries, other tags and other files need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from orlop import errors
from orlop.testing.registry.fake import FakeRegistry
from orlop.testing.registry.quirks import Quirks
from tests.unit.layouts import unpacked
from tests.unit.pushed import placed
from tests.unit.sha512_layout import layout
from tests.unit.synced import actions, add_image, add_index, entry, sync

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.unit.pushed import Place


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


def test_repositories_that_become_one_do_not_remove_each_other(place: Place, other: FakeRegistry, tmp_path: Path):
    add_image(place.there, "team/one", "1", "1")
    add_image(place.there, "team/two", "2", "2")
    for name in ("one", "two"):
        sync(place, entry(f"docker://{place.name(f'team/{name}')}", f"oci:{tmp_path}/layout:x.example/team/{name}"))
    text = entry(f"oci:{tmp_path}/layout", f"docker://{other.authority}/mirror/app", mirror=True)
    for _ in range(2):
        sync(place, text, delete=True)
        assert set(other.repository("mirror/app").tags) == {"1", "2"}


def test_entries_with_one_target_do_not_remove_each_others_tags(place: Place, other: FakeRegistry):
    add_image(place.there, "team/one", "1", "1")
    add_image(place.there, "team/two", "2", "2")
    target = f"docker://{other.authority}/mirror/app"
    text = "".join(entry(f"docker://{place.name(f'team/{name}')}", target, mirror=True) for name in ("one", "two"))
    for _ in range(2):
        sync(place, text, delete=True)
        assert set(other.repository("mirror/app").tags) == {"1", "2"}


def test_part_of_an_index_outlives_its_own_tag(place: Place, other: FakeRegistry):
    other.quirks = Quirks(delete_tag=405)
    add_index(place.there, "team/app", "1", "amd64", "arm64")
    add_image(place.there, "team/app", "1-amd64", "amd64")
    text = between(place, other, mirror=True)
    sync(place, text)
    child = other.repository("mirror/app").tags["1-amd64"]
    del place.there.repository("team/app").tags["1-amd64"]
    report = sync(place, text, delete=True)
    assert child in other.repository("mirror/app").manifests
    assert actions(report)["1-amd64"] == "failed"


def test_tags_that_share_a_manifest_go_together(place: Place, other: FakeRegistry):
    other.quirks = Quirks(delete_tag=405)
    for tag in ("a", "b"):
        add_image(place.there, "team/app", tag, "same")
    add_image(place.there, "team/app", "c", "c")
    text = between(place, other, mirror=True)
    sync(place, text)
    for tag in ("a", "b"):
        del place.there.repository("team/app").tags[tag]
    report = sync(place, text, delete=True)
    assert actions(report) == {"a": "removed", "b": "removed", "c": "unchanged"}
    assert set(other.repository("mirror/app").tags) == {"c"}


def test_a_file_is_not_replaced_by_an_empty_one(place: Place, tmp_path: Path):
    add_image(place.there, "team/app", "1", "1")
    text = entry(f"docker://{place.name('team/app')}", f"oci-archive:{tmp_path}/x.tar", match="1*")
    sync(place, text)
    before = (tmp_path / "x.tar").read_bytes()
    place.there.repository("team/app").tags["2"] = place.there.repository("team/app").tags.pop("1")
    report = sync(place, text)
    assert (tmp_path / "x.tar").read_bytes() == before
    assert isinstance(report.error, errors.NotFound)


def test_a_name_that_a_layout_lacks_is_an_error(place: Place, other: FakeRegistry, tmp_path: Path):
    add_image(place.there, "team/app", "1", "1")
    sync(place, entry(f"docker://{place.name('team/app')}", f"oci:{tmp_path}/layout:x.example/team/app"))
    for more in ({}, {"tags": ["1"]}, {"mirror": True}):
        text = entry(f"oci:{tmp_path}/layout:x.example/team/ap", f"docker://{other.authority}/mirror/app", **more)
        assert isinstance(sync(place, text).error, errors.NotFound), more


def test_a_state_that_is_another_file_is_left_alone(place: Place, other: FakeRegistry, tmp_path: Path):
    add_image(place.there, "team/app", "1", "1")
    notes = tmp_path / "notes"
    notes.write_text("mine\n" * 3000)
    assert actions(sync(place, between(place, other), state=notes)) == {"1": "copied"}
    assert notes.read_text() == "mine\n" * 3000


def test_what_a_registry_names_by_another_algorithm_is_copied_once(place: Place, tmp_path: Path):
    made = layout()
    source = unpacked(made.files, tmp_path / "from")
    text = entry(f"oci:{source}", f"docker://{place.there.authority}/mirror/")
    assert actions(sync(place, text, state=tmp_path / "state")) == {"1": "copied"}
    assert next(iter(place.there.repository("mirror/example/app").tags.values())).startswith("sha256:")
    for more in ({"state": tmp_path / "state"}, {}):
        again = sync(place, text, **more)
        assert {one.action.value for one in again.tags} == {"unchanged"}, more
