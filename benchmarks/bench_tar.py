"""The scanner of layers: headers a second, size of the table of contents, and peak memory.

`./dev run python benchmarks/bench_tar.py [ENTRIES]`; the default is 100,000. Each format is scanned by processes of
their own, in turn; the bytes come from memory, so that nothing but the scanner is timed.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from measure import MIB, PYTHON, report, run

from orlop.streams.tar import TarScanner
from orlop.streams.toc import TocWriter

if TYPE_CHECKING:
    from measure import Run

TURNS = 5
KINDS = ("ustar", "PAX")
RATES = {"ustar": 220_000, "PAX": 90_000}
TABLE = 2_000_000


def make(path: Path, kind: str, count: int) -> None:
    """Write a layer of many small files; a PAX member has a time with a fraction, as those of real layers."""
    with path.open("wb") as file:
        for number in range(count):
            content = b"%d\n" % number * 20
            member = tarfile.TarInfo(f"usr/share/folder{number // 100}/file{number}.txt")
            member.size = len(content)
            member.mtime = 1767225600 + number % 1000 + (0.125 if kind == "PAX" else 0)
            head = member.tobuf(tarfile.PAX_FORMAT if kind == "PAX" else tarfile.USTAR_FORMAT)
            file.write(head + content + bytes(-len(content) % 512))
        file.write(bytes(1024))


def scan(path: Path, *, table: bool) -> dict[str, float]:
    """Scan a layer once, and return how long the scanner itself took."""
    sink = io.BytesIO()
    writer = TocWriter(sink)
    scanner = TarScanner(headers=writer.add if table else None)
    seconds = 0.0
    with path.open("rb") as file:
        while chunk := file.read(MIB):
            start = time.perf_counter()
            scanner.feed(chunk)
            seconds += time.perf_counter() - start
    start = time.perf_counter()
    summary = scanner.close()
    writer.close()
    seconds += time.perf_counter() - start
    return {"entries": summary.entries, "seconds": seconds, "table": len(sink.getvalue())}


def child(folder: Path, *words: str | Path) -> tuple[Run, dict[str, float]]:
    """Run this script for one piece of work, and return what it printed."""
    out = folder / "printed"
    done = run([*PYTHON, __file__, *words], stdout=out)
    found: dict[str, float] = json.loads(out.read_text(encoding="utf-8") or "{}")
    return done, found


def measure(folder: Path, count: int) -> dict[tuple[str, str], tuple[float, int, int]]:
    """Return for each format and kind of scan: entries a second, bytes of the table, and peak memory."""
    for kind in KINDS:
        # Made elsewhere: what a process has in memory counts as the peak of those that it starts.
        child(folder, "--make", folder / kind, kind, str(count))
    runs: dict[tuple[str, str], list[tuple[float, int, int]]] = {}
    for turn in range(TURNS + 1):
        for kind in KINDS:
            for how in ("--scan", "--table"):
                done, found = child(folder, how, folder / kind)
                if found["entries"] != count:
                    raise SystemExit(f"{found['entries']} entries of {count} were found in the {kind} layer")
                # The first turn fills caches.
                if turn:
                    rate = found["entries"] / found["seconds"]
                    runs.setdefault((kind, how), []).append((rate, int(found["table"]), done.peak))
    return {
        key: (statistics.median(rate for rate, _, _ in turns), turns[0][1], max(peak for _, _, peak in turns))
        for key, turns in runs.items()
    }


def main() -> None:
    match sys.argv[1:]:
        case ["--make", path, kind, number]:
            make(Path(path), kind, int(number))
            return
        case ["--scan" | "--table" as how, path]:
            print(json.dumps(scan(Path(path), table=how == "--table")))
            return
    parser = argparse.ArgumentParser()
    parser.add_argument("entries", type=int, nargs="?", default=100_000, help="of each layer")
    count = parser.parse_args().entries
    with tempfile.TemporaryDirectory(prefix="orlop-bench-") as folder:
        found = measure(Path(folder), count)
    lines = [
        "# Scanning layers",
        "",
        f"Layers of {count:,} small files, in pieces of 1 MiB from memory, checksums verified; medians of {TURNS}",
        f"processes each, in turn, on {os.cpu_count()} cores. Goals, for 100,000: {RATES['ustar']:,} ustar headers and",
        f"{RATES['PAX']:,} PAX entries a second, and a table of at most {TABLE // 10**6} MB.",
        "Made by `benchmarks/bench_tar.py`.",
        "",
        "| layer | entries a second | with its table of contents | table, MB | peak, MB |",
        "|---|---:|---:|---:|---:|",
    ]
    missed = []
    for kind, goal in RATES.items():
        rate, (with_table, size, peak) = found[kind, "--scan"][0], found[kind, "--table"]
        lines.append(f"| {kind} | {rate:,.0f} | {with_table:,.0f} | {size / 1e6:.2f} | {peak / 1e6:.0f} |")
        missed += [f"{kind}: {rate:,.0f} entries a second, not {goal:,}"] if rate < goal else []
        missed += [f"{kind}: a table of {size:,} bytes, not {TABLE:,}"] if size > TABLE else []
    report("tar", "\n".join([*lines, ""]))
    if missed:
        raise SystemExit(f"missed: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
