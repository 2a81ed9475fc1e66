"""Does commands while reads fail, and looks at what they say and leave: the harness of `test_failing_reads.py`.

A command is forked for each read. In a process of the whole suite, which is large, a fork takes several times as long.
"""

from __future__ import annotations

import errno
import gc
import json
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orlop import stores
from orlop.cli.main import run
from tests.crash.calls import Fail, watched
from tests.crash.pace import LONG, PACE, first
from tests.crash.stages import copy_tree
from tests.invariants import HELD, broken
from tests.unit.damage import fill, rows_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.crash.calls import Call, Verdict

NAME: Final = "example/tiny:1.0"
DATA: Final = Path(__file__).parents[1] / "data"
COMMANDS: Final = {
    "images": ("images", "-a"),
    "save": ("save", "-o", "{}/saved", NAME),
    "load": ("load", "-q", "-i", str(DATA / "dockerd-20.10-overlay2" / "multi.tar")),
    "rmi": ("rmi", "-f", NAME),
    "prune": ("prune", "-a", "-f"),
    "gc": ("gc",),
    "fsck": ("fsck",),
    "fsck --repair": ("fsck", "--repair"),
    "store copy": ("store", "copy", "{}/copied"),
    "store backup": ("store", "backup", "{}/backup"),
}
KINDS: Final = ("read", "every read", "database")
_CHANGING: Final = ("save", "load", "rmi", "prune")
_READING: Final = frozenset({"read", "pread64", "getdents64"})


