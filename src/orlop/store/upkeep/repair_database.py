"""A damaged database put right, before anything that it says can be believed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orlop.errors import DatabaseDamaged, NotSupported
from orlop.store.upkeep.lost_rows import hold_for_lost_rows
from orlop.store.upkeep.problem import NOTE, Problem, Repair
from orlop.store.upkeep.quarantine import Quarantine

if TYPE_CHECKING:
    from orlop.store.root import Store
    from orlop.store.rows.file import RowRepair
    from orlop.store.rows.metadata import RowProblem

_NAMES: Final = frozenset(("reference", "top"))


def repair_database(store: Store) -> tuple[list[Repair], list[Problem]]:
    """Return what was done about the rows of a store themselves, and what could not be brought back, as notes.

    Old files are kept in the quarantine.

    Raises:
        NotSupported: a server has the rows, and something else than values and its schema is wrong with them.
        StoreInUse: another process, or another part of this one, has the database open. NoSpace, StorageError: it
        cannot be written; everything is as it was.
    """
    repairs: list[Repair] = []
    notes: list[Problem] = []

    def done(repair: RowRepair) -> None:
        repairs.append(Repair(*repair))

    def lost(loss: RowProblem) -> None:
        notes.append(Problem(NOTE, loss.kind, loss.subject, loss.message))

    if not store.is_local:
        return _put_right(store), notes
    try:
        store.files.rows.repair(Quarantine(store.files), done=done, lost=lost)
    except DatabaseDamaged as error:
        notes.append(Problem(NOTE, "lost", "metadata.db", str(error)))
    return repairs, notes


def _put_right(store: Store) -> list[Repair]:
    with store.metadata.write() as rows:
        mender = store.metadata.mender()
        schema = mender.put_shape_right()
        found = mender.put_values_right()
        if any(table in _NAMES for table, _ in found):
            # Nobody can tell what these names meant.
            hold_for_lost_rows(rows)
    if not found and not schema:
        msg = f"the rows of {store.root} are damaged, and no file here has them; restore its database from a backup"
        raise NotSupported(msg)
    taken = [(table, key if key.isprintable() else repr(key)) for table, key in found]
    return [Repair("schema", subject, f"{message}, and was put right") for subject, message in schema] + [
        Repair("value-invalid", f"{table} {key}", f"what the row {key} of the table {table} cannot hold was taken out")
        for table, key in taken
    ]
