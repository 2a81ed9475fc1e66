"""Runs a second command before each step of a first: ``python -m tests.crash.races NAME…`` counts how often.

The first stands still at a step (see `calls`) while the second runs from its beginning to its end, or until it waits
for what the first holds; then both go on. With ``ORLOP_LONG`` the first also goes on at any time, wherever the second
is, as it would on a machine that is busy. However they meet, what each ends with, what a user sees then and what lies
on the disk once garbage is gone has to be what they would leave one after the other, in one order or the other.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.crash import attached, damaged, pace, scenarios, stages
from tests.crash.damaged import DATA, MULTI
from tests.crash.pace import LONG
from tests.crash.stages import Stage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.crash.calls import Call
    from tests.crash.scenarios import Scenario
    from tests.crash.stages import Seen

#: How often, a thousandth of a second apart, a command is seen asleep before it counts as one that waits for the other.
_ASLEEP: Final = 20
#: How much of a start the second has at the most, in seconds, where the first does not wait for it.
_START: Final = 0.2
#: For how long both may take, in seconds.
_PATIENCE: Final = float(os.environ.get("ORLOP_PATIENCE", "60"))


#: One of its layers is in `MULTI` too.
SHARED: Final = DATA / "dockerd-20.10-overlay2" / "multi.tar"
_ANOTHER: Final = (
    *("save", "--format", "oci-dir", "-o", "{}/layout"),
    "registry.example.com:5000/team/committed:2.0",
)
_APPENDED: Final = (
    *("save", "--append", "-o", "{}/saved.tar"),
    "registry.example.com:5000/team/committed:2.0",
)


@dataclass
class Count:
    """What was done: ``steps`` of the first command, ``races`` with the second, which ``waited`` in so many."""

    steps: int = 0
    races: int = 0
    waited: int = 0


class Outcome(NamedTuple):
    """How two commands ended."""

    first: int
    second: int
    seen: Seen
    kept: dict[str, object]


def races() -> dict[str, tuple[Scenario, Scenario]]:
    """Return pairs of commands by name; what there is before, the first one says."""
    known = scenarios.scenarios()
    load, gc, piped = known["load"], known["gc"], known["load from a pipe"]
    again, rmi = known["load again"], known["rmi"]
    prune = replace(known["image prune -a"], prepare=load.prepare)
    shared = replace(load, name="load with a layer that is there", arguments=("load", "-i", str(SHARED)))
    other = replace(load, arguments=shared.arguments)
    pairs = [
        # After a load that died: its layers are nobody's, and the next load of them takes them up again.
        (replace(load, prepare=gc.prepare), gc),
        (replace(piped, prepare=gc.prepare), gc),
        (gc, load),
        # What is loaded is there already, and goes meanwhile.
        (again, prune),
        (shared, prune),
        (prune, again),
        (again, again),
        (replace(load, prepare=_empty), replace(load, arguments=("load", "-i", str(MULTI)))),
        (rmi, known["tag"]),
        (known["image prune -a"], load),
        (known["save"], prune),
        # Two layouts in one place, and two additions to one.
        (known["save a directory"], known["save empty"]),
        (known["save beside"], replace(known["save a directory"], arguments=_ANOTHER)),
        # Two additions to one archive, and layers that are left out and go meanwhile.
        (known["save --append"], replace(known["save --append"], name="save --append again", arguments=_APPENDED)),
        (known["save --since"], prune),
        (known["fsck --repair"], gc),
        (known["fsck --repair"], other),
        (replace(shared, prepare=damaged.files), known["fsck --repair"]),
        # A damaged database is refused until it is repaired, and never used in between.
        (known["fsck --repair of a database"], other),
        (known["fsck --repair of a database"], known["tag"]),
        (known["fsck --repair of a database"], gc),
        (known["fsck --repair of a shape"], gc),
        (known["fsck --repair of a log"], other),
        # A store that is being made, copied or brought to another schema.
        (known["store init"], replace(load, prepare=_empty)),
        (known["store copy"], load),
        (known["store migrate"], load),
        (replace(known["import"], prepare=gc.prepare), gc),
        *_around_what_is_signed(known),
    ]
    return {f"{first.name}, {second.name}": (first, second) for first, second in pairs}


def _around_what_is_signed(known: dict[str, Scenario]) -> Iterator[tuple[Scenario, Scenario]]:
    """Yield commands that meet at one index, at its names, and at what belongs to it."""
    rmi, tag, save = known["rmi of what is signed"], known["tag of an index"], known["save of what is signed"]
    load = replace(known["load of what is signed"], prepare=rmi.prepare, name="load of what is signed again")
    yield tag, rmi
    yield rmi, tag
    yield rmi, load
    yield load, rmi
    yield tag, known["tag of an artifact"]
    yield save, rmi
    yield known["rmi of a platform"], tag
    yield replace(load, prepare=known["load of what is signed"].prepare), known["gc"]
    yield known["rmi of one of two names"], replace(rmi, arguments=("rmi", attached.OTHER), name="rmi of the other")


def _empty(_: Path) -> None:
    pass


def raced_everywhere(first: Stage, second: Stage) -> Count:
    """Race the two; raises AssertionError where something is not right."""
    count = Count()
    possible = [_one_after_the_other(*order) for order in ((first, second), (second, first))]
    possible[1] = possible[1]._replace(first=possible[1].second, second=possible[1].first)
    # Whether garbage is told from what is on its way in is asked at every step, the rest at every other one.
    step = 1 if LONG or "gc" in {first.scenario.name, second.scenario.name} else 2
    name = f"{first.scenario.name}, {second.scenario.name}"
    chance = random.Random(f"{pace.DAY} {name}")
    for moment in pace.share(_moments(first, count)[::step], name):
        race(first, second, moment, possible, count)
        if LONG:
            race(first, second, moment, possible, count, start=_START * chance.random())
    return count


def _moments(stage: Stage, count: Count) -> list[int]:
    """Return the numbers of the steps before which the other may come; of pages written in a row only the first."""
    stage.reset()
    calls = stage.watched().calls
    count.steps = len(calls)
    pages = [call.name in {"pwrite64", "write"} for call in calls]
    return [number for number, page in enumerate(pages, 1) if LONG or not (page and number > 1 and pages[number - 2])]


def _one_after_the_other(first: Stage, second: Stage) -> Outcome:
    first.reset()
    return _outcome(first, first.command()[0], second.command()[0])


def _outcome(stage: Stage, first: int, second: int) -> Outcome:
    found = stages.seen(stage.place)
    return Outcome(first, second, found, stages.tidied(stage))


def race(
    first: Stage, second: Stage, moment: int, possible: list[Outcome], count: Count, *, start: float | None = None
) -> None:
    """Run the second command before a step of the first, which goes on after so many seconds if they are given."""
    first.reset()
    runner = _Runner(second)

    def judge(_: Call, number: int) -> None:
        if number == moment:
            runner.begin()
            if start is None:
                count.waited += not runner.ended(asleep=_ASLEEP)
            else:
                time.sleep(start)

    ended = first.watched(judge)
    if not runner.begun:
        # Threads take turns as they like, so that a run may have a step less.
        return
    count.races += 1
    where = f"{second.scenario.name} before step {moment} of {first.scenario.name}, {ended.calls[moment - 1]}"
    if not runner.ended():
        runner.kill()
        raise AssertionError(f"{where}: it waits without end; it said {second.said()}")
    said = f"{where}: the first said {first.said()}, the second {second.said()}"
    assert (ended.status, runner.status) in {(one.first, one.second) for one in possible}, said
    found = _outcome(first, ended.status, runner.status)
    assert found.seen in [one.seen for one in possible], (said, found.seen)
    assert found in possible, (said, [_differing(found.kept, one.kept) for one in possible])


def _differing(one: dict[str, object], other: dict[str, object]) -> list[str]:
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


class _Runner:
    """The second command, in a process of its own."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._pid = 0
        self.begun = False
        self.status = 0

    def begin(self) -> None:
        self.begun = True
        self._pid = self._stage.begin()

    def ended(self, *, asleep: int = 0) -> bool:
        """Wait until it has ended, or was seen asleep so often in a row; return whether it has ended."""
        until = time.monotonic() + _PATIENCE
        seen = 0
        while self._pid and time.monotonic() < until and not 0 < asleep <= seen:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                self._pid, self.status = 0, os.waitstatus_to_exitcode(status)
            seen = seen + 1 if self._pid and not _works(self._pid) else 0
            time.sleep(0.001)
        return not self._pid

    def kill(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)


def _works(pid: int) -> bool:
    """Return whether one of a process's threads does something, or is just about to."""
    states = set()
    for thread in Path(f"/proc/{pid}/task").glob("*/stat"):
        with suppress(OSError):  # a thread that has ended
            states.add(thread.read_text(encoding="ascii", errors="replace").rpartition(") ")[2][:1])
    return states != {"S"}


def main() -> None:
    """Do it for the pairs that are named."""
    known = races()
    for name in sys.argv[1:] or known:
        one, other = known[name]
        with stages.staged(one) as first:
            second = Stage(other, first.folder, transcript="said-by-the-second")
            second.warm()
            print(json.dumps([name, vars(raced_everywhere(first, second))]), flush=True)


if __name__ == "__main__":
    main()
