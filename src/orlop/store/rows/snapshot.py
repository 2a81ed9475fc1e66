"""All rows of one moment, as a seam: what a copy of a store begins with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from orlop.model.tuples import NamedTuple

if TYPE_CHECKING:
    from orlop.store.rows.content import BlobRow
    from orlop.store.rows.rows import DiffRow


class SavedRows(NamedTuple):
    """What rows need: the number of images, and the blobs and layers that must lie beside them.

    ``lost_some`` says that a repair could not read all rows, so that what these do not name is held, too.
    """

    images: int
    blobs: list[BlobRow]
    diffs: list[DiffRow]
    lost_some: bool


class Snapshot(ABC):
    """The rows of the moment at which it was made, whoever changes them since. Belongs to one thread; be quick."""

    @abstractmethod
    def require_sound(self) -> None:
        """Raise `DatabaseDamaged` where anything is wrong with the rows.

        Raises `StoreTooNew` where a newer orlop wrote them: nothing is known of what is right then.
        """

    @abstractmethod
    def needs(self) -> SavedRows:
        """Return what the rows need."""
