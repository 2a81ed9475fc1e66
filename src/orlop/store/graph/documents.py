"""Manifests and indexes as a graph: where they lead, and what reaches them."""

from __future__ import annotations

from orlop.store.rows.content import CHILD, CONFIG, SUBJECT
from orlop.store.rows.speaking import index_of, said_by

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from orlop.model.digest import Digest
    from orlop.store.rows.metadata import Rows, TopRow

_NOTHING: tuple[str, ...] = ()


class Documents:
    """The manifests and indexes of a store, and their edges, as digests in the form of texts: these hash fast.

    ``digests`` has every document that is there. What an edge leads to need not be: an index may lack a child that
    something refers to.
    """

    __slots__ = (
        "_children",
        "_configs",
        "_names",
        "_parents",
        "_referrers",
        "_said",
        "_subjects",
        "came",
        "digests",
        "tops",
    )

    def __init__(self, rows: Rows) -> None:
        self.digests: Mapping[str, Digest] = {str(digest): digest for digest in rows.manifest_digests()}
        self.tops: Sequence[TopRow] = rows.tops()
        self.came: dict[str, list[str]] = {}
        """The documents that came with each image, by the image's ID."""
        self._children: dict[str, list[str]] = {}
        self._configs: set[tuple[str, str]] = set()
        self._parents: dict[str, list[str]] = {}
        self._referrers: dict[str, list[str]] = {}
        self._subjects: dict[str, list[str]] = {}
        self._names: dict[str, list[str]] = {}
        for image, digest in rows.came():
            self.came.setdefault(str(image), []).append(str(digest))
        for edge in rows.all_edges():
            parent, child = str(edge.parent), str(edge.child)
            if edge.role == SUBJECT:
                self._referrers.setdefault(child, []).append(parent)
                self._subjects.setdefault(parent, []).append(child)
                continue
            self._names.setdefault(parent, []).append(child)
            if edge.role == CHILD:
                self._children.setdefault(parent, []).append(child)
                self._parents.setdefault(child, []).append(parent)
            elif edge.role == CONFIG:
                self._configs.add((parent, child))
        self._said = self._read_said(rows)

    def _read_said(self, rows: Rows) -> dict[str, set[str]]:
        """Read of what documents speak that have no subject, as the indexes that name them say: few, and seldom any."""
        candidates = {
            document
            for image, documents in self.came.items()
            for document in documents
            if document in self._parents
            and document not in self._subjects
            and document not in self._children
            and (document, image) not in self._configs
        }
        found: dict[str, set[str]] = {}
        for parent in {parent for one in candidates for parent in self._parents[one] if parent in self.digests}:
            for child, subjects in said_by(index_of(rows, self.digests[parent])).items():
                if str(child) in candidates:
                    found.setdefault(str(child), set()).update(map(str, subjects))
        return found

    def named(self, document: str) -> Sequence[str]:
        """Return what a document leads to downwards, once for each time: children, configs, layers and blobs."""
        return self._names.get(document, _NOTHING)

    def is_of(self, document: str, image: str) -> bool:
        """Return whether a document is a manifest of an image, and goes with it: its config is the image's."""
        return (document, image) in self._configs

    def is_index(self, document: str) -> bool:
        """Return whether a document has children."""
        return document in self._children

    def children(self, document: str) -> Sequence[str]:
        """Return what an index lists."""
        return self._children.get(document, _NOTHING)

    def parents(self, document: str) -> Sequence[str]:
        """Return the indexes of which a document is a child."""
        return self._parents.get(document, _NOTHING)

    def subjects(self, document: str) -> Sequence[str]:
        """Return what a document refers to."""
        return self._subjects.get(document, _NOTHING)

    def spoken_of(self, document: str) -> Collection[str]:
        """Return what a document refers to; where it does not say so, of what else in it an index says it speaks."""
        return self._subjects.get(document, _NOTHING) or self._said.get(document, _NOTHING)

    def reached(
        self, starts: Iterable[str], *, but: Collection[str] = frozenset(), there: Collection[str] | None = None
    ) -> set[str]:
        """Return all that stays as long as some documents do, with themselves: their children, and what refers to them.

        Args:
            starts: where to begin.
            but: what is not reached, whatever leads there.
            there: the documents that are left; by default, all.
        """
        left = self.digests if there is None else there
        found = {start for start in starts if start not in but}
        waiting = list(found)
        while waiting:
            current = waiting.pop()
            children = self._children.get(current, _NOTHING) if current in left else _NOTHING
            for near in (children, [one for one in self._referrers.get(current, _NOTHING) if one in left]):
                for one in near:
                    if one not in found and one not in but:
                        found.add(one)
                        waiting.append(one)
        return found

    def below(self, document: str) -> set[str]:
        """Return all to which an index leads, without itself; nothing for a manifest."""
        found = {document}
        waiting = [document]
        while waiting:
            for child in self._children.get(waiting.pop(), _NOTHING):
                if child not in found:
                    found.add(child)
                    waiting.append(child)
        found.discard(document)
        return found

    def indexed(self) -> dict[str, set[tuple[str, str]]]:
        """Return, for each image below an index that has a name, the names of such indexes, as ``(name, suffix)``."""
        images: dict[str, list[str]] = {}
        for image, documents in self.came.items():
            for document in documents:
                images.setdefault(document, []).append(image)
        below: dict[str, set[str]] = {}
        for digest in self._children_first(dict.fromkeys(str(top.digest) for top in self.tops)):
            below[digest] = self._images_below(digest, images, below)
        found: dict[str, set[tuple[str, str]]] = {}
        for top in self.tops:
            for image in below[str(top.digest)]:
                found.setdefault(image, set()).add((top.name, top.suffix))
        return found

    def _images_below(
        self, document: str, images: Mapping[str, Sequence[str]], known: Mapping[str, Collection[str]]
    ) -> set[str]:
        """Return the images below a document, with the help of those that are known of others below it."""
        found: set[str] = set()
        seen = {document}
        waiting = [document]
        while waiting:
            for child in self._children.get(waiting.pop(), _NOTHING):
                if child in seen:
                    continue
                seen.add(child)
                found.update(images.get(child, ()))
                if child in known:
                    found.update(known[child])
                else:
                    waiting.append(child)
        return found

    def _children_first(self, starts: Iterable[str]) -> list[str]:
        """Return some documents, each after those of them below it; in a loop, in any order."""
        wanted = dict.fromkeys(starts)
        seen: set[str] = set()
        order: list[str] = []
        for start in wanted:
            waiting = [(start, False)]
            while waiting:
                current, is_done = waiting.pop()
                if is_done:
                    order.append(current)
                elif current not in seen:
                    seen.add(current)
                    waiting.append((current, True))
                    waiting.extend((child, False) for child in self._children.get(current, _NOTHING))
        return [document for document in order if document in wanted]
