"""Whole pages of the database that are wrong, or files beside it that are not its own, and every command after it.

Each page of the database, and each frame of its log, is zeroed, changed for its neighbour, or replaced by the same one
of another store or of an earlier state of this one; both files end before each of them. A log, an index of a log or a
journal of another store, or of an earlier state, lies beside the database. `spoiled` says what is asked of each
command.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import sys
from contextlib import closing
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Final

from tests.crash.spoiled import DATA, Spoil, bench, tried

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.crash.spoiled import Bench

PAGE: Final = 4096
FRAME: Final = PAGE + 24
STATES: Final = ("earlier-1", "earlier-2", "other")
_SOURCES: Final = (
    *("dockerd-20.10-overlay2/parent-child.tar", "dockerd-29-overlay2/multi.tar"),
    "other-tools/skopeo-oci-archive-zstd.tar",
)
REPAIR_FROM: Final = ("fsck", "--repair", *(word for name in _SOURCES for word in ("--from", str(DATA / name))))


def _write(at: int, content: bytes, name: str, root: Path) -> None:
    with (root / name).open("r+b") as file:
        file.seek(at)
        file.write(content)


def _cut(size: int, name: str, root: Path) -> None:
    os.truncate(root / name, size)


def _bring(files: dict[str, bytes], root: Path) -> None:
    for name, content in files.items():
        (root / name).write_bytes(content)


def _bare(root: Path) -> None:
    for suffix in ("-wal", "-shm"):
        (root / f"metadata.db{suffix}").unlink(missing_ok=True)


def _exchange(content: bytes, root: Path) -> None:
    _bare(root)
    (root / "metadata.db").write_bytes(content)


def of_pages(name: str, content: bytes, others: dict[str, bytes], *, first: int, size: int) -> Iterator[Spoil]:
    """Yield what may happen to each page of a file.

    Args:
        name: of the file.
        content: of it.
        others: the contents of such files that belong elsewhere, by what they are.
        first: where its first page begins.
        size: of a page, with what is before it.
    """
    starts = range(first, len(content), size)
    for number, start in enumerate(starts, 1):
        own = content[start : start + size]
        what = f"{name} page {number}"
        if any(own):
            yield Spoil(f"{what} zeroed", partial(_write, start, bytes(size), name))
        after = starts[number % len(starts)]
        both = content[after : after + size]

        def swap(root: Path, start: int = start, after: int = after, own: bytes = own, both: bytes = both) -> None:
            _write(start, both, name, root)
            _write(after, own, name, root)

        yield Spoil(f"{what} changed for {(after - first) // size + 1}", swap)
        for state, other in others.items():
            instead = other[start : start + size]
            if instead not in {own, b""}:
                yield Spoil(f"{what} of {state}", partial(_write, start, instead, name))
        yield Spoil(f"{name} cut before page {number}", partial(_cut, start, name))
        yield Spoil(f"{name} cut in page {number}", partial(_cut, start + size // 2, name))


def of_files(made: Bench) -> Iterator[Spoil]:
    """Yield files beside the database that belong elsewhere."""
    for state in STATES:
        root = made.state(state)
        wal, shm = ((root / f"metadata.db{suffix}").read_bytes() for suffix in ("-wal", "-shm"))
        yield Spoil(f"the log of {state}", partial(_bring, {"metadata.db-wal": wal}))
        yield Spoil(f"the index of {state}", partial(_bring, {"metadata.db-shm": shm}))
        yield Spoil(
            f"the log and the index of {state}", partial(_bring, {"metadata.db-wal": wal, "metadata.db-shm": shm})
        )
        yield Spoil(f"the journal of {state}", partial(_bring, {"metadata.db-journal": _journal(made, state)}))
        yield Spoil(f"all of the database of {state}", partial(_exchange, _settled(made, state).read_bytes()))
    yield Spoil("no log and no index", _bare)


def _journal(made: Bench, state: str) -> bytes:
    """Return the journal of a database that was in the midst of a change of everything, without a log."""
    path = made.folder / "journal.db"
    shutil.copyfile(_settled(made, state), path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute("PRAGMA cache_size=1")
        connection.execute("BEGIN")
        for table, column in (("image", "created"), ("reference", "updated"), ("chain", "size"), ("diff", "size")):
            connection.execute(f"UPDATE {table} SET {column} = {column} + 1")
        content = path.with_name("journal.db-journal").read_bytes()
        connection.execute("ROLLBACK")
    path.unlink()
    assert any(content[:8])
    return content


def _settled(made: Bench, state: str) -> Path:
    """Return the database of a state, with its log in it."""
    target = made.folder / f"{state}.db"
    if not target.exists():
        for suffix in ("", "-wal"):
            shutil.copyfile(made.state(state) / f"metadata.db{suffix}", f"{target}{suffix}")
        with closing(sqlite3.connect(target)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return target


def spoils(made: Bench, kind: str) -> list[Spoil]:
    """Return all damage of a ``kind``: of the ``database``, of the ``log``, or of files ``beside`` either."""
    database, log = (made.template / name for name in ("metadata.db", "metadata.db-wal"))
    if kind.startswith("beside"):
        return list(of_files(made))
    if kind == "log":
        others = {state: (made.state(state) / "metadata.db-wal").read_bytes() for state in STATES}
        return list(of_pages(log.name, log.read_bytes(), others, first=32, size=FRAME))
    others = {state: _settled(made, state).read_bytes() for state in STATES}
    return list(of_pages(database.name, database.read_bytes(), others, first=0, size=PAGE))


KINDS: Final = ("database", "log", "beside", "beside a log and its index")


def count(kind: str, tell: Callable[[str], object], *, step: int, seed: int, only: str = "") -> Counter[str]:
    """Do every ``step``-th damage of a ``kind``, and return what came of it.

    Raises:
        AssertionError: something went wrong that must not.
    """
    with bench() as made:
        made.make(log="log" in kind, index="index" in kind or kind == "log")
        made.commands["fsck --repair --from"] = REPAIR_FROM
        made.learn()
        found = [one for one in spoils(made, kind) if only in one.what]
        Random(seed).shuffle(found)
        return tried(made, found[::step], tell)


def main() -> None:
    """Run for the kinds that are named, each as ``kind:step:seed``, and print what was counted."""
    loud = bool(os.environ.get("ORLOP_LOUD"))
    for argument in sys.argv[1:]:
        kind, step, seed, *only = argument.split(":")
        counted = count(
            kind,
            (lambda line: print(line, file=sys.stderr)) if loud else len,
            step=int(step),
            seed=int(seed),
            only=":".join(only),
        )
        print(json.dumps([kind, counted]))


if __name__ == "__main__":
    main()
