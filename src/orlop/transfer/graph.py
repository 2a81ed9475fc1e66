"""What hangs together: manifests and indexes from their roots down, and the blobs that they name.

Children come before what names them, since a registry takes a manifest only when it has all of it. What the target has
under its digest already is not entered: a registry holds nothing that it has not got whole. Numbers are bounded, as a
stranger writes these documents.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from orlop.errors import DigestMismatch, IntegrityError, InvalidManifest, LimitExceeded, NotFound
from orlop.model.attached import refers_to
from orlop.model.manifest import INDEX_TYPES, MANIFEST_TYPES, Index, parse_manifest, withdrawn_blobs
from orlop.model.values import dataclass, field, replace
from orlop.store.loose import names_blobs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from orlop.model.descriptor import Descriptor
    from orlop.model.digest import Digest
    from orlop.model.manifest import Manifest
    from orlop.transfer.source import Root, Source

_DEEPEST: Final = 64
_MOST: Final = 100_000
"""Manifests and blobs that one transfer carries."""
_BYTES: Final = 256 << 20
"""Bytes of manifests that one transfer carries: they are in memory until the last of them is there."""
_KNOWN: Final = INDEX_TYPES | MANIFEST_TYPES
_MANIFEST: Final = "manifest"
_ELSEWHERE: Final = ("foreign", "nondistributable")


@dataclass(frozen=True, slots=True)
class Node:
    """A manifest or an index with its bytes; ``subject`` is what it refers to, if it does."""

    descriptor: Descriptor
    raw: bytes = field(repr=False)
    subject: Digest | None = None


@dataclass(frozen=True, slots=True)
class Graph:
    """What is to be carried: ``nodes`` in the order in which they may be pushed, and ``blobs``, each once."""

    nodes: tuple[Node, ...]
    blobs: tuple[Descriptor, ...]


class Gathering:
    """A graph under way.

    Args:
        source: where manifests are read.
        is_there: whether the target has a manifest, with all that it names.
        keeps: whether what an index names is wanted.
    """

    def __init__(
        self,
        source: Source,
        *,
        is_there: Callable[[Descriptor], bool] = lambda _: False,
        keeps: Callable[[Descriptor], bool] = lambda _: True,
    ) -> None:
        self._source = source
        self._is_there = is_there
        self._keeps = keeps
        self._nodes: dict[Digest, Node] = {}
        self._blobs: dict[Digest, Descriptor] = {}
        self._entered: set[Digest] = set()
        self._bytes = 0

    def add(self, roots: Iterable[Root]) -> None:
        """Add roots and all below them.

        Raises:
            NotFound: something is missing. IntegrityError: it is something else than its digest says.
            InvalidManifest: it can be read in two ways. LimitExceeded: there is too much of it.
        """
        for root in roots:
            self._enter(root.descriptor, 0)

    def graph(self) -> Graph:
        """Return what was gathered."""
        return Graph(tuple(self._nodes.values()), tuple(self._blobs.values()))

    def _enter(self, descriptor: Descriptor, depth: int) -> None:
        if descriptor.digest in self._entered:
            return
        self._entered.add(descriptor.digest)
        if depth > _DEEPEST:
            raise LimitExceeded(f"indexes are nested more than {_DEEPEST} deep; they are refused")
        if is_blob(descriptor):
            self._blobs.setdefault(descriptor.digest, descriptor)
            return
        raw = verified(self._source.manifest(descriptor), descriptor)
        self._bytes += len(raw)
        if self._bytes > _BYTES:
            raise LimitExceeded(
                f"{descriptor.digest} and the content related to it have more than {_BYTES >> 20} MiB of manifests;"
                " they are refused"
            )
        document = _parsed(raw, descriptor)
        if isinstance(document, Index):
            for child in document.manifests:
                if not self._keeps(child) or child.digest in self._entered:
                    continue
                if is_blob(child) or not self._is_there(child):
                    self._enter(child, depth + 1)
        elif document is not None:
            for blob in (document.config, *document.layers):
                if not (blob.urls and any(word in blob.media_type for word in _ELSEWHERE)):
                    self._blobs.setdefault(blob.digest, blob)
        elif names_blobs(descriptor):
            for blob in _withdrawn(raw):
                self._blobs.setdefault(blob.digest, blob)
        subject = None if document is None or document.subject is None else document.subject.digest
        if document is not None and document.media_type:
            # An entry may call it something else, under which no registry could give it to anybody.
            descriptor = replace(descriptor, media_type=document.media_type)
        self._nodes[descriptor.digest] = Node(descriptor, raw, subject)
        if len(self._nodes) + len(self._blobs) > _MOST:
            raise LimitExceeded(f"{descriptor.digest} leads to more than {_MOST} manifests and blobs; it is refused")


def is_blob(descriptor: Descriptor) -> bool:
    """Return whether what stands in a manifest's place is a blob by its type, as a layer in an index of a cache."""
    media_type = descriptor.media_type
    return bool(media_type) and media_type not in _KNOWN and _MANIFEST not in media_type


