"""Takes the power away after each step of a command: ``python -m tests.crash.losses NAME…`` prints how many there were.

A command runs once, under watch. Then each beginning of what it did is done once more to a disk that forgets what was
not synced, in several ways (see `tests.crash.power`). Of the states that a disk may be in between the pages that SQLite
writes a part is looked at, of all of these a share (see `pace`), and a part of them is also the start of the same
command; ``ORLOP_LONG=1`` leaves nothing out, and tears more writes at random (``ORLOP_SEED``).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Final

from tests.crash import pace, scenarios, stages
from tests.crash.pace import LONG
from tests.crash.power import Disk, Loss, LostData, LostNames, NoLoss, RandomLoss, ZeroData, put_on_disk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.crash.calls import Call
    from tests.crash.power import Tree
    from tests.crash.stages import Stage

_RANDOM: Final = 40 if LONG else 1
_PAGES: Final = 1 if LONG else 5
_AGAIN: Final = 1 if LONG else 7


@dataclass
class Count:
    """What was done.

    ``steps`` of the command, ``states`` in which a disk may be, ``seen`` of them, ``old`` of these; and how often the
    same command was run ``again``.
    """

    steps: int = 0
    states: int = 0
    seen: int = 0
    old: int = 0
    again: int = 0


def lost_everywhere(stage: Stage, chance: Random) -> Count:
    """Look at what each loss of power leaves; raises AssertionError where something is not right."""
    stage.note_before()
    disk = Disk(stage.place)
    ended = stage.watched(with_data=True)
    for call in ended.calls:
        disk.apply(call)
    # Whatever had changed the disk unseen would show here.
    assert _contents(disk.tree(NoLoss())) == stages.tree(stage.place, nameless=False)
    stage.note_after(ended.status)
    count = Count(len(ended.calls))
    for step, tree in _states(stage, ended.calls, chance, count):
        shutil.rmtree(stage.place)
        stage.place.mkdir()
        put_on_disk(tree, stage.place)
        count.seen += 1
        # What a command has done is on disk when it ends.
        found = stage.look(stage.place, str(step), done=step.last)
        count.old += found == stage.before
        if count.seen % _AGAIN == 0:
            count.again += 1
            shutil.rmtree(stage.place)
            stage.place.mkdir()
            put_on_disk(tree, stage.place)
            stage.finish(found, str(step))
    return count


@dataclass(frozen=True)
class _Step:
    """When the power went, and what went with it."""

    number: int
    of: int
    call: Call
    loss: Loss

    @property
    def last(self) -> bool:
        return self.number == self.of

    def __str__(self) -> str:
        return f"power lost after step {self.number} of {self.of}, {self.call}; lost: {self.loss.name}"


def _states(stage: Stage, calls: list[Call], chance: Random, count: Count) -> Iterator[tuple[_Step, Tree]]:
    """Yield the states in which the disk may be, each once, and all of those in which it may be at the end."""
    stage.reset()
    disk = Disk(stage.place)
    losses = [Loss(), NoLoss(), LostData(), ZeroData(), LostNames(), *[RandomLoss(chance)] * _RANDOM]
    known: set[str] = set()
    different = 0
    for number, call in enumerate(calls, 1):
        disk.apply(call)
        for loss in losses:
            tree = disk.tree(loss)
            mark = _mark(tree)
            if mark in known and number < len(calls):
                continue
            count.states += mark not in known
            known.add(mark)
            if call.name != "pwrite64" or count.states % _PAGES == 0:
                different += 1
                if number == len(calls) or pace.turn(different - 1, stage.scenario.name):
                    yield _Step(number, len(calls), call, loss), tree


def _contents(tree: Tree) -> dict[str, bytes | None]:
    return {path: content for path, (_, content) in tree.items() if path != "."}


def _mark(tree: Tree) -> str:
    digest = hashlib.sha256()
    for path, (_, content) in sorted(tree.items()):
        digest.update(f"{path}\0{-1 if content is None else len(content)}\0".encode())
        digest.update(content or b"")
    return digest.hexdigest()


def main() -> None:
    """Do it for the scenarios that are named."""
    seed = int(os.environ.get("ORLOP_SEED", "1"))
    for scenario in scenarios.chosen(sys.argv[1:]):
        with stages.staged(scenario) as stage:
            print(json.dumps([scenario.name, vars(lost_everywhere(stage, Random(seed)))]), flush=True)


if __name__ == "__main__":
    main()
