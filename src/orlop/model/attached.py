"""Tags that attach: under which cosign keeps what speaks of a manifest and has no subject that says so.

Such a tag is made of the digest of the manifest, as in ``sha256-HEX.sig``: nothing else leads from one to the other. So
what carries signatures carries their tags, too.
"""

from __future__ import annotations

from orlop.model.digest import Digest
from orlop.model.generic import TypeVar
from orlop.model.reference import MAX_TAG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from typing import Final

    from orlop.model.manifest import Index, Manifest

_T = TypeVar("_T")

SUFFIXES: Final = (".sig", ".att", ".sbom")


def attached_tags(subject: Digest) -> Iterable[str]:
    """Return the tags under which cosign keeps what speaks of a manifest; none where they would be too long."""
    tags = (f"{subject.algorithm}-{subject.hex}{suffix}" for suffix in SUFFIXES)
    return [tag for tag in tags if len(tag) <= MAX_TAG]


def attached_to(tag: str) -> Digest | None:
    """Return the manifest of which what has a tag speaks; nothing where the tag does not attach."""
    stem, dot, suffix = tag.rpartition(".")
    algorithm, _, hexadecimal = stem.partition("-")
    digest = Digest.unchecked(f"{algorithm}:{hexadecimal}")
    return digest if f"{dot}{suffix}" in SUFFIXES and digest.is_valid else None


def refers_to(text: str, document: Callable[[], Manifest | Index | None]) -> frozenset[Digest]:
    """Return what an entry of a layout without a name of its own, or a tag, refers to; nothing where it is by itself.

    A tag that attaches says one, and a subject another; often only one of them is there. An entry goes with what it
    refers to only once all of that is gone. An entry with any other text is called so, and refers to nothing.

    Args:
        text: the tag or the text that it is called by; empty where it has none.
        document: returns the manifest or index, and None where it is neither, or cannot be read. It is not asked for
            what the text alone decides.
    """
    attached = attached_to(text)
    if text and attached is None:
        return frozenset()
    found = document()
    subject = None if found is None or found.subject is None else found.subject.digest
    return frozenset(one for one in (attached, subject) if one is not None)


def staying_beside(
    entries: Sequence[tuple[_T, Digest, frozenset[Digest]]], held: Collection[Digest], gone: Collection[Digest]
) -> list[_T]:
    """Return the entries of a layout that stay as others go: what they refer to stays, or was never there.

    Args:
        entries: each with its digest and with what it refers to, see `refers_to`.
        held: what the entries that stand for themselves lead to and that stays.
        gone: what goes. What is held, too, stays.
    """
    known = {*gone, *(digest for _, digest, _ in entries)}
    about: dict[Digest, list[int]] = {}
    staying: dict[int, None] = {}
    for number, (_, _, subjects) in enumerate(entries):
        for subject in subjects:
            about.setdefault(subject, []).append(number)
        if not subjects.isdisjoint(held) or subjects.isdisjoint(known):
            staying[number] = None
    waiting = list(staying)
    while waiting:
        found = [one for one in about.get(entries[waiting.pop()][1], ()) if one not in staying]
        staying.update(dict.fromkeys(found))
        waiting += found
    return [entries[number][0] for number in sorted(staying)]
