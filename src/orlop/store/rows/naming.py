"""What a config or a manifest names, as its bytes say: whatever an intact one names is needed.

These bytes are hashed, so that they stay right where the rows beside them are wrong. What they only mention, in a label
or an annotation, they do not need. To see that nothing is mentioned is a good deal faster than to read a document.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from orlop.errors import InvalidInput
from orlop.model.digest import Digest
from orlop.store.rows.content import CHILD, SUBJECT
from orlop.store.rows.edges import edges_of
from orlop.store.rows.image_facts import diff_ids_of
from orlop.store.rows.judging import chain_of, chain_problem, digest_of
from orlop.store.rows.values import damaged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from orlop.store.rows.going import Going

ANYTHING: Final = "*"
"""What a document mentions that writes letters or digits of digests as JSON's escapes: it may mention anything."""
_DIGEST: Final = re.compile(rb"sha(?:256:[0-9a-f]{64}|384:[0-9a-f]{96}|512:[0-9a-f]{128})")
_ESCAPED: Final = re.compile(rb"\\u00(?:3[0-9aA]|[67])")


def mentioned(document: bytes) -> set[str]:
    """Return every digest that a document mentions, and `ANYTHING` where it may mention others."""
    found = {one.decode() for one in _DIGEST.findall(document)}
    if _has_escapes(document):
        found.add(ANYTHING)
    return found


def mentions_any(digests: set[str]) -> Callable[[bytes], bool]:
    """Return what tells quickly whether a document mentions any of some digests, or may mention them."""
    sought = frozenset(digest.encode() for digest in digests)
    return lambda document: not sought.isdisjoint(_DIGEST.findall(document)) or _has_escapes(document)


def _has_escapes(document: bytes) -> bool:
    """Return whether letters or digits of digests may be written as escapes: others, as of an ampersand, are common."""
    return b"\\u00" in document and _ESCAPED.search(document) is not None


def lowest_chains(going: Going, place: str) -> dict[str, tuple[str | None, str]]:
    """Return the layers in their place that go and stand on none that goes: what names one above them names them.

    Raises:
        DatabaseDamaged: the row of one was not what its name says. What it led to is not known.
    """
    for chain in going.chains:
        problem = chain_problem(chain, *going.stood[chain])
        if problem is not None:
            raise damaged(place, problem.message)
    return {chain: going.stood[chain] for chain in going.chains if going.stood[chain][0] not in going.chains}


def named_by_config(going: Going, image: str, config: bytes) -> str | None:
    """Return a content or a layer that goes and that an image needs by its config, or nothing.

    An image whose config is damaged and cannot be read needs all contents that it mentions.
    """
    try:
        diff_ids = [str(one) for one in diff_ids_of(config)]
    except InvalidInput:
        # Bytes that are kept under their digest and are not images need nothing.
        contents = set() if digest_of(config, image) == image else mentioned(config)
        return min(contents & going.contents, default=None)
    chains: set[str] = set()
    chain: str | None = None
    for diff_id in diff_ids:
        chain = chain_of(chain, diff_id)
        chains.add(chain)
    return min(going.contents.intersection(diff_ids) | (going.chains & chains), default=None)


def named_by_manifest(going: Going, digest: str, content: bytes) -> str | None:
    """Return a blob or a manifest that goes and that a manifest or an index needs by its bytes, or nothing.

    One that is damaged needs all blobs that it mentions. Manifests that go with their image are not needed.
    """
    edges = edges_of(Digest.unchecked(digest), content)
    blobs = {str(edge.child) for edge in edges}
    if digest_of(content, digest) != digest:
        blobs |= mentioned(content)
    children = {str(edge.child) for edge in edges if edge.role == CHILD}
    return min((going.blobs & blobs) | ((going.manifests - going.taken) & children), default=None)


def require_known_subject(digest: str, content: bytes, recorded: Iterable[str], place: str) -> None:
    """Raise `DatabaseDamaged` where a manifest that nothing reaches refers to something, and no row says so.

    It stays as long as that does: whether it may go was asked of ``recorded``, what it refers to by its rows.
    """
    edges = edges_of(Digest.unchecked(digest), content)
    hidden = {str(edge.child) for edge in edges if edge.role == SUBJECT}.difference(recorded)
    if hidden:
        raise damaged(place, f"the manifest {digest} was to go, but it refers to {min(hidden)}, which no row says")
