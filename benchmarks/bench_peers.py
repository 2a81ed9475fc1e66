"""Loading and saving, against the floors (one hash, one copy on disk) and against other programs, in one run.

`./dev run python benchmarks/bench_peers.py [--turns N] [--no-gate] [--inputs FOLDER] [--without-large]`, as root where
Docker Engine and podman are to take part. Every subject runs once a turn, the medians count. The goals are gated on the
floors of the same run; other programs are informative, and are left out where they are not installed. Makes its inputs
(`inputs.py`), and writes `docs/benchmarks/peers.md` and its chart. About 9 minutes, and 8 GB of the temporary folder.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import inputs
from agreement import check_layers, image_ids
from measure import ROOT, paragraph, report
from subjects import engine, floors, ours, podman, skopeo, start_engine, versions

if TYPE_CHECKING:
    from collections.abc import Iterable

    from subjects import Subject

LARGE_TURNS = 3


@dataclass(frozen=True)
class Goal:
    """What was reached, and the most, or for ``faster`` the least, that it is to be; and what the ``floor`` reaches."""

    what: str
    reached: float
    wanted: float
    faster: bool = False
    floor: float | None = None

    @property
    def missed(self) -> bool:
        """Whether it is not what it is to be."""
        return self.reached < self.wanted if self.faster else self.reached > self.wanted

    def row(self) -> str:
        """Return the line of a table."""
        missed = " (missed)" if self.missed else ""
        bound = "at least" if self.faster else "at most"
        floor = "" if self.floor is None else f" {self.floor:.2f} |"
        return f"| {self.what} | {self.reached:.2f}{missed} | {bound} {self.wanted:g} |{floor}"


class Medians:
    """The medians of one run, by name."""

    def __init__(self, subjects: list[Subject]) -> None:
        self._found = {subject.name: subject for subject in subjects if subject.seconds}

    def has(self, name: str) -> bool:
        """Return whether a subject took part."""
        return name in self._found

    def over(self, name: str, *floor: str) -> float:
        """Return a subject's time over that of others together."""
        return self._found[name].median / sum(self._found[one].median for one in floor)

    def peak(self, name: str) -> float:
        """Return the most memory that a subject had, in MB."""
        return self._found[name].peak / 1e6


def goals(found: Medians, table: int) -> list[Goal]:
    """Return the goals that are gated: all over floors of the same run."""
    made = [
        Goal("load, over copy+sync", found.over("orlop load", "copy+sync"), 1.6),
        Goal("load from a pipe, over load from a file", found.over("orlop load, pipe", "orlop load"), 1.3),
        Goal("load of a gzip layer, over unpigz", found.over("orlop load, gzip layer", "unpigz"), 1.5),
        Goal(
            "load of a zstd layer, over unzstd, a hash of what it gives and copy+sync of what is kept",
            found.over("orlop load, zstd layer", "unzstd", "hash, plain layer", "copy+sync, zstd layer"),
            1.5,
        ),
        Goal("save, over copy+sync", found.over("orlop save", "copy+sync"), 1.8),
        *(
            Goal(
                f"save of a {form} layer, over {unpack} and copy+sync of the plain layer",
                found.over(f"orlop save, {form} layer", unpack, "copy+sync, plain layer"),
                1.5,
            )
            for form, unpack in (("gzip", "unpigz"), ("zstd", "unzstd"))
        ),
        Goal(
            "load of 100,000 small files, over copy+sync",
            found.over("orlop load, small files", "copy+sync, small files"),
            4.0,
        ),
        Goal("peak of 100,000 small files, MB", found.peak("orlop load, small files"), 80.0),
        Goal("table of contents of 100,000 small files, MB", table / 1e6, 2.0),
    ]
    if found.has("orlop load, large layer"):
        floor = "copy+sync, large layer"
        made += [
            Goal("load of a large layer, over copy+sync", found.over("orlop load, large layer", floor), 1.6),
            Goal("save of a large layer, over copy+sync", found.over("orlop save, large layer", floor), 1.8),
        ]
    return made


def wishes(found: Medians) -> list[Goal]:
    """Return what is wanted against the other programs that took part."""
    times = [
        ("skopeo's copy to dir, over load", "skopeo → dir", "orlop load", 1.5),
        ("Engine's load, over load", "Engine load", "orlop load", 7.0),
        ("Engine's save, over save", "Engine save", "orlop save", 5.0),
    ]
    made = [
        Goal(what, found.over(other, ours), least, faster=True, floor=found.over(other, "copy+sync"))
        for what, other, ours, least in times
        if found.has(other)
    ]
    again = "Engine load, already there"
    if found.has(again):
        reached, floor = found.over("orlop load, already there", again), found.over("python -c pass", again)
        made.append(Goal("load, already there, over Engine's", reached, 0.5, floor=floor))
    return made


