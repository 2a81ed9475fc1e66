"""Draw `docs/architecture.svg` from the code: its rooms, and the directions of the imports between them.

python docs/generate_architecture.py            draws it
python docs/generate_architecture.py --check    ends with status 1 where it is not up to date

A room is a package or module right below `orlop`, a room within it a package below that. A room stands below the lowest
room that imports it. Arrows lead to the nearest rooms that a room imports; the text in a box names all. An arrow
that passes a row goes down a lane at the right.
"""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

import grimp

if TYPE_CHECKING:
    from collections.abc import Iterator

TARGET: Final = Path(__file__).with_name("architecture.svg")
_SOURCE: Final = Path(__file__).parents[1] / "src" / "orlop"
# `testing` is for other people's tests and may import everything; the others belong to Python.
_BESIDE: Final = {"testing", "__main__", "_version"}
_WIDTH: Final = 880
_MARGIN: Final = 24
_GAP: Final = 34
_LINE: Final = 20
_LANE: Final = 36
_STYLE: Final = """\
svg { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
.paper { fill: #ffffff; } .box { fill: #f6f8fa; stroke: #8c959f; } .inner { fill: #ddf4ff; stroke: #54aeff; }
text { fill: #1f2328; } .name { font-size: 16px; font-weight: 700; } .faint { fill: #57606a; font-size: 12px; }
.arrow { stroke: #57606a; fill: none; stroke-width: 1.5; } .head { fill: #57606a; }
@media (prefers-color-scheme: dark) {
  .paper { fill: #0d1117; } .box { fill: #161b22; stroke: #6e7681; } .inner { fill: #0c2d6b; stroke: #388bfd; }
  text { fill: #e6edf3; } .faint { fill: #9198a1; } .arrow { stroke: #9198a1; } .head { fill: #9198a1; }
}"""


class Rooms:
    """The rooms of the package and what they import of one another."""

    def __init__(self) -> None:
        graph = grimp.build_graph("orlop", cache_dir=None)
        names = {module.split(".")[1] for module in graph.modules if "." in module} - _BESIDE
        self.imports: dict[str, set[str]] = {name: set() for name in sorted(names)}
        self.inner: dict[str, list[str]] = {name: [] for name in self.imports}
        for module in sorted(graph.modules):
            _, room, *below = [*module.split("."), ""]
            if room not in self.imports:
                continue
            for imported in graph.find_modules_directly_imported_by(module):
                other = f"{imported}.".split(".")[1]
                if other in names and other != room:
                    self.imports[room].add(other)
            if below[1:] == [""] and graph.find_children(module):
                self.inner[room].append(below[0])

    @cache  # noqa: B019 - there is one of them, as long as the script runs
    def row(self, room: str) -> int:
        """Return how many rooms stand above one, in the longest line of imports."""
        return 1 + max((self.row(other) for other, below in self.imports.items() if room in below), default=-1)

    def nearest(self, room: str) -> list[str]:
        """Return the rooms that one imports, without those that one of these imports, however far down."""
        far = {below for other in self.imports[room] for below in self._all_below(other)}
        return sorted(self.imports[room] - far)

    def rows(self) -> list[list[str]]:
        """Return the rooms of each row, the highest first."""
        return [list(row) for _, row in groupby(sorted(self.imports, key=self._place), key=self.row)]

    def long(self) -> list[tuple[str, str]]:
        """Return the arrows that pass a row."""
        return [(room, to) for room in self.imports for to in self.nearest(room) if self.row(to) > self.row(room) + 1]

    def listed(self, room: str) -> str:
        """Return the names of all rooms that one imports, the highest first."""
        return ", ".join(sorted(self.imports[room], key=self._place))

    def _place(self, room: str) -> tuple[int, str]:
        return self.row(room), room

    def _all_below(self, room: str) -> set[str]:
        return self.imports[room].union(*(self._all_below(other) for other in self.imports[room]))


def purpose(room: str) -> str:
    """Return the first sentence of a room's docstring."""
    path = _SOURCE / room / "__init__.py"
    text = ast.get_docstring(ast.parse((path if path.exists() else _SOURCE / f"{room}.py").read_text())) or ""
    return text.partition("\n\n")[0].replace("\n", " ").replace("`", "").partition(". ")[0].rstrip(".")


