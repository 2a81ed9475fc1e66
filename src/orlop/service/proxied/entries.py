"""What a pull-through cache keeps, as rows: names of its own, beside those that people give.

A cached tag is a row that means a manifest, as that of a person's name is, but under a name that no reference can be:
``cache:docker.io/library/alpine`` with ``:3.20``. So nothing that a person named, loaded or pulled is ever changed or
evicted by the cache, and content that both keep is kept once. Its time says when the upstream was last asked.

Beside it each cached manifest of a repository has the row ``@DIGEST``. It says that the repository has that manifest,
and its time when it was last used, to the hour: a pull must not cost a write. Children of an index are reached by the
index, and stay as long as that does.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from orlop.store.content import CACHED, sound_manifest
from orlop.store.rows.metadata import TopRow

if TYPE_CHECKING:
    from orlop.model.digest import Digest
    from orlop.model.reference import Reference
    from orlop.store.root import Store
    from orlop.store.rows.metadata import ManifestRow, Rows

_USED_STEP: Final = 3600 * 1_000_000_000
"""Times of use are written when they are so much older, in nanoseconds."""


class Entries:
    """The entries of a cache in a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def tagged(self, name: Reference) -> tuple[ManifestRow, int] | None:
        """Return what a tag means, and when the upstream said so, in nanoseconds since 1970."""
        with self._store.metadata.read() as rows:
            top = rows.top(_key(name), f":{name.tag}")
            # One that is damaged is fetched anew, as if it were lost.
            row = None if top is None else sound_manifest(rows, top.digest)
        return None if top is None or row is None else (row, top.updated)

    def manifest(self, name: Reference, digest: Digest) -> ManifestRow | None:
        """Return a manifest of a repository by its digest."""
        with self._store.metadata.read() as rows:
            return sound_manifest(rows, digest) if rows.top(_key(name), f"@{digest}") is not None else None

    def meant(self, rows: Rows, name: Reference, of: str | Digest) -> str | None:
        """Return the digest to which a tag or a digest of a repository leads."""
        top = rows.top(_key(name), f":{of}" if isinstance(of, str) else f"@{of}")
        return None if top is None else str(top.digest)

    def size_of_blob(self, name: Reference, digest: Digest) -> int | None:
        """Return the size of a blob that a cached manifest of a repository names; nothing where none does."""
        with self._store.metadata.read() as rows:
            for edge in rows.edges_to(digest):
                if edge.role in {"config", "layer"} and rows.top(_key(name), f"@{edge.parent}") is not None:
                    return edge.size
        return None

    def keep(self, name: Reference, row: ManifestRow) -> None:
        """Keep a manifest in a repository, under its digest, and under the tag if the name has one."""
        now = self._store.now()
        with self._store.metadata.write() as rows:
            rows.put_manifest(row, ())
            for suffix in (f"@{row.digest}", *(() if name.tag is None else (f":{name.tag}",))):
                rows.put_top(TopRow(_key(name), suffix, row.digest, now))
                rows.touch_top(_key(name), suffix, now)

    def confirm(self, name: Reference) -> None:
        """Note that the upstream says that a tag still means what it did."""
        with self._store.metadata.write() as rows:
            rows.touch_top(_key(name), f":{name.tag}", self._store.now())

    def use(self, name: Reference, digest: Digest) -> None:
        """Note that a manifest is used, where that was not noted within the hour."""
        with self._store.metadata.read() as rows:
            top = rows.top(_key(name), f"@{digest}")
        now = self._store.now()
        if top is not None and now - top.updated >= _USED_STEP:
            with self._store.metadata.write() as rows:
                rows.touch_top(_key(name), f"@{digest}", now)

    def forget_tag(self, name: Reference) -> None:
        """Forget what a tag means, as the upstream has it no longer; the manifest stays under its digest."""
        with self._store.metadata.write() as rows:
            rows.delete_top(_key(name), f":{name.tag}")

    def drop_loose(self, digest: Digest) -> bool:
        """Remove a blob to which nothing leads, not even an entry by now, and return whether it went."""
        with self._store.metadata.read() as rows:
            if rows.edges_to(digest):
                return False
        with self._store.metadata.write() as rows:
            gone = rows.forget_blobs([digest])
            self._store.blobs.remove(rows, gone)
        return bool(gone)

    def size(self) -> int:
        """Return how many bytes of blobs are here for the cache alone."""
        with self._store.metadata.read() as rows:
            return _Weight(rows).total

    def evict(self, most: int) -> int:
        """Forget what was used least recently until no more than so many bytes are left; return how many are.

        What alone has more than that goes first: it cannot stay, whatever else would make room for it.
        Each manifest goes in a write of its own. What a person has named, or is being read, stays in the store.
        """
        with self._store.metadata.read() as rows:
            weight = _Weight(rows)
        for top in weight.order(most):
            if weight.total <= most:
                break
            with self._store.metadata.write() as rows:
                rows.delete_tops((one.name, one.suffix) for one in rows.tops(top.digest) if one.name == top.name)
                self._store.content.sweep(rows)
            weight.drop(top)
        return weight.total


class _Weight:
    """What the blobs of a cache weigh, each once, and without those that images have."""

    def __init__(self, rows: Rows) -> None:
        found = [top for top in rows.tops() if top.name.startswith(CACHED) and top.suffix.startswith("@")]
        self._oldest = sorted(found, key=lambda top: (top.updated, top.name, top.suffix))
        self._named: dict[Digest, list[Digest]] = {}
        # What a manifest leads to, whether it is here yet or not.
        self._alone: dict[Digest, int] = {}
        self._sizes: dict[Digest, int] = {}
        self._needed: Counter[Digest] = Counter()
        for top in found:
            if top.digest not in self._named:
                sizes = {edge.child: edge.size for edge in rows.edges(top.digest)}
                self._named[top.digest] = list(sizes)
                self._alone[top.digest] = sum(size for blob, size in sizes.items() if not rows.diffs_of(blob))
            for blob in self._named[top.digest]:
                self._needed[blob] += 1
        for blob in self._needed:
            row = rows.blob(blob)
            if row is not None and not rows.diffs_of(blob):
                self._sizes[blob] = row.size
        self.total = sum(self._sizes.values())

    def order(self, most: int) -> list[TopRow]:
        """Return the entries in the order in which they go: those of more than so many bytes, then the oldest."""
        return sorted(self._oldest, key=lambda top: self._alone[top.digest] <= most)

    def drop(self, top: TopRow) -> None:
        """Take an entry away."""
        for blob in self._named[top.digest]:
            self._needed[blob] -= 1
            if not self._needed[blob]:
                self.total -= self._sizes.pop(blob, 0)


def _key(name: Reference) -> str:
    return f"{CACHED}{name.name}"
