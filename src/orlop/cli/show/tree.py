"""Trees of content, for people: a line for each manifest, below what leads to it."""

from __future__ import annotations

from orlop.cli.show.units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orlop.service.listing.tree import ContentTree

_NONE = "<none>"


def tree_lines(trees: Sequence[ContentTree], *, whole: bool = False) -> Iterator[str]:
    """Yield the lines of trees. ``whole`` leaves digests as long as they are."""
    for tree in trees:
        yield f"{', '.join(tree.names) or _NONE}  {_described(tree, whole=whole)}"
        yield from _below(tree, "", whole=whole)


def _below(tree: ContentTree, before: str, *, whole: bool) -> Iterator[str]:
    for number, child in enumerate(tree.children, 1):
        is_last = number == len(tree.children)
        yield f"{before}{'└─ ' if is_last else '├─ '}{_described(child, whole=whole)}"
        yield from _below(child, before + ("   " if is_last else "│  "), whole=whole)


def _described(tree: ContentTree, *, whole: bool) -> str:
    digest = str(tree.digest) if whole else tree.digest.short
    words = [tree.kind, *([tree.label] if tree.label else []), digest, human_size(tree.size)]
    return " ".join([*words, *([] if tree.available else ["(not in this store)"])])
