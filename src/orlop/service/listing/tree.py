"""What names mean, as trees: an index with its platforms, below each what speaks of it, and artifacts."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from orlop.archive.oci_parts import Parts
from orlop.model.attached import attached_to
from orlop.model.digest import Digest, ImageID
from orlop.model.manifest import Index, Manifest
from orlop.model.values import dataclass, replace
from orlop.service.listing.content import find_content, kind_here
from orlop.service.listing.lookup import find_image
from orlop.store.content import ADDRESS, node_of, reference_of_top
from orlop.store.loose import loose_blob
from orlop.store.references import reference_of
from orlop.store.rows.content import SUBJECT
from orlop.store.rows.speaking import SPOKEN_OF

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.model.descriptor import Descriptor
    from orlop.model.names import ImageName
    from orlop.store.content import Node
    from orlop.store.root import Store
    from orlop.store.rows.metadata import Rows

DEEPEST: Final = 100
"""How deep trees are; indexes are nested less deep, but what refers to another may be referred to itself, and so on."""


@dataclass(frozen=True, slots=True)
class ContentTree:
    """A manifest or an index, and what is below it: children of an index, then what refers to it.

    ``kind`` is ``index``, ``image``, ``artifact``, or ``blob`` for what an index names that is not a manifest.
    ``label`` is the platform of an image and the type of an artifact. ``image`` is the ID of the image, if it is in the
    store; ``available`` says that the content itself is there. ``names`` are the tags that mean it. What refers to one
    another in a long chain stands side by side from a certain depth on.
    """

    digest: Digest
    kind: str
    label: str = ""
    size: int = 0
    available: bool = True
    image: ImageID | None = None
    names: tuple[str, ...] = ()
    children: tuple[ContentTree, ...] = ()


def content_tree(store: Store, name: ImageName | None = None) -> tuple[ContentTree, ...]:
    """See `orlop.service.ImageService.tree`."""
    with store.metadata.read() as rows:
        trees = _Trees(store, rows)
        if name is not None:
            return tuple(trees.root(digest, names) for digest, names in trees.named(store, name))
        return tuple(trees.all())


@dataclass(frozen=True, slots=True)
class _Deep:
    """Something whose trees are to be found: what refers to it, and what its index lists, if it is one."""

    digest: Digest
    index: Index | None


class _Trees:
    """The trees of one moment. Below one root, what refers to others is shown once, and what is in an index once."""

    def __init__(self, store: Store, rows: Rows) -> None:
        self._store = store
        self._rows = rows
        self._parts = Parts(store, rows)
        self._shown: set[Digest] = set()
        self._depth = 0
        self._deep: deque[_Deep] = deque()

    def all(self) -> Iterator[ContentTree]:
        """Yield all trees: first what stands for itself, then what is attached to that, and was not below it."""
        below: set[Digest] = set()
        waiting: list[tuple[Digest, tuple[str, ...]]] = []
        for digest, names in self._roots():
            if self._is_attached(digest):
                waiting.append((digest, names))
            else:
                yield self.root(digest, names)
                below |= self._shown
        for digest, names in waiting:
            if digest not in below:
                yield self.root(digest, names)
                below |= self._shown

    def _is_attached(self, digest: Digest) -> bool:
        """Return whether only tags lead to something that attach it to what is here."""
        tops = self._rows.tops(digest)
        attached = [attached_to(ADDRESS.text(top) or top.suffix.removeprefix(":")) for top in tops]
        return bool(tops) and all(one is not None and self._rows.manifest(one) is not None for one in attached)

    def _roots(self) -> list[tuple[Digest, tuple[str, ...]]]:
        """Return what names mean, sorted by names, then what has none and nothing leads to."""
        names: dict[Digest, list[str]] = {}
        for row in self._rows.tops():
            reference = reference_of_top(row)
            names.setdefault(row.digest, []).extend([] if reference is None else [reference.familiar])
        for one in self._rows.references():
            if one.suffix.startswith(":") and self._rows.top(one.name, one.suffix) is None:
                names.setdefault(self._own(one.image), []).append(reference_of(one).familiar)
        for image in self._rows.image_ids():
            if not self._rows.references(image=image):
                own = self._own(image)
                if own not in names and not any(edge.role != SUBJECT for edge in self._rows.edges_to(own)):
                    names[own] = []
        found = [(digest, tuple(sorted(texts))) for digest, texts in names.items()]
        return sorted(found, key=lambda one: (not one[1], one[1], one[0]))

    def named(self, store: Store, name: ImageName) -> list[tuple[Digest, tuple[str, ...]]]:
        """Return what one name means. Raises `ImageNotFound` where it means nothing."""
        content = find_content(store, name)
        if content is not None:
            return [(content[0], () if content[1] is None else (content[1].familiar,))]
        image = find_image(store, name)
        texts = [reference_of(row).familiar for row in self._rows.references(image=image) if row.suffix[0] == ":"]
        return [(self._own(image), tuple(texts))]

    def _own(self, image: Digest) -> Digest:
        """Return the manifest of an image, or its ID where it came without one."""
        for edge in self._rows.edges_to(image):
            if edge.role == "config":
                return edge.parent
        return Digest.wrap(image)

    def root(self, digest: Digest, shown: tuple[str, ...]) -> ContentTree:
        """Return the whole tree of a root, whatever others lead to."""
        self._shown.clear()
        return self.tree(digest, shown)

    def tree(self, digest: Digest, shown: tuple[str, ...] = (), *, entry: Descriptor | None = None) -> ContentTree:
        """Return what a digest leads to, under the names that are shown for it."""
        row = self._rows.manifest(digest)
        if row is None:
            return self._leaf(digest, shown, entry)
        is_shown = digest in self._shown
        self._shown.add(digest)
        if (blob := loose_blob(row)) is not None:
            return self._leaf(blob.digest, shown, blob)
        node = node_of(row)
        kind = kind_here(self._store, self._rows, node)
        label, image = self._label(node, kind, entry)
        index = node.document if isinstance(node.document, Index) and not is_shown else None
        found = self._below(_Deep(digest, index))
        return ContentTree(digest, kind, label, node.size, True, image, shown, found)

    def _below(self, parent: _Deep) -> tuple[ContentTree, ...]:
        """Return what is below something: at the last level also what would be deeper."""
        if self._depth == DEEPEST:
            self._deep.append(parent)
            return ()
        self._depth += 1
        found: list[ContentTree] = []
        self._collect(parent, found)
        while self._depth == DEEPEST and self._deep:
            self._collect(self._deep.popleft(), found)
        self._depth -= 1
        return tuple(found)

    def _collect(self, parent: _Deep, found: list[ContentTree]) -> None:
        if parent.index is not None:
            found += self._children(parent.index)
        found += self._referrers(parent.digest)

    def _children(self, index: Index) -> Iterator[ContentTree]:
        """Yield what an index lists; what speaks of another one of it, which speaks of none, stands below that."""
        said = [(child, self._spoken_of(child)) for child in index.manifests]
        known = {str(child.digest) for child in index.manifests}
        known -= {str(child.digest) for child, subject in said if subject in known}
        about: dict[str, dict[Digest, Descriptor]] = {}
        others: list[Descriptor] = []
        for child, subject in said:
            if subject in known:
                about.setdefault(subject, {})[child.digest] = child
            else:
                others.append(child)
        self._shown.update(*about.values())
        for child in others:
            below = self.tree(child.digest, entry=child)
            speaking = about.get(str(child.digest), {}).values()
            yield replace(below, children=(*(self.tree(one.digest, entry=one) for one in speaking), *below.children))

    def _referrers(self, digest: Digest) -> Iterator[ContentTree]:
        for edge in self._rows.edges_to(digest):
            if edge.role == SUBJECT and edge.parent not in self._shown:
                yield self.tree(edge.parent)
        for row, _ in self._parts.attached(digest, self._repositories(digest)):
            if row.digest not in self._shown:
                names = [reference_of_top(top) for top in self._rows.tops(row.digest)]
                yield self.tree(row.digest, tuple(sorted(name.familiar for name in names if name is not None)))

    def _repositories(self, digest: Digest) -> list[str]:
        """Return the repositories in which something has a name."""
        names = [top.name for top in self._rows.tops(digest)]
        for image in self._rows.images_of(digest):
            names += [row.name for row in self._rows.references(image=ImageID.wrap(image))]
        return list(dict.fromkeys(names))

    def _spoken_of(self, child: Descriptor) -> str:
        said = child.annotations.get(SPOKEN_OF, "")
        edges = [edge for edge in self._rows.edges(child.digest) if edge.role == SUBJECT]
        return str(edges[0].child) if edges else said

    def _label(self, node: Node, kind: str, entry: Descriptor | None) -> tuple[str, ImageID | None]:
        if not isinstance(node.document, Manifest):
            return "", None
        image = ImageID.wrap(node.document.config.digest)
        here = image if self._rows.image_row(image) is not None else None
        if kind != "image":
            return node.artifact_type or node.document.config.media_type, here
        platform = None if entry is None else entry.platform
        if platform is None and (config := self._rows.config(image)) is not None:
            from orlop.model.image import Image  # noqa: PLC0415 - an index says it of most

            return str(Image.from_json(config).platform).rstrip("/"), here
        return "" if platform is None else str(platform).rstrip("/"), here

    def _leaf(self, digest: Digest, shown: tuple[str, ...], entry: Descriptor | None) -> ContentTree:
        """Return what is not a manifest that is here: an image without one, a blob, or what is absent."""
        image = ImageID.wrap(digest)
        row = self._rows.image_row(image)
        if row is not None:
            return ContentTree(digest, "image", "", row.size, True, image, shown)
        blob = self._rows.blob(digest)
        if entry is not None and SPOKEN_OF in entry.annotations:
            return ContentTree(digest, "artifact", entry.artifact_type, entry.size, blob is not None, None, shown)
        platform = None if entry is None or entry.platform is None else str(entry.platform).rstrip("/")
        label = platform or ("" if entry is None else entry.media_type)
        kind = "image" if platform else "blob"
        return ContentTree(digest, kind, label, 0 if entry is None else entry.size, blob is not None, None, shown)
