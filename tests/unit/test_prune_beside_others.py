"""A pruning beyond one machine plans before it takes the lock: what others change in between is seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import orlop
from orlop.model.digest import Digest
from orlop.model.store_url import StoreURL
from orlop.service.space import prune
from orlop.store.remote import remote_store
from orlop.store.rows.metadata import PINNED, BlobRow
from tests import engines

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orlop.store.root import Store


@pytest.fixture
def url(data: Path) -> StoreURL:
    """A store with an image that has lost its name, and another one."""
    url = StoreURL.parse(engines.new_url(), engines.variables())
    with orlop.open(url) as images:
        report = images.load(data / "dockerd-20.10-overlay2" / "tiny.tar")
        images.load(data / "dockerd-20.10-overlay2" / "dup.tar")
    with remote_store(url) as store, store.metadata.write() as rows:
        for row in rows.references(report.images[0].id):
            rows.delete_reference(row.name, row.suffix)
    return url


def pruned(url: StoreURL, monkeypatch: pytest.MonkeyPatch, change: Callable[[Store], object]) -> tuple[int, int]:
    """Prune while somebody changes something before the lock is taken; return how many plans and removals that took."""
    planned, ahead = prune._planned, prune._planned_ahead
    plans = []

    def counted(store: Any, rows: Any, rules: Any) -> Any:
        plans.append(rows.writable)
        return planned(store, rows, rules)

    def changed(*given: Any) -> Any:
        found = ahead(*given)
        with remote_store(url) as other:
            change(other)
        return found

    monkeypatch.setattr(prune, "_planned", counted)
    monkeypatch.setattr(prune, "_planned_ahead", changed)
    with orlop.open(url) as images:
        lines = images.prune().lines
    assert plans[0] is False
    return len(plans), sum(verb == "Deleted" for verb, _ in lines)


@pytest.mark.sampled(2)
def test_a_plan_holds_while_nothing_changes(url: StoreURL, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases come and go all the time, and protect by themselves."""
    plans, gone = pruned(url, monkeypatch, lambda other: other.leases.hold([Digest.of(b"something")]).release())
    assert plans == 1
    assert gone > 1


@pytest.mark.sampled(2)
def test_what_is_named_or_pinned_before_the_lock_stays(url: StoreURL, monkeypatch: pytest.MonkeyPatch) -> None:
    with orlop.open(url) as images:
        nameless = next(str(one.id) for one in images.images() if not one.references)

    def tag(_: Store) -> None:
        with orlop.open(url) as images:
            images.tag(nameless, "example/late:1")

    def pin(other: Store) -> None:
        with other.metadata.write() as rows:
            rows.delete_reference("docker.io/example/late", ":1")
            rows.set_metadata(Digest.parse(nameless), PINNED, b"")

    for change in (tag, pin):
        with monkeypatch.context() as patch:
            assert pruned(url, patch, change) == (2, 0)


def test_every_change_of_content_is_another_state(url: StoreURL) -> None:
    with remote_store(url) as store:
        states = set()
        for number in range(3):
            with store.metadata.write() as rows:
                states.add(rows.state())
                rows.put_blob(BlobRow(Digest.of(b"%d" % number), 1, "none"))
        assert len(states) == 3
