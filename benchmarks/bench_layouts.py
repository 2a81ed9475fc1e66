"""What a save of an OCI layout costs, over a copy of the same bytes that is synced, and over compressors themselves.

`./dev run python benchmarks/bench_layouts.py [--turns N] [--size MIB]`

Writes `docs/benchmarks/layouts.md`: seconds by the clock, and those of the processor, which others on the machine
disturb less. Beside each floor stands the same with the SHA-256 of what is read and written, which orlop has to check
and to give. About five minutes, and 2 GB of the temporary folder. `zstd` and `pigz` take part where they are
installed; both run with two threads, so run this on two processors: `taskset -c 0,1 …`.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import tempfile
from pathlib import Path
from typing import Final

from bench_fsck import blobs, stored_forms
from measure import ORLOP, median_runs, paragraph, report

COPY_GOAL: Final = 1.3
COMPRESS_GOAL: Final = 1.2
NAME: Final = "bench/{}:1"


def shell(*lines: str) -> list[str]:
    return ["sh", "-ec", "\n".join(lines)]


def copied(out: Path, root: Path) -> list[str]:
    """Return what copies the blobs of a store and puts them on disk, into a new folder."""
    files = shlex.join(blobs(root))
    return shell(f"rm -rf {out}", f"mkdir {out}", f"cp --reflink=never {files} {out}", f"sync {out}/* {out}")


def joined(out: Path, root: Path) -> list[str]:
    """Return what puts the blobs of a store behind one another into a file, on disk."""
    return shell(f"rm -rf {out}", f"cat {shlex.join(blobs(root))} > {out}", f"sync {out}")


def packed(out: Path, root: Path, command: str) -> list[str]:
    """Return what compresses each blob of a store into a new folder, on disk."""
    lines = [f"{command} < {shlex.quote(blob)} > {out}/{number}" for number, blob in enumerate(blobs(root))]
    return shell(f"rm -rf {out}", f"mkdir {out}", *lines, f"sync {out}/* {out}")


def hashed(command: list[str], *files: str) -> list[str]:
    """Return a command with the SHA-256 of files after it."""
    return [*command[:-1], f"{command[-1]}\nopenssl dgst -sha256 {' '.join(files)} > /dev/null"]


def saved(out: Path, root: Path, *options: str) -> list[str]:
    name = NAME.format(root.name)
    words = [*ORLOP, "--root", str(root), "save", *options, "-o", str(out), name]
    return shell(f"rm -rf {out}", shlex.join(words))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--size", type=int, default=215, help="of the image, in MiB")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="orlop-bench-") as name:
        folder = Path(name)
        size, plain, came = stored_forms(folder, options.size)
        out = folder / "out"
        subjects = {
            "copy": copied(out, plain),
            "oci-dir": saved(out, plain, "--format", "oci-dir"),
            "join": joined(out, plain),
            "oci": saved(out, plain, "--format", "oci"),
            "copy, hashed": hashed(copied(out, plain), f"{out}/*"),
            "join, hashed": hashed(joined(out, plain), shlex.join(blobs(plain))),
            "copy, gzip": copied(out, came),
            "copy, gzip, hashed": hashed(copied(out, came), f"{out}/*"),
            "oci-dir, gzip": saved(out, came, "--format", "oci-dir"),
        }
        for program, form in (("zstd -q -T2 -3 -c", "zstd:3"), ("pigz -p2 -n -6 -c", "gzip:6")):
            if shutil.which(program.split()[0]):
                subjects[program] = packed(out, plain, program)
                subjects[f"{program}, hashed"] = hashed(subjects[program], shlex.join(blobs(plain)), f"{out}/*")
                subjects[form] = saved(out, plain, "--format", "oci-dir", "--compress", form)
        runs = median_runs(subjects, turns=options.turns)
    found = {name: one.seconds for name, one in runs.items()}
    spent = {name: one.processor for name, one in runs.items()}
    rows = [
        ("`save --format oci-dir`, plain layers", "oci-dir", "copy", "`cp`, `sync`", COPY_GOAL),
        ("`save --format oci`, plain layers", "oci", "join", "`cat`, `sync`", COPY_GOAL),
        ("`save --format oci-dir`, layers of gzip", "oci-dir, gzip", "copy, gzip", "`cp`, `sync`", COPY_GOAL),
        ("`… --compress zstd:3`", "zstd:3", "zstd -q -T2 -3 -c", "`zstd -T2 -3`, `sync`", COMPRESS_GOAL),
        ("`… --compress gzip:6`", "gzip:6", "pigz -p2 -n -6 -c", "`pigz -p2 -6`, `sync`", COMPRESS_GOAL),
    ]
    measured = [(*row, found[row[1]] / found[row[2]]) for row in rows if row[1] in found]
    lines = [
        "# Layouts that are saved",
        "",
        paragraph(
            f"An image of {size / 1e6:.0f} MB in 3 layers; medians of {options.turns} whole processes each, start-up"
            " included, in turn. All of it is verified on its way, and on disk in the end. Made by"
            " `benchmarks/bench_layouts.py`."
        ),
        "",
        "| work | seconds | floor | seconds | ratio | goal |",
        "|---|---:|---|---:|---:|---:|",
        *(
            f"| {what} | {found[name]:.2f} | {floor_name} | {found[floor]:.2f} |"
            f" {over:.2f}{' (missed)' if over > goal else ''} | at most {goal:g} |"
            for what, name, floor, floor_name, goal, over in measured
        ),
        "",
        paragraph(
            "In seconds of the processor, of all threads together. What orlop keeps or gives has a digest that must be"
            " right, so it hashes what it reads, and what it compresses; the third column is the floor with `openssl"
            " dgst -sha256` of the same bytes. What is left is mostly start-up."
        ),
        "",
        "| work | seconds | floor | floor, hashed | over the floor | over the hashed one |",
        "|---|---:|---:|---:|---:|---:|",
        *(
            f"| {what} | {spent[name]:.2f} | {spent[floor]:.2f} | {spent[f'{floor}, hashed']:.2f} |"
            f" {spent[name] / spent[floor]:.2f} | {spent[name] / spent[f'{floor}, hashed']:.2f} |"
            for what, name, floor, *_ in measured
        ),
        "",
    ]
    report("layouts", "\n".join(lines))
    if missed := [what for what, _, _, _, goal, over in measured if over > goal]:
        raise SystemExit(f"missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
