"""A part of a repair: what it is given, and which of the problems are its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from orlop.model.digest import Digest
    from orlop.store.root import Store
    from orlop.store.upkeep.fsck_content import Exam
    from orlop.store.upkeep.problem import Problem, Repair


class RepairPart:
    """What the parts of a repair have in common.

    Args:
        store: a store that can be written.
        problems: what was found.
        exams: what the look has found in blobs; others are read when that is needed.
        done: called with each repair.
        progress: called with the number of bytes read since the last call.
    """

    def __init__(
        self,
        store: Store,
        problems: Iterable[Problem],
        exams: dict[Digest, Exam],
        done: Callable[[Repair], object],
        progress: Callable[[int], object] | None,
    ) -> None:
        self._store = store
        self._problems = tuple(problems)
        self._exams = dict(exams)
        self._done = done
        self._progress = progress

    def _subjects(self, *kinds: str) -> list[str]:
        return list(dict.fromkeys(one.subject for one in self._problems if one.kind in kinds))

    def _kind(self, subject: str) -> str:
        return next(one.kind for one in self._problems if one.subject == subject)
