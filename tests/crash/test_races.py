"""Two commands that meet at every step of one of them: they end as if one had come after the other."""

from __future__ import annotations

import pytest

from tests.crash.harness import UNSUPPORTED, run
from tests.crash.pace import PACE
from tests.crash.races import races

pytestmark = pytest.mark.skipif(UNSUPPORTED, reason="the numbers of this machine's system calls are not known")

WITHOUT_LEASES = """
from orlop.intake.commit import _Commit
class Unheld(set):
    __iter__ = lambda self: iter(())
known = _Commit._known
_Commit._known = lambda self, layers: Unheld(known(self, layers))
"""


@pytest.mark.slow
@pytest.mark.sampled(96, daily=False)
@pytest.mark.parametrize("name", races())
def test_it_does_not_matter_where_two_commands_meet(name, record_property):
    ((_, count),) = run("races", name, tell=record_property)
    # The last step may be one that only some runs have: then the other command does not come in between.
    assert count["steps"] > 12
    assert count["races"] > 0
    assert 0 < count["waited"] < count["races"] or PACE > 2


@pytest.mark.sampled(3)
def test_a_race_shows_layers_that_nobody_holds():
    with pytest.raises(AssertionError, match="went away while the archive was loaded"):
        run("races", "load with a layer that is there, image prune -a", patch=WITHOUT_LEASES)