def chart(subjects: list[Subject]) -> str:
    """Draw the medians as bars."""
    widest = max(subject.median for subject in subjects)
    rows = []
    for number, subject in enumerate(subjects):
        top, width = 10 + number * 24, 460 * subject.median / widest
        colour = "#2b6cb0" if subject.name.startswith("orlop") else "#a0aec0"
        rows.append(
            f'<text x="240" y="{top + 14}" text-anchor="end">{subject.name}</text>'
            f'<rect x="250" y="{top}" width="{width:.1f}" height="18" fill="{colour}"/>'
            f'<text x="{256 + width:.1f}" y="{top + 14}">{subject.median:.2f} s</text>'
        )
    height = 20 + len(subjects) * 24
    style = "font: 12px sans-serif"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="780" height="{height}" style="{style}">'
        # Its words are dark: it is read on dark pages, too.
        f'<rect width="780" height="{height}" rx="8" fill="#fff"/>{"".join(rows)}</svg>\n'
    )


@dataclass(frozen=True)
class Measured:
    """One run: its subjects, the bytes of the small files' table of contents, what the image is, and what agreed."""

    subjects: list[Subject]
    table: int
    origin: str
    agreed: str


def measure(options: argparse.Namespace, work: Path, stack: ExitStack) -> Measured:
    """Run every subject in turn, and compare what came of it."""
    kept = options.inputs or work / "inputs"
    # A process of its own: the system counts what this one has in memory as its children's peak.
    subprocess.run([sys.executable, inputs.__file__, str(kept)], check=True)
    made = inputs.places(kept)
    large = -1 if options.without_large else LARGE_TURNS
    subjects = floors(made, work, large) + ours(made, work, large)
    if shutil.which("skopeo"):
        subjects += skopeo(made, work, large)
    if shutil.which("podman") and os.geteuid() == 0:
        subjects += podman(made, work)
    with_engine = start_engine(work, stack)
    if with_engine:
        subjects += engine(made, work)
    for turn in range(options.turns + 1):
        for subject in subjects:
            subject.turn(turn)
    agreed = agreement(check_layers(made, work), image_ids(work, with_engine=with_engine))
    table = sum(path.stat().st_size for path in (work / "small" / "toc" / "sha256").iterdir())
    taken = [subject for subject in subjects if subject.seconds]
    return Measured(taken, table, made["origin.txt"].read_text(encoding="utf-8"), agreed)


def agreement(archives: list[str], ids: dict[str, str]) -> str:
    """Return what was compared and found equal."""
    asked = [name for name in ids if not name.endswith(".tar")]
    told = (
        f"The layers in {_all(f'`{name}`' for name in archives)} have the digests of those that were loaded."
        f" {_all(asked)} {'gives' if len(asked) == 1 else 'give'} the image one ID, `{ids['orlop']}`, and orlop gives"
        " it to what each of them saved."
    )
    return paragraph(told)


def _all(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def written(measured: Measured, turns: int) -> str:
    """Write the page."""
    subjects, table, origin, found = measured.subjects, measured.table, measured.origin, Medians(measured.subjects)
    copied = next(subject.median for subject in subjects if subject.name == "copy+sync")
    told = versions()
    others = ", ".join(f"{name} {version}" for name, version in told.items()) or "no other program installed"
    large = ""
    if found.has("orlop load, large layer"):
        large = f"The large layer is 1,000 MiB that cannot be compressed, with {min(turns, LARGE_TURNS)} turns. "
    lines = [
        "# Against the floor and against other programs",
        "",
        paragraph(
            f"An image of about 225 MB in 3 layers: {origin}. Medians of {turns} whole processes each, start-up"
            f" included, in turn, on {os.cpu_count()} cores. {large}Beside it: {others}. Made by"
            " `benchmarks/bench_peers.py`."
        ),
        "",
        "Loading into an Engine or into podman also unpacks every layer for containers to run; orlop does not.",
        "",
        "![Medians in seconds](peers.svg)",
        "",
        "| work | seconds | over copy+sync | peak, MB |",
        "|---|---:|---:|---:|",
        *(f"| {one.name} | {one.median:.2f} | {one.median / copied:.2f} | {one.peak / 1e6:.0f} |" for one in subjects),
        "",
        "What is held to, over floors of the same run:",
        "",
        "| goal | reached | wanted |",
        "|---|---:|---:|",
        *(goal.row() for goal in goals(found, table)),
        "",
    ]
    if wished := wishes(found):
        lines += [
            "Against the other programs. Nothing is held to it, as their times are not ours; the last column is what a",
            "command that only copied and synced the archive (or, where nothing is copied, only started) would reach:",
            "",
            "| against | reached | wanted | floor |",
            "|---|---:|---:|---:|",
            *(wish.row() for wish in wished),
            "",
        ]
    return "\n".join([*lines, measured.agreed, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--no-gate", action="store_true")
    parser.add_argument("--without-large", action="store_true", help="leave the layer of 1,000 MiB out")
    parser.add_argument("--inputs", type=Path, help="a folder in which the inputs are kept for the next run")
    options = parser.parse_args()
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="orlop-bench-")))
        measured = measure(options, work, stack)
    report("peers", written(measured, options.turns))
    drawn = [subject for subject in measured.subjects if not subject.name.endswith(", large layer")]
    (ROOT / "docs" / "benchmarks" / "peers.svg").write_text(chart(drawn), encoding="utf-8")
    missed = [goal.what for goal in goals(Medians(measured.subjects), measured.table) if goal.missed]
    if missed and not options.no_gate:
        raise SystemExit(f"missed: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
