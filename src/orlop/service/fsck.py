"""``fsck``: what is wrong in a store."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from orlop.errors import StoreDamaged
from orlop.store.fsck import look
from orlop.store.problem import DAMAGE, FsckReport, Problem
from orlop.store.root import Store

if TYPE_CHECKING:
    from orlop.model.progress import Progress


def fsck(root: str | os.PathLike[str], *, quick: bool = False, progress: Progress | None = None) -> FsckReport:
    """See `orlop.stores.fsck`."""
    try:
        store = Store(root, create=False)
    except StoreDamaged as error:
        if not os.path.isdir(root):
            raise
        problem = Problem(DAMAGE, "database", "metadata.db", str(error))
        return FsckReport(os.path.abspath(os.fspath(root)), quick, (problem,), (), (problem,))
    with store:
        found = look(store, quick=quick, progress=progress).problems
    return FsckReport(store.root, quick, found, (), found)
