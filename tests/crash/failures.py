"""Makes a command's system calls fail: ``python -m tests.crash.failures NAME…`` prints how many there were.

One call fails once, as on a disk that hiccups, or it and all that change the disk after it, as on one that is full or
dies. Of the calls of one kind on one kind of file the first or the last is tried, with one error, another one in
another place, and of all these a share (see `pace`); ``ORLOP_LONG=1`` tries every call with every error.
"""

from __future__ import annotations

import errno
import json
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.crash import pace, scenarios, stages
from tests.crash.calls import Fail, Short
from tests.crash.pace import LONG

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.crash.calls import Call, Verdict
    from tests.crash.stages import Stage

_SHORT: Final = "short"
_GROWING: Final = {"write", "pwrite64", "openat", "mkdir", "ftruncate", "fallocate", "link"}
_ERRORS: Final[dict[str, tuple[int | str, ...]]] = {
    "write": (errno.ENOSPC, errno.EIO, errno.EINTR, _SHORT),
    "pwrite64": (errno.ENOSPC, errno.EIO, errno.EINTR, _SHORT),
    "openat": (errno.ENOSPC, errno.EIO, errno.EINTR, errno.EMFILE),
    "fsync": (errno.EIO, errno.ENOSPC, errno.EINTR),
    "fdatasync": (errno.EIO, errno.ENOSPC, errno.EINTR),
    "flock": (errno.ENOLCK, errno.EINTR),
    "close": (errno.EIO, errno.EINTR),
    "fallocate": (errno.ENOSPC, errno.EOPNOTSUPP),
    "ioctl": (errno.EOPNOTSUPP, errno.ENOSPC),
}
_OTHERS: Final = (errno.EIO, errno.ENOSPC)
_STORAGE: Final = 7


@dataclass
class Count:
    """What was done.

    ``steps`` of the command, ``kinds`` of them, calls that ``failed``, and commands that ended ``well`` all the same;
    ``told`` are the calls whose error a user has to hear of, and did.
    """

    steps: int = 0
    kinds: int = 0
    failed: int = 0
    well: int = 0
    told: int = 0


@dataclass(frozen=True)
class _Failure:
    """A call that fails: with a number of `errno`, or as a short write; with ``on`` all that follow fail as well."""

    number: int
    error: int | str
    on: bool = False

    def judge(self, call: Call, number: int) -> Verdict:
        if number != self.number and not (self.on and number > self.number and self._goes_on(call.name)):
            return None
        if isinstance(self.error, int):
            return Fail(self.error)
        return Short(max(1, call.size // 2)) if call.name in {"write", "pwrite64"} else None

    def _goes_on(self, name: str) -> bool:
        # A full disk takes nothing more, a dead one does nothing; no disk is asked for locks, and nothing stays open.
        return name in _GROWING if self.error == errno.ENOSPC else name not in {"flock", "close"}

    def must_be_told(self, call: Call) -> bool:
        """Return whether bytes or names that were promised may be missing for it."""
        if self.error in {errno.EINTR, _SHORT}:
            return False  # the call is made again
        if any(name in call.path for name in ("metadata.db", "rows.db", ".rows")):
            return False  # SQLite tells what matters: after a commit it need not bring its log to an end
        if call.name in {"write", "fsync"}:
            return True
        return (call.name == "fdatasync" and "/ingest/" in call.path) or (
            call.name == "rename" and not call.path.endswith("/root")
        )

    def __str__(self) -> str:
        error = self.error if isinstance(self.error, str) else errno.errorcode[self.error]
        return f"{error}{' from then on' if self.on else ''}"


def failing_everywhere(stage: Stage) -> Count:
    """Make calls fail, look at what is said and left, finish; raises AssertionError where something is not right."""
    stage.note_before()
    ended = stage.watched(closes=True)
    stage.note_after(ended.status)
    count = Count(len(ended.calls), len({_kind(call) for call in ended.calls}))
    for failure in pace.share(list(_failures(ended.calls)), stage.scenario.name):
        stage.reset()
        ended = stage.watched(failure.judge, closes=True)
        if len(ended.calls) < failure.number:
            continue  # threads take turns as they like, so that a run may have a step less
        count.failed += 1
        well = ended.status == stage.scenario.ends
        count.well += well
        # What frees space is done again with the space that is kept for it.
        again = any(call.name == "unlink" and call.path.endswith(".reserve") for call in ended.calls)
        if failure.must_be_told(ended.calls[failure.number - 1]) and not again:
            count.told += 1
            assert not well, f"{failure} was swallowed in {ended.calls[failure.number - 1]}"
        said = stage.said()
        step = f"step {failure.number} of {count.steps}, {ended.calls[failure.number - 1]}"
        where = f"{failure} in {step}; it said {said.strip()}"
        assert well or ended.status == _STORAGE, (ended.status, where)
        _check_words(said, where, errors=ended.status == _STORAGE)
        found = stage.look(stage.place, where, done=well)
        stage.finish(found, where)
    return count


def _check_words(said: str, where: str, *, errors: int) -> None:
    """See that an error is one sentence."""
    assert len([line for line in said.splitlines() if line.startswith("Error: ")]) == errors, where
    for word in ("Traceback", "unexpected", "[Errno", "Exception"):
        assert word not in said, where


def _failures(calls: list[Call]) -> Iterator[_Failure]:
    places: dict[tuple[str, ...], list[int]] = {}
    for number, call in enumerate(calls, 1):
        places.setdefault(_kind(call), []).append(number)
    tried = {same[-(index % 2)] for index, same in enumerate(places.values())}
    turn = 0
    for number, call in enumerate(calls, 1):
        errors = _ERRORS.get(call.name, _OTHERS)
        if LONG:
            yield from (_Failure(number, error) for error in errors)
            yield from (_Failure(number, error, on=True) for error in _OTHERS)
        elif number in tried:
            turn += 1
            yield _Failure(number, errors[turn % len(errors)])
            if turn % 4 == 0:
                yield _Failure(number, _OTHERS[turn // 4 % 2], on=True)


def _kind(call: Call) -> tuple[str, ...]:
    """Return what two calls have in common that do the same with files of the same kind."""
    return call.name, *(re.sub(r"[0-9a-f]{8,}(\.[0-9]+)?", "#", path) for path in (call.path, call.other))


def main() -> None:
    """Do it for the scenarios that are named."""
    for scenario in scenarios.chosen(sys.argv[1:]):
        with stages.staged(scenario) as stage:
            print(json.dumps([scenario.name, vars(failing_everywhere(stage))]), flush=True)


if __name__ == "__main__":
    main()
