"""What is found wrong in a store, and what was done about it, as values."""

from __future__ import annotations

from typing import Final

from orlop.model.values import dataclass

DAMAGE: Final = "damage"
"""Something is not what it should be: an image, or all of them, may not be usable."""
DEVICE_FAILED: Final = "device-failed"
"""The kind of what cannot be read at the moment, and may be whole: a repair leaves it alone."""
NOTE: Final = "note"
"""Nothing is lost: something can be made again, is garbage, or is worth knowing."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """Something that was found.

    ``kind`` is a word that does not change (see `docs/stores.md`), ``level`` says whether it is `DAMAGE` or a `NOTE`,
    ``subject`` what it is about (a digest, a name or a path), and ``message`` the sentence for people.
    """

    level: str
    kind: str
    subject: str
    message: str


@dataclass(frozen=True, slots=True)
class Repair:
    """Something that was put right: the ``kind`` and ``subject`` of the problem, and what was done as a sentence."""

    kind: str
    subject: str
    message: str


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What was found in the store at ``root``; ``verified`` says whether all content was read."""

    root: str
    verified: bool
    problems: tuple[Problem, ...]

    @property
    def damage(self) -> tuple[Problem, ...]:
        """What is not as it should be; nothing for a store that is whole."""
        return _of_level(self.problems, DAMAGE)

    @property
    def notes(self) -> tuple[Problem, ...]:
        """What is worth knowing."""
        return _of_level(self.problems, NOTE)


@dataclass(frozen=True, slots=True)
class FsckReport:
    """What was found in the store at ``root``, and what was done about it.

    ``quick`` says whether content was left unread. ``found`` is what was wrong at first, ``repairs`` what was put
    right, and ``problems`` what is wrong now; where nothing was repaired that is what was found.
    """

    root: str
    quick: bool
    found: tuple[Problem, ...]
    repairs: tuple[Repair, ...]
    problems: tuple[Problem, ...]

    @property
    def damage(self) -> tuple[Problem, ...]:
        """What is not as it should be now; nothing for a store that is whole."""
        return _of_level(self.problems, DAMAGE)

    @property
    def unread(self) -> tuple[Problem, ...]:
        """What could not be read, and may be whole: a part of ``damage``."""
        return tuple(problem for problem in self.damage if problem.kind == DEVICE_FAILED)

    @property
    def notes(self) -> tuple[Problem, ...]:
        """What is worth knowing now."""
        return _of_level(self.problems, NOTE)

    @property
    def state(self) -> str:
        """One of ``clean``, ``repaired`` (nothing is damaged any more), ``damaged``, and ``unreadable``.

        The last one says that nothing is known to be damaged, and that something could not be read.
        """
        if self.damage:
            return "unreadable" if self.damage == self.unread else "damaged"
        return "repaired" if self.repairs else "clean"


def _of_level(problems: tuple[Problem, ...], level: str) -> tuple[Problem, ...]:
    return tuple(problem for problem in problems if problem.level == level)
