"""How work grows with a list that a stranger controls: processor time and memory for n and for 2n.

Each list is one line of `lists.LISTS`. Its work is prepared anew for every turn, without being measured, and done in
this process; the processor time is that of all its threads. The least of several turns counts, since other programs
only ever add to it. The peak is what the process had more in memory at the most than when the work began.
"""

from __future__ import annotations

import gc
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import orlop

if TYPE_CHECKING:
    from collections.abc import Callable

    from orlop import ImageService

Work = "Callable[[], object]"

BOUND: Final = 3.0
"""How many times as long twice a list may take: a square would take four times as long, a sort a little over two."""


@dataclass(frozen=True)
class Growing:
    """A list: ``prepare`` makes, in an empty folder, the work on so many of its items; CI takes ``count`` of them."""

    name: str
    count: int
    prepare: Callable[[int, Path], Callable[[], object]]


@dataclass(frozen=True)
class Growth:
    """What a list of ``count`` took, and one of twice as many: seconds of processor time, and bytes at the peak."""

    name: str
    count: int
    once: float
    twice: float
    peak: int

    @property
    def ratio(self) -> float:
        """How many times as long the longer list took."""
        return self.twice / max(self.once, 1e-9)


_OPEN: Final[list[ImageService]] = []


def opened(folder: Path) -> ImageService:
    """Open a store to work with; it is closed when the work is measured."""
    images = orlop.open(folder / "root")
    _OPEN.append(images)
    return images


def grown(growing: Growing, folder: Path, *, count: int, turns: int = 2, most: int = 10) -> Growth:
    """Measure a list; where it seems to grow too fast, more turns than ``turns`` tell whether it does."""
    times: tuple[list[float], list[float]] = ([], [])
    peak = turn = 0
    while True:
        for number, size in enumerate((count, 2 * count)):
            seconds, memory = _turn(growing, folder / f"{turn}-{number}", size)
            times[number].append(seconds)
            peak = max(peak, memory)
        turn += 1
        found = Growth(growing.name, count, min(times[0]), min(times[1]), peak)
        if turn >= most or (turn >= turns and found.ratio < BOUND):
            return found


def grown_alone(growing: Growing, *, count: int, turns: int = 10) -> Growth:
    """Measure a list in a process that has done nothing else.

    In one that has, a short list may find all of its memory freed by others, and a longer one ask the system for more.
    """
    argv = [sys.executable, "-m", "tests.hostile.growth", growing.name, str(count), str(turns)]
    done = subprocess.run(argv, cwd=Path(__file__).parents[2], check=True, stdout=subprocess.PIPE, text=True)
    return Growth(growing.name, count, **json.loads(done.stdout))


def _turn(growing: Growing, folder: Path, count: int) -> tuple[float, int]:
    folder.mkdir(parents=True)
    work = growing.prepare(count, folder)
    gc.collect()
    # Whatever the peak was before is forgotten (proc(5), clear_refs).
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    before = _memory("VmRSS")
    # Looking for circles among ever more objects is the interpreter's work.
    gc.disable()
    try:
        start = time.process_time()
        work()
        seconds = time.process_time() - start
    finally:
        gc.enable()
        while _OPEN:
            _OPEN.pop().close()
    peak = _memory("VmHWM") - before
    shutil.rmtree(folder)
    return seconds, max(0, peak)


def _memory(key: str) -> int:
    found = re.search(rf"^{key}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    return 0 if found is None else int(found[1]) << 10


def main() -> None:
    """Measure one list, whose name and count are the arguments, and print what it took as JSON."""
    from tests.hostile.lists import LISTS

    name, count, turns = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    growing = next(one for one in LISTS if one.name == name)
    with tempfile.TemporaryDirectory() as folder:
        found = grown(growing, Path(folder), count=count, turns=turns, most=turns)
    print(json.dumps({"once": found.once, "twice": found.twice, "peak": found.peak}))


if __name__ == "__main__":
    main()
