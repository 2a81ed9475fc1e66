"""Two views compared: which paths were added, removed or changed, in what, and why two builds are not the same.

Attributes are compared from tables of contents alone. Content is known to be the same where both views take it from
the same place of the same layer, and known to differ where sizes do. Of the rest, in different layers and of the same
size, `Difference.uncertain` counts the files, unless contents are compared: then it is read, each file of both
sides at the same time, and compared by its digest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orlop.errors import InvalidFilter
from orlop.inside.holes import digest_of
from orlop.inside.info import in_order
from orlop.model.tuples import NamedTuple
from orlop.streams.tar_entry import TYPE_DIR, TYPE_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orlop.inside.info import FileInfo
    from orlop.inside.node import Node
    from orlop.inside.view import ImageFiles

__all__ = ["FACTS", "Change", "Difference", "compare", "read_ignored"]

FACTS: Final = ("type", "mode", "owner", "size", "time", "target", "device", "xattrs", "content")
"""What may differ at a path, in the order in which it is told."""


class Change(NamedTuple):
    """What differs at a path.

    ``kind`` is ``added``, ``removed`` or ``changed``; ``facts`` are those of `FACTS` that differ; ``before`` and
    ``after`` what both sides have there.
    """

    path: str
    kind: str
    facts: tuple[str, ...]
    before: FileInfo | None
    after: FileInfo | None


@dataclass(frozen=True, slots=True)
class Difference:
    """Changes, in the order of their paths; ``uncertain`` counts files whose contents were not compared."""

    changes: tuple[Change, ...]
    uncertain: int


def read_ignored(text: str) -> frozenset[str]:
    """Return the facts that a text names, with commas between them. Raises InvalidFilter where one is not known."""
    names = frozenset(text.split(","))
    unknown = sorted(names - set(FACTS))
    if unknown:
        raise InvalidFilter(f"{unknown[0]!r} is not an attribute to ignore; choose from {', '.join(FACTS)}")
    return names


def compare(
    old: ImageFiles, new: ImageFiles, *, ignore: frozenset[str] = frozenset(), contents: bool = False
) -> Difference:
    """Compare two views.

    Args:
        old: what was before.
        new: what is after.
        ignore: facts of `FACTS` that may differ.
        contents: read files of the same size in different layers.

    Raises:
        What reading layers raises, where contents are compared.
    """
    pairs: list[tuple[str, Node | None, Node | None, list[str]]] = []
    unsure: list[tuple[int, Node, Node]] = []
    for path, before, after in _pairs(old, new):
        facts = _facts(before, after) if before is not None and after is not None else []
        if before is not None and after is not None and _is_unsure(old, new, before, after):
            unsure.append((len(pairs), before, after))
        elif not facts and before is not None and after is not None:
            continue
        pairs.append((path, before, after, facts))
    asked = contents and "content" not in ignore
    if asked:
        for number in _differing(old, new, unsure):
            pairs[number][3].append("content")
    changes = []
    for path, before, after, facts in pairs:
        if "size" in facts and "size" in ignore:
            facts.append("content")  # of another size, it is another one
        left = tuple(fact for fact in facts if fact not in ignore)
        if left or before is None or after is None:
            kind = "added" if before is None else "removed" if after is None else "changed"
            infos = [None if node is None else side.info(path, node) for side, node in ((old, before), (new, after))]
            changes.append(Change(path, kind, left, *infos))
    return Difference(tuple(changes), 0 if asked or "content" in ignore else len(unsure))


def _pairs(old: ImageFiles, new: ImageFiles) -> Iterator[tuple[str, Node | None, Node | None]]:
    """Yield each path of either side with what both have there, in the order of a walk."""
    stack: list[tuple[str, Node | None, Node | None]] = [
        ("/", old.node("/", follow=False), new.node("/", follow=False)),
    ]
    while stack:
        path, before, after = stack.pop()
        yield path, before, after
        left = (before.children if before is not None else None) or {}
        right = (after.children if after is not None else None) or {}
        if left is not right and (left or right):
            base = "" if path == "/" else path
            names = in_order({**left, **right})
            stack += [(f"{base}/{name}", left.get(name), right.get(name)) for name in reversed(names)]


def _facts(before: Node, after: Node) -> list[str]:
    if before.type != after.type:
        return ["type"]
    one, other = before.attributes, after.attributes
    content, others = before.content, after.content
    differing = {
        "mode": before.mode != after.mode,
        "owner": (one.uid, one.gid) != (other.uid, other.gid),
        "size": before.size != after.size,
        "time": one.mtime != other.mtime,
        "target": before.type not in {TYPE_FILE, TYPE_DIR} and content.linkname != others.linkname,
        "device": (content.devmajor, content.devminor) != (others.devmajor, others.devminor),
        "xattrs": before.xattrs != after.xattrs,
    }
    return [fact for fact, differs in differing.items() if differs]


def _is_unsure(old: ImageFiles, new: ImageFiles, before: Node, after: Node) -> bool:
    """Return whether two files may have different contents although nothing known of them says so."""
    if before.type != TYPE_FILE or after.type != TYPE_FILE or before.size != after.size or not before.size:
        return False
    same = old.layers[before.origin].diff_id == new.layers[after.origin].diff_id
    return not same or before.content.header_offset != after.content.header_offset


def _differing(old: ImageFiles, new: ImageFiles, unsure: Sequence[tuple[int, Node, Node]]) -> Iterator[int]:
    """Yield the numbers of those pairs whose contents differ."""
    # In the order of one side's layers, so that these are read forward.
    ordered = sorted(unsure, key=lambda one: (one[2].origin, one[2].content.header_offset))
    with (
        old.places(((before.origin, before.content) for _, before, _ in ordered), longest_hole=0) as left,
        new.places(((after.origin, after.content) for _, _, after in ordered), longest_hole=0) as right,
    ):
        for number, before, after in ordered:
            holes = before.content.sparse or after.content.sparse
            one = digest_of(left, (before.origin, before.content), holes=holes)
            if one != digest_of(right, (after.origin, after.content), holes=holes):
                yield number
