"""The names of `orlop.store.rows.keys`, which holds the seam: what implements it is a database, in the room below."""

from __future__ import annotations

from orlop.store.rows.keys import TOC, Condemned, Identity, ObjectKeys, PendingUpload, StoredObject

__all__ = ["TOC", "Condemned", "Identity", "ObjectKeys", "PendingUpload", "StoredObject"]
