"""An index of images for a store backend that has none: made by a walk, and kept as long as nothing changes."""

from __future__ import annotations

import threading
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orlop.errors import ContentNotFound, IntegrityError, InvalidInput
from orlop.model.digest import ImageID
from orlop.store.backends.backend import Revisioned
from orlop.store.rows.metadata import parent_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orlop.store.backends.backend import StoreBackend


@dataclass(frozen=True, slots=True)
class _Walk:
    """What one walk found: all IDs as text, sorted, and every image's children."""

    revision: object
    ids: list[str]
    children: Mapping[ImageID, list[ImageID]]


class WalkedIndex:
    """An `ImageIndex` over any backend. Nothing is read before the first question.

    With a backend that is `Revisioned` an answer costs what the revision costs, until something changes. With any other
    each question walks, so that no answer is ever out of date. Safe to share between threads.
    """

    def __init__(self, backend: StoreBackend) -> None:
        self._backend = backend
        self._guard = threading.Lock()
        self._last: _Walk | None = None

    def ids_with_prefix(self, prefix: str, limit: int) -> list[ImageID]:
        """Return at most ``limit`` IDs that start with ``prefix`` (with its algorithm)."""
        ids = self._walk().ids
        at = bisect_left(ids, prefix)
        found: list[ImageID] = []
        while at < len(ids) and len(found) < limit and ids[at].startswith(prefix):
            found.append(ImageID.unchecked(ids[at]))
            at += 1
        return found

    def children(self, image: ImageID) -> list[ImageID]:
        """Return the images whose parent this is."""
        return list(self._walk().children.get(image, ()))

    def heads(self) -> Iterable[ImageID]:
        """Return the images that are nobody's parent."""
        walk = self._walk()
        return [image for image in map(ImageID.unchecked, walk.ids) if image not in walk.children]

    def _walk(self) -> _Walk:
        # The revision is asked for before the walk: what changes meanwhile makes the next question walk again.
        revision = self._backend.revision() if isinstance(self._backend, Revisioned) else None
        with self._guard:
            last = self._last
        if last is not None and revision is not None and last.revision == revision:
            return last
        ids: list[str] = []
        children: dict[ImageID, list[ImageID]] = {}
        for digest in sorted(self._backend.walk()):
            ids.append(str(digest))
            try:
                parent = parent_of(self._backend.get_metadata(digest, "parent"))
            except (ContentNotFound, IntegrityError, InvalidInput):
                continue
            if parent is not None:
                children.setdefault(parent, []).append(ImageID.wrap(digest))
        walk = _Walk(revision, ids, children)
        with self._guard:
            self._last = walk
        return walk
