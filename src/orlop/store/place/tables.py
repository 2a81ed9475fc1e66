"""Whether the table of contents of a layer says what its row says, before a copy takes over both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.errors import IntegrityError, InvalidInput, TocDamaged
from orlop.streams.toc import read_toc

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    from orlop.errors import DatabaseDamaged
    from orlop.store.rows.metadata import DiffRow


def is_whole(file: BinaryIO, diff: DiffRow, damaged: Callable[[str], DatabaseDamaged]) -> bool:
    """Return whether a table of contents is whole. One that is not can be made again, and proves nothing.

    Args:
        file: the table, read to its end.
        diff: the layer's row.
        damaged: makes the error for a database of which something was found.

    Raises:
        DatabaseDamaged: the row is not what the table says.
    """
    reader = read_toc(file)
    try:
        for _ in reader:
            pass
    except (InvalidInput, TocDamaged, IntegrityError):
        return False
    found = reader.summary
    if found is None:
        return False
    said = (found.entries, found.content_size, found.tar_size, found.partial)
    if said != (diff.entries, diff.content_size, diff.size, diff.partial is not None):
        raise damaged(f"what it says of the layer {diff.diff_id} is not what its table of contents says")
    return True
