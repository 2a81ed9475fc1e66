"""A registry that is killed before any of its steps, or loses power after any: all of a push or nothing is there."""

from __future__ import annotations

import pytest

from tests.crash.harness import UNSUPPORTED, run
from tests.crash.pushes import scenarios

pytestmark = pytest.mark.skipif(UNSUPPORTED, reason="the numbers of this machine's system calls are not known")

ACKNOWLEDGED_FIRST = """
from orlop.store.blobs.partial import PartialIngest
PartialIngest.sync = PartialIngest.finish = lambda self: None
"""


@pytest.mark.sampled(24, daily=False)
@pytest.mark.parametrize("name", scenarios())
def test_a_server_that_is_killed_leaves_the_old_state_or_the_new_and_its_clients_go_on(name, record_property):
    ((_, count),) = run("kills", name, tell=record_property)
    assert count["steps"] > 5
    assert 0 < count["old"] <= count["kills"]


@pytest.mark.sampled(48, daily=False)
@pytest.mark.parametrize("name", scenarios())
def test_a_loss_of_power_leaves_what_was_acknowledged(name, record_property):
    ((_, count),) = run("losses", name, tell=record_property)
    assert 0 < count["old"] <= count["seen"]


@pytest.mark.slow
@pytest.mark.sampled(4)
def test_a_loss_of_power_shows_what_is_acknowledged_before_it_is_synced():
    with pytest.raises(AssertionError, match="power lost after step"):
        run("losses", "registry: a blob in parts", patch=ACKNOWLEDGED_FIRST)
