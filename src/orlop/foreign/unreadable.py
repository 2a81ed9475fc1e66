"""Layers of storage drivers that keep files outside the root's own file system, and those that orlop does not know.

zfs has a dataset for each layer, and devicemapper a thin volume. Neither is in a copy of the root, nor mounted while
the daemon is down; somebody may have mounted them where the daemon does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orlop.foreign.disk import go_on

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from orlop.foreign.disk import Folder
    from orlop.foreign.rebuilt import Path
    from orlop.streams.compression import Readable
    from orlop.streams.meter import Meter

MOUNTED: Final[dict[str, tuple[str | None, ...]]] = {
    "devicemapper": ("devicemapper", "mnt", None, "rootfs"),
    "zfs": ("zfs", "graph", None),
}
"""Where a daemon mounts the files of a layer; None stands for its ID."""
_KEPT_IN: Final = {"devicemapper": "a thin volume", "zfs": "a dataset"}


@dataclass(frozen=True, slots=True)
class UnreadableLayer:
    """A layer whose files cannot be reached, an `orlop.foreign.held.LayerCopy`."""

    reason: str

    @property
    def digest(self) -> None:
        """Nothing: the tar would be rebuilt, and has no other form."""

    def problem(self) -> str:
        """Return where its files are."""
        return self.reason

    def attempts(self, meter: Meter, check: Callable[[], object] = go_on) -> Generator[Readable]:
        """Yield nothing."""
        del meter, check
        yield from ()


def unreadable(driver: str, layer: str) -> UnreadableLayer:
    """Return a layer that a driver has by an ID."""
    if driver not in MOUNTED:
        return UnreadableLayer(f"the storage driver {driver} keeps its files in a way that orlop does not know")
    place = "/".join(part or layer for part in MOUNTED[driver][:3])
    return UnreadableLayer(f"its files are in {_KEPT_IN[driver]} of {driver}, which is not mounted at {place}")


def note_on(driver: str) -> str:
    """Return what there is to say of a driver whose layers may be out of reach."""
    if driver not in MOUNTED:
        return f"the storage driver {driver} is not known to orlop: only configs and names are listed"
    return (
        f"the storage driver {driver} keeps each layer in {_KEPT_IN[driver]} of its own: configs and names can be had,"
        " and those layers that are mounted where the daemon mounts them"
    )


def is_filled(root: Folder, place: Path) -> bool:
    """Return whether a directory of the root has something in it."""
    folder = root.there(*place)
    if folder is None:
        return False
    with folder:
        return bool(folder.names())