def referring(
    source: Source, roots: Iterable[Root], keeps: Callable[[Descriptor], bool] = lambda _: True
) -> dict[Digest, list[Root]]:
    """Return what refers to some manifests, to all below them, and to that in turn, by what it refers to.

    Args:
        source: where they are.
        roots: the manifests.
        keeps: whether what an index names is carried.

    Raises what `Gathering.add` raises.
    """
    found: dict[Digest, list[Root]] = {}
    asked: set[Digest] = set()
    gathering = Gathering(source, keeps=keeps)
    gathering.add(roots)
    while subjects := [one.descriptor.digest for one in gathering.graph().nodes if one.descriptor.digest not in asked]:
        asked.update(subjects)
        for subject in subjects:
            if named := source.referrers(subject):
                found[subject] = list(named)
                gathering.add(named)
    return found


def standing(source: Source, roots: list[Root]) -> list[Root]:
    """Return the roots of a layout that stand for themselves: not those that only refer to others of them.

    These have no name, or a tag that attaches them. Raises what `Gathering.add` raises.
    """
    about = {id(one) for one in roots if subjects(source, one)}
    others = [one for one in roots if id(one) not in about]
    if not about or not others:
        return roots
    found = {one.descriptor.digest for named in referring(source, others).values() for one in named}
    return [one for one in roots if id(one) not in about or one.descriptor.digest not in found]


def subjects(source: Source, root: Root) -> frozenset[Digest]:
    """Return what a root of a layout refers to, see `refers_to`; nothing if it is a blob, absent or damaged."""

    def document() -> Manifest | Index | None:
        try:
            return None if is_blob(root.descriptor) else parse_manifest(source.manifest(root.descriptor))
        except (IntegrityError, InvalidManifest, NotFound):
            return None

    return refers_to(root.tag or root.address, document)


def beside(referrer: Root) -> Root:
    """Return what refers to something as an entry of a layout: without a name, but for the tag that attaches it."""
    return replace(referrer, tag=None, name=None, address=referrer.tag or "")


def verified(raw: bytes, want: Descriptor) -> bytes:
    """Return the bytes of a manifest. Raises `DigestMismatch` where they are something else."""
    digest = want.digest
    if hashlib.new(digest.algorithm, raw).hexdigest() != digest.hex:
        raise DigestMismatch(f"the manifest {digest} is damaged where it comes from: its bytes have another digest")
    return raw


def _withdrawn(raw: bytes) -> tuple[Descriptor, ...]:
    """Return what a manifest of a withdrawn type names, as far as it can be read."""
    try:
        return withdrawn_blobs(raw)
    except InvalidManifest:
        return ()


def _parsed(raw: bytes, descriptor: Descriptor) -> Manifest | Index | None:
    """Return what a document says; None for one of a type that is not known, which names nothing that is."""
    try:
        return parse_manifest(raw)
    except InvalidManifest:
        if not descriptor.media_type or descriptor.media_type in _KNOWN:
            raise
        return None