class _Bench:
    """A store as it should be, and a copy of it on which a command is run."""

    def __init__(self, folder: Path) -> None:
        self.whole, self.place, self._said = folder / "whole", folder / "place", folder / "said"
        fill(self.whole / "root", DATA)
        stores.backup(self.whole / "root", self.whole / "backup")
        # The mark says of which store it is.
        (self.whole / "backup" / "backup").write_text(f"{self.place / 'root'}\n")

    def reset(self) -> None:
        shutil.rmtree(self.place, ignore_errors=True)
        copy_tree(self.whole, self.place)

    def act(self, words: tuple[str, ...]) -> int:
        said = os.open(self._said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        for number in (1, 2):
            os.dup2(said, number)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
        try:
            return run(["--root", str(self.place / "root"), *(one.replace("{}", str(self.place)) for one in words)])
        finally:
            sys.stdout.flush()
            sys.stderr.flush()

    def warm_up(self, words: tuple[str, ...]) -> None:
        """Import, before anything is forked, what a command and a look at what it leaves need."""
        self.reset()
        streams, kept = (sys.stdout, sys.stderr), [os.dup(number) for number in (1, 2)]
        self.act(words)
        sys.stdout, sys.stderr = streams
        for number, stream in enumerate(kept, 1):
            os.dup2(stream, number)
            os.close(stream)
        _wrong(self.place / "root")
        # A child that looks for garbage would copy every page of memory.
        gc.freeze()

    def said(self) -> str:
        return self._said.read_text(errors="replace")

    def blobs(self) -> set[str]:
        """Return the blobs that are there, in their place or set aside by a repair, which can put them back."""
        root = self.place / "root"
        aside = (root / "quarantine").iterdir() if (root / "quarantine").is_dir() else ()
        names = {path.name.partition(".")[0].rpartition("-")[2] for path in aside}
        return names | {path.name for path in (root / "blobs" / "sha256").iterdir()}


def _kind(call: Call) -> tuple[str, str]:
    return call.name, re.sub(r"[0-9a-f]{8,}(\.[0-9]+)?", "#", call.path)


def _numbers(calls: list[Call]) -> Iterator[int]:
    """Yield the first and the last read of each kind, or all."""
    kinds: dict[tuple[str, str], list[int]] = {}
    for number, call in enumerate(calls, 1):
        if call.name in _READING:
            kinds.setdefault(_kind(call), []).append(number)
    for same in kinds.values():
        yield from same if LONG else sorted({same[0], same[len(same) // 2], same[-1]})


def _wrong(root: Path) -> list[str]:
    """Return what is wrong with a store but leases of processes that have ended, which others sweep up."""
    return [one for one in broken(root) if one != HELD and not one.startswith("lease of")]


def reads_fail(bench: _Bench, command: str, *, lasting: bool) -> dict[str, int]:
    """Fail reads of a command, one after the other, alone or with all that follow; and count."""
    words = COMMANDS[command]
    bench.reset()
    blobs, rows = bench.blobs(), rows_of(bench.place / "root")
    calls = watched(lambda: bench.act(words), [str(bench.place)], reads=True).calls
    failed = 0
    for number in _numbers(calls):
        bench.reset()

        def judge(call: Call, at: int, number: int = number) -> Verdict:
            fails = at == number or (lasting and at > number and call.name in _READING)
            return Fail(errno.EIO) if fails else None

        ended = watched(lambda: bench.act(words), [str(bench.place)], judge, reads=True)
        where = f"{calls[number - 1]}, status {ended.status}: {bench.said()[-500:]}"
        assert ended.status in {0, 6, 7, 8}, where
        failed += ended.status in {6, 7}
        assert "Traceback" not in bench.said(), where
        assert "unexpected" not in bench.said(), where
        # Of a device that stays away nobody may think that what is on it is damaged.
        if lasting and not command.startswith("fsck"):
            assert ended.status != 6, where
            assert "--repair" not in bench.said(), where
        # What was just written is not damaged, and what it was copied from even less.
        if ".part" in calls[number - 1].path:
            assert ended.status != 6, where
            assert "--repair" not in bench.said(), where
        told = ended.status in {6, 7} and "damage: " not in bench.said()
        assert bench.said().count("Error: ") == told, where
        if command not in _CHANGING:
            assert bench.blobs() >= blobs, where
            assert rows_of(bench.place / "root") == rows, where
        # What a repair has set aside, the next one puts back.
        if command != "fsck --repair":
            assert _wrong(bench.place / "root") == [], where
        assert _wrong(bench.place / "backup") == [], where
        if ended.status:
            # What said that it had failed may be done: then there is nothing to remove.
            again = {"rmi": {0, 4}, "fsck --repair": {0, 8}}.get(command, {0})
            assert watched(lambda: bench.act(words), [str(bench.place)]).status in again, (where, bench.said())
    assert watched(lambda: bench.act(("fsck",)), [str(bench.place)]).status == 0, bench.said()
    return {"failed": failed}


def database_fails(bench: _Bench, command: str) -> dict[str, int]:
    """Fail reads of the database alone; and count.

    SQLite itself calls it malformed where one of some pages cannot be read once.
    """
    words = COMMANDS[command]
    bench.reset()
    calls = watched(lambda: bench.act(words), [str(bench.place)], reads=True).calls
    numbers = [at for at, call in enumerate(calls, 1) if call.name in _READING and "root/metadata.db" in call.path]
    assert len(numbers) > 20
    step = min(PACE, 4)
    numbers = numbers[first(f"read {command}", step) :: step]
    for number in numbers:
        bench.reset()

        def judge(_: Call, at: int, number: int = number) -> Verdict:
            return Fail(errno.EIO) if at == number else None

        ended = watched(lambda: bench.act(words), [str(bench.place)], judge, reads=True)
        where = f"{calls[number - 1]}, status {ended.status}: {bench.said()[-500:]}"
        assert ended.status in {0, 7}, where
        assert "--repair" not in bench.said(), where
        assert _wrong(bench.place / "root") == [], where
    return {"failed": len(numbers)}


def main() -> None:
    """Do it for what is named: ``read COMMAND``, ``every read COMMAND`` or ``database COMMAND``."""
    with tempfile.TemporaryDirectory(prefix="orlop-reads-") as folder:
        bench = _Bench(Path(folder))
        for name in sys.argv[1:]:
            kind, command = next((kind, name.removeprefix(f"{kind} ")) for kind in KINDS if name.startswith(f"{kind} "))
            bench.warm_up(COMMANDS[command])
            if kind == "database":
                count = database_fails(bench, command)
            else:
                count = reads_fail(bench, command, lasting=kind == "every read")
            print(json.dumps([name, count]), flush=True)


if __name__ == "__main__":
    main()
