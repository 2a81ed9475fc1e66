"""What goes in a write, and whether a row still needs it: asked once more before the write commits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from orlop.errors import DatabaseDamaged

if TYPE_CHECKING:
    import psycopg

    from orlop.store.rows.going import Going

_LINKS: Final = (
    ("chains", "layer", "SELECT id FROM chain WHERE parent = ANY(%(gone)s) OR id = ANY(%(gone)s)"),
    ("chains", "layer", "SELECT chain FROM image WHERE chain = ANY(%(gone)s)"),
    ("contents", "content", "SELECT diff FROM chain WHERE diff = ANY(%(gone)s)"),
    ("contents", "content", "SELECT id FROM diff WHERE id = ANY(%(gone)s)"),
    ("leased", "layer", "SELECT digest FROM lease WHERE digest = ANY(%(gone)s) OR digest = '*'"),
    ("blobs", "blob", "SELECT blob FROM diff_blob WHERE blob = ANY(%(gone)s)"),
    ("blobs", "blob", "SELECT digest FROM blob WHERE digest = ANY(%(gone)s)"),
    ("blobs", "blob", "SELECT child FROM edge WHERE child = ANY(%(gone)s)"),
    ("manifests", "manifest", "SELECT manifest FROM image_manifest WHERE manifest = ANY(%(gone)s)"),
    ("manifests", "manifest", "SELECT digest FROM top WHERE digest = ANY(%(gone)s)"),
    ("manifests", "manifest", "SELECT digest FROM manifest WHERE digest = ANY(%(gone)s)"),
)
"""Questions whether a row leads to what goes."""


def require_unneeded(going: Going, connection: psycopg.Connection[tuple[Any, ...]], place: str) -> None:
    """Raise `DatabaseDamaged` where a row still needs something that goes, inside the transaction of a connection."""
    for kind, what, question in _LINKS:
        gone = sorted(getattr(going, kind))
        if not gone:
            continue
        found = connection.execute(f"{question} LIMIT 1".encode(), {"gone": gone}).fetchone()
        if found is not None:
            raise DatabaseDamaged(
                f"{place} is damaged (the {what} {found[0]} was to go, but a row needs it);"
                " run `orlop fsck --repair`, or restore it from a backup"
            )
