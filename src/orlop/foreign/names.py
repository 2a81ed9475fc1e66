"""The names that a root has for an image, as references, and how messages speak of a root."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.errors import InvalidRoot, OrlopError
from orlop.intake.words import Words
from orlop.model.digest import Digest
from orlop.model.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Iterable


def words_of(name: str, part: str) -> Words:
    """Return how messages speak of a root, or of a store in one, and of its parts."""
    return Words(
        name=name,
        part=part,
        verb="rescue",
        meanwhile="while the image was rescued",
        advice="take it from where it is",
        error=InvalidRoot,
    )


def references(names: Iterable[str]) -> tuple[tuple[Reference, ...], tuple[Reference, ...], list[str]]:
    """Return the tags, the names by digest, and what is wrong with the others, of the names of an image."""
    tags: dict[Reference, None] = {}
    digests: dict[Reference, None] = {}
    problems: list[str] = []
    for name in names:
        try:
            found = Reference.parse(name)
            if found.digest is not None:
                digests[Reference(found.domain, found.path, None, Digest.parse(str(found.digest)))] = None
            elif found.tag is not None:
                tags[found] = None
            else:
                problems.append(f"its name {name!r} has no tag")
        except OrlopError:
            problems.append(f"its name {name!r} is not a valid one")
    return tuple(tags), tuple(digests), problems
