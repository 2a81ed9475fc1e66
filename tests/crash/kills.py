"""Kills a command at each of its steps: ``python -m tests.crash.kills NAME…`` prints how many there were.

A step is a system call that changes something on disk, or may; the harness counts them itself. SIGKILL takes nothing
from the disk, so that of steps before which the disk is the same one is enough. Between the pages of a database that
SQLite writes one after the other only some moments are tried, since power losses go through these states as well.
Of all these a share is tried (see `pace`); ``ORLOP_LONG=1`` kills before every single step.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from tests.crash import pace, scenarios, stages
from tests.crash.calls import Kill
from tests.crash.pace import LONG

if TYPE_CHECKING:
    from tests.crash.calls import Call, Verdict
    from tests.crash.stages import Stage

_PAGES: Final = 1 if LONG else 8
_CHANGING_NOTHING: Final = {"flock", "fsync", "fdatasync"}
"""Calls after which a disk that was not lost is as it was before."""


@dataclass
class Count:
    """What was done: ``steps`` of the command, ``states`` that the disk is in between, ``kills``, ``old`` of them."""

    steps: int = 0
    states: int = 0
    kills: int = 0
    old: int = 0


def killed_everywhere(stage: Stage) -> Count:
    """Kill the stage's command, look at what is left, finish; raises AssertionError where something is not right."""
    count = Count()
    stage.note_before()
    chosen = moments(stage, count, status=stage.scenario.ends)
    stage.note_after(stage.scenario.ends)
    copy = stage.folder / "copy"
    for moment in chosen:
        stage.reset()
        ended = stage.watched(partial(kill_at, moment))
        if ended.status == stage.scenario.ends:
            # Threads take turns as they like, so that a run may have a step less.
            assert moment > count.steps - 5, moment
            continue
        assert ended.status == -9, stage.said()
        count.kills += 1
        where = f"killed before step {moment} of {count.steps}, {ended.calls[-1]}"
        stages.copy_tree(stage.place, copy)
        found = stage.look(copy, where, saved=count.kills % 10 == 0)
        count.old += found == stage.before
        shutil.rmtree(copy)
        stage.finish(found, where)
    return count


def kill_at(moment: int, _: Call, number: int) -> Verdict:
    """Kill before a step."""
    return Kill() if number == moment else None


def moments(stage: Stage, count: Count, *, status: int = 0) -> list[int]:
    """Run the command to its end, and return the numbers of the steps before which it shall be killed."""
    found: list[int] = []
    known: set[str] = set()
    pages = 0
    before = ""

    def note(call: Call, number: int) -> None:
        nonlocal pages, before
        same, before = before in _CHANGING_NOTHING, call.name
        if same and not LONG:
            return
        mark = stages.mark(stage.place)
        if mark in known and not LONG:
            return
        known.add(mark)
        page = call.name == "pwrite64"
        pages += page
        if not page or pages % _PAGES == 0:
            found.append(number)

    stage.reset()
    ended = stage.watched(note)
    assert ended.status == status, stage.said()
    count.steps, count.states = len(ended.calls), len(known)
    return pace.share(found, stage.scenario.name)


def main() -> None:
    """Do it for the scenarios that are named."""
    for scenario in scenarios.chosen(sys.argv[1:]):
        with stages.staged(scenario) as stage:
            print(json.dumps([scenario.name, vars(killed_everywhere(stage))]), flush=True)


if __name__ == "__main__":
    main()
