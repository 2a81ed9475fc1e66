"""Eight processes in one store at once, and others that are killed in it: nothing is lost, nobody waits for the dead.

`ORLOP_STRESS_SECONDS` makes them stay for longer than ten seconds.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop import stores
from tests.invariants import broken

if TYPE_CHECKING:
    from collections.abc import Callable

TOP = Path(__file__).parents[2]
PROCESSES = 8
SECONDS = float(os.environ.get("ORLOP_STRESS_SECONDS", "10"))
PATIENCE = 120
_KILLED = 4


def join(root: Path, number: int, seconds: float) -> subprocess.Popen[str]:
    """Begin a member of a crowd; it waits for a line."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.crash.crowd", str(root), str(number), str(seconds)],
        cwd=TOP,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def go(member: subprocess.Popen[str]) -> None:
    """Send it the line."""
    assert member.stdin is not None
    member.stdin.write("go\n")
    member.stdin.flush()


@pytest.mark.sampled(2)
def test_eight_processes_at_once_leave_a_store_that_is_right(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    root = tmp_path / "root"
    members = [join(root, number, SECONDS) for number in range(PROCESSES)]
    for member in members:
        go(member)
    killed = kill_others(root, time.monotonic() + SECONDS)
    ended = [member.communicate(timeout=SECONDS + PATIENCE) for member in members]
    # Nobody has seen "locked", or any error that is not an answer.
    assert [errors for _, errors in ended] == [""] * PROCESSES
    seen: list[Counter[str]] = [Counter(json.loads(answer)) for answer, _ in ended]
    told = ", ".join(f"{work} {count}" for work, count in sorted(sum(seen, Counter[str]()).items()))
    record_property("counted", f"eight processes, {killed} others killed: {told}")
    assert killed >= _KILLED
    assert min(counter.total() for counter in seen) > max(counter.total() for counter in seen) / 10
    with orlop.open(root) as images:
        images.gc()
    assert broken(root) == []
    assert stores.fsck(root).problems == ()


def kill_others(root: Path, until: float) -> int:
    """Start further processes and kill them at work, on a slow machine for longer; return how many."""
    chance = random.Random(0)
    killed = 0
    while time.monotonic() < until or killed < _KILLED:
        with join(root, PROCESSES + killed, SECONDS) as member:
            go(member)
            time.sleep(0.5 + chance.random())
            assert member.poll() is None, member.communicate()
            member.kill()
            killed += 1
    return killed
