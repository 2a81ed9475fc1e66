"""What would be left of a store if names and images went, one after the other.

The rules are those by which rows go: an image takes its own manifests and its chain along, a name what it meant, and
each of them what nothing else needs. Rows look only near to what went, and so does this: what was unneeded before is
garbage, and stays.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from orlop.model.digest import ChainID, DiffID
from orlop.store.rows.rows import EVERYTHING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from orlop.model.digest import Digest, ImageID
    from orlop.store.graph.snapshot import Snapshot

_EVERYTHING = str(EVERYTHING)


class Remains:
    """The rows that would be left. What goes is noted in ``gone_contents`` and ``gone_blobs``, in its order.

    Args:
        found: what there is now; it stays as it is.
    """

    def __init__(self, found: Snapshot) -> None:
        self.chains = {row.chain_id: row for row in found.stacks.rows}
        """The layers in their place that would be left."""
        self.contents: dict[DiffID, list[str]] = {diff_id: [] for diff_id in found.diff_ids}
        """The layers' contents that would be left, with their stored forms."""
        self.blobs: dict[str, Digest] = {str(row.digest): row.digest for row in found.opaque}
        """The blobs that would be left."""
        self.gone_contents: list[DiffID] = []
        self.gone_blobs: list[Digest] = []
        self._held = Counter(str(digest) for digests in found.leases.values() for digest in digests)
        # What refers to a chain, a content and a blob: images and chains above; chains; contents and documents.
        self._on_chain = Counter(row.chain_id for row in found.images if row.chain_id is not None)
        self._on_chain.update(row.parent for row in self.chains.values() if row.parent is not None)
        self._on_content = Counter(row.diff_id for row in self.chains.values())
        self._on_blob: Counter[str] = Counter()
        for number, blob in found.forms:
            text = str(blob.digest)
            self.blobs[text] = blob.digest
            self.contents[found.diff_ids[number]].append(text)
            self._on_blob[text] += 1
        self._graph = found.documents
        self._documents = set(found.documents.digests)
        for document in self._documents:
            self._on_blob.update(found.documents.named(document))
            self._on_blob.update(found.documents.subjects(document))
        self._came = Counter(document for documents in found.documents.came.values() for document in documents)
        self._tops = {(top.name, top.suffix): str(top.digest) for top in found.documents.tops}
        self._named = Counter(self._tops.values())

    @property
    def documents(self) -> Collection[str]:
        """The manifests and indexes that would be left."""
        return self._documents

    def is_held(self, digest: Digest | str) -> bool:
        """Return whether a lease names this, or everything."""
        return self._held[str(digest)] > 0 or self._held[_EVERYTHING] > 0

    # Leases.

    def drop(self, digests: Sequence[Digest]) -> Iterator[ChainID]:
        """End leases on some content, and yield the layers that go for it."""
        self._held.subtract(map(str, digests))
        left: Sequence[Digest] = digests
        if EVERYTHING in digests:
            loose = sorted(chain_id for chain_id in self.chains if self._on_chain[chain_id] == 0)
            left = [*loose, *sorted(diff_id for diff_id in self.contents if self._on_content[diff_id] == 0)]
        for digest in left:
            yield from self._release(ChainID.wrap(digest))
            self._release_content(DiffID.wrap(digest))

    # Names and images.

    def untag(self, name: str, suffix: str) -> None:
        """Take a name away, and what it meant."""
        digest = self._tops.pop((name, suffix), None)
        if digest is not None:
            self._named[digest] -= 1
            self._prune_near({digest})

    def delete(self, image: ImageID, chain_id: ChainID | None) -> Iterator[ChainID]:
        """Take an image away whose names are gone, and yield the layers that go with it, top first."""
        came = self._graph.came.get(str(image), ())
        for document in came:
            self._came[document] -= 1
        left = [document for document in came if self._came[document] == 0]
        if left:
            near = self._graph.reached(left, there=self._documents)
            own = {one for one in left if self._graph.is_of(one, str(image)) and not self._held[one]}
            self._forget([*own, *(one for one in left if one not in own and self._attests(one, own))])
            self._prune_near(near)
        if chain_id is not None:
            self._on_chain[chain_id] -= 1
            yield from self._release(chain_id)

    def _attests(self, document: str, gone: set[str]) -> bool:
        """Return whether what came with an image only speaks of manifests that go, and is only beside them."""
        if self._held[document] > 0 or self._named[document] > 0 or self._graph.is_index(document):
            return False
        if any(gone.isdisjoint(self._graph.children(parent)) for parent in self._graph.parents(document)):
            return False
        return not gone.isdisjoint(self._graph.spoken_of(document))

    # Documents.

    def losing(self) -> set[str]:
        """Return the documents that went and led to a blob that went."""
        blobs = set(map(str, self.gone_blobs))
        gone = [one for one in self._graph.digests if one not in self._documents]
        found = {one for one in gone if not blobs.isdisjoint(self._graph.named(one))} if blobs else set()
        waiting = list(found)
        while waiting:
            current = waiting.pop()
            for above in (*self._graph.parents(current), *self._graph.subjects(current)):
                if above not in found and above not in self._documents:
                    found.add(above)
                    waiting.append(above)
        return found

    def _is_root(self, digest: str) -> bool:
        return self._named[digest] > 0 or self._came[digest] > 0 or self._held[digest] > 0

    def _prune_near(self, starts: Iterable[str]) -> None:
        """Forget those of some documents, and of all to which they lead, that nothing reaches any more."""
        if self._held[_EVERYTHING] > 0 or all(self._is_root(start) for start in starts):
            return
        near = self._graph.reached(starts, there=self._documents)
        inside = [one for one in near if self._is_root(one) or self._is_kept_outside(one, near)]
        self._forget((near - self._graph.reached(inside, there=self._documents)) & self._documents)

    def _is_kept_outside(self, document: str, near: set[str]) -> bool:
        if self._documents & self._outside(self._graph.parents(document), near):
            return True
        # What is gone itself is not kept, whatever it referred to.
        subjects = self._graph.subjects(document) if document in self._documents else ()
        return any(map(self._is_known, self._outside(subjects, near)))

    def _outside(self, documents: Iterable[str], near: set[str]) -> set[str]:
        return {one for one in documents if one not in near}

    def _is_known(self, document: str) -> bool:
        """Return whether a document is there, or an index or a lease names it: then it leads to what refers to it."""
        return (
            document in self._documents
            or self._held[document] > 0
            or not self._documents.isdisjoint(self._graph.parents(document))
        )

    def _forget(self, documents: Iterable[str]) -> None:
        freed: set[str] = set()
        for document in documents:
            if document not in self._documents:
                continue
            self._documents.discard(document)
            self._on_blob.subtract(self._graph.subjects(document))
            self._on_blob.subtract(self._graph.named(document))
            freed.update(self._graph.named(document))
            # A name whose image is gone may still mean it.
            self._named[document] = 0
        for digest in sorted(freed):
            self._release_blob(digest)

    # Layers.

    def _release(self, chain_id: ChainID) -> Iterator[ChainID]:
        """Take a layer away, and those below it, as far as nothing needs them."""
        current: ChainID | None = chain_id
        while current is not None and current in self.chains:
            if self._on_chain[current] > 0 or self.is_held(current):
                break
            row = self.chains.pop(current)
            self._on_content[row.diff_id] -= 1
            self._release_content(row.diff_id)
            yield current
            current = row.parent
            if current is not None:
                self._on_chain[current] -= 1

    def _release_content(self, diff_id: DiffID) -> None:
        """Take a layer's content away if nothing needs it."""
        if diff_id not in self.contents or self._on_content[diff_id] > 0 or self.is_held(diff_id):
            return
        self.gone_contents.append(diff_id)
        for digest in self.contents.pop(diff_id):
            self._on_blob[digest] -= 1
            self._release_blob(digest)

    def _release_blob(self, digest: str) -> None:
        if digest in self.blobs and self._on_blob[digest] == 0 and not self.is_held(digest):
            self.gone_blobs.append(self.blobs.pop(digest))