@dataclass(frozen=True)
class Box:
    """A room in the picture; ``lines`` are each a text and whether it is faint."""

    room: str
    x: int
    y: int
    width: int
    lines: list[tuple[str, bool]]
    inner: list[str]

    @property
    def height(self) -> int:
        """How high it is with all that is in it."""
        return 34 + _LINE * len(self.lines) + (30 if self.inner else 0)

    def drawn(self) -> Iterator[str]:
        """Yield its elements."""
        yield f'<rect class="box" x="{self.x}" y="{self.y}" width="{self.width}" height="{self.height}" rx="8"/>'
        yield f'<text class="name" x="{self.x + 14}" y="{self.y + 24}">{self.room}</text>'
        for number, (line, faint) in enumerate(self.lines, 1):
            kind = ' class="faint"' if faint else ""
            yield f'<text{kind} x="{self.x + 14}" y="{self.y + 24 + _LINE * number}">{escape(line)}</text>'
        x = self.x + 14
        y = self.y + 30 + _LINE * len(self.lines)
        for name in self.inner:
            width = 8 * len(name) + 18
            yield f'<rect class="inner" x="{x}" y="{y}" width="{width}" height="24" rx="6"/>'
            yield f'<text x="{x + width // 2}" y="{y + 17}" text-anchor="middle">{name}</text>'
            x += width + 8


def boxes(rooms: Rooms) -> dict[str, Box]:
    """Return where each room stands."""
    placed: dict[str, Box] = {}
    y = _MARGIN
    for number, row in enumerate(rooms.rows()):
        passed = any(rooms.row(room) < number < rooms.row(to) for room, to in rooms.long())
        space = _WIDTH - 2 * _MARGIN - (_LANE if passed else 0)
        width = (space - _GAP * (len(row) - 1)) // len(row)
        for place, room in enumerate(row):
            lines = [(line, False) for line in wrap(purpose(room), (width - 28) // 7)]
            if rooms.imports[room]:
                lines += [(line, True) for line in wrap(f"imports {rooms.listed(room)}", (width - 28) // 7)]
            placed[room] = Box(room, _MARGIN + place * (width + _GAP), y, width, lines, rooms.inner[room])
        y += max(placed[room].height for room in row) + _GAP
    return placed


def arrows(rooms: Rooms, placed: dict[str, Box]) -> Iterator[str]:
    """Yield a line from each room to the nearest ones that it imports."""
    for room, box in placed.items():
        targets = rooms.nearest(room)
        for number, other in enumerate(targets, 1):
            to = placed[other]
            left, right = max(box.x, to.x), min(box.x + box.width, to.x + to.width)
            x = left + (right - left) * number // (len(targets) + 1)
            bottom = max(placed[same].y + placed[same].height for same in placed if placed[same].y == box.y)
            lane = f"V{bottom + _GAP // 2}H{_WIDTH - _MARGIN - _LANE // 3}" if (room, other) in rooms.long() else ""
            yield f'<path class="arrow" d="M{x} {box.y + box.height}{lane}V{to.y - 2}" marker-end="url(#head)"/>'


def document() -> str:
    """Return the picture."""
    rooms = Rooms()
    placed = boxes(rooms)
    height = max(box.y + box.height for box in placed.values()) + _MARGIN
    words = "; ".join(
        f"{room} imports {', '.join(sorted(below)) or 'nothing'}" for room, below in rooms.imports.items()
    )
    size = f'viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
    head = 'viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title desc">',
        f'<title id="title">The rooms of orlop</title>\n<desc id="desc">{words}.</desc>\n<style>\n{_STYLE}\n</style>',
        f'<defs><marker id="head" {head}><path class="head" d="M0 0 10 5 0 10z"/></marker></defs>',
        f'<rect class="paper" width="{_WIDTH}" height="{height}" rx="12"/>',
        *arrows(rooms, placed),
        *(part for box in placed.values() for part in box.drawn()),
        "</svg>\n",
    ]
    return "\n".join(parts)


def main(arguments: list[str]) -> int:
    """Draw the picture, or compare it; return the exit status."""
    text = document()
    if "--check" in arguments:
        return int(not TARGET.exists() or TARGET.read_text(encoding="utf-8") != text)
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
