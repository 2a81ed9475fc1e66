"""What looking at all of a store costs, over hashing its blobs: `orlop fsck`, beside the programs that are the floor.

`./dev run python benchmarks/bench_fsck.py [--turns N] [--size MIB] [--images N]`

Writes `docs/benchmarks/fsck.md`. About two minutes, and 1 GB of the temporary folder.
"""

from __future__ import annotations

import argparse
import gzip
import shutil
import tempfile
from pathlib import Path

import inputs
from bench_scale import build
from measure import MIB, ORLOP, medians, paragraph, report, run

GOAL = 2.5


def stored(folder: Path, name: str, layers: list[tuple[bytes, bytes]]) -> Path:
    """Load an image into a store of its own, and return its root."""
    archive = folder / f"{name}.tar"
    inputs.pack(archive, f"bench/{name}:1", layers)
    run([*ORLOP, "--root", folder / name, "load", "-q", "-i", archive])
    archive.unlink()
    return folder / name


def stored_forms(folder: Path, mib: int) -> tuple[int, Path, Path]:
    """Load an image of three layers twice, plain and packed by gzip; return the size of its layers, and both roots."""
    layers = inputs.system_layers(mib * MIB, 3)
    plain = stored(folder, "plain", [(layer, layer) for layer in layers])
    packed = stored(folder, "gzip", [(layer, gzip.compress(layer, 6)) for layer in layers])
    return sum(map(len, layers)), plain, packed


def blobs(root: Path) -> list[str]:
    return sorted(str(path) for path in (root / "blobs" / "sha256").iterdir())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--size", type=int, default=215, help="of the image, in MiB")
    parser.add_argument("--images", type=int, default=10_000, help="in the store of many")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="orlop-bench-") as name:
        folder = Path(name)
        size, plain, packed = stored_forms(folder, options.size)
        build(folder / "many", options.images)
        subjects = {
            "sha256sum": ["sha256sum", *blobs(plain)],
            "openssl": ["openssl", "dgst", "-sha256", *blobs(plain)],
            "fsck": [*ORLOP, "--root", str(plain), "fsck"],
            "quick": [*ORLOP, "--root", str(plain), "fsck", "--quick"],
            "fsck, gzip": [*ORLOP, "--root", str(packed), "fsck"],
            "fsck, many": [*ORLOP, "--root", str(folder / "many"), "fsck"],
            "quick, many": [*ORLOP, "--root", str(folder / "many"), "fsck", "--quick"],
        }
        if shutil.which("unpigz"):
            subjects["unpigz"] = ["unpigz", "-k", "-c", *blobs(packed)]
        found = medians(subjects, turns=options.turns)
    floor = found["openssl"]
    rows = [
        ("`sha256sum` of all blobs", "sha256sum"),
        ("`openssl dgst -sha256` of all blobs, the floor", "openssl"),
        ("`orlop fsck`", "fsck"),
        ("`orlop fsck --quick`", "quick"),
        *([("`unpigz` of all blobs, layers of gzip", "unpigz")] if "unpigz" in found else []),
        ("`orlop fsck`, layers of gzip", "fsck, gzip"),
        (f"`orlop fsck`, {options.images:,} images", "fsck, many"),
        (f"`orlop fsck --quick`, {options.images:,} images", "quick, many"),
    ]
    over = found["fsck"] / floor
    lines = [
        "# A look at all of a store",
        "",
        paragraph(
            f"An image of {size / 1e6:.0f} MB in 3 layers; medians of {options.turns} whole processes each, start-up"
            " included, in turn. A look reads every blob once, for its digest, its diff ID and its table of contents,"
            " two layers at a time; a quick one compares rows and sizes. Made by `benchmarks/bench_fsck.py`."
        ),
        "",
        "| work | seconds | over `openssl` | over `sha256sum` |",
        "|---|---:|---:|---:|",
        *(
            f"| {what} | {found[name]:.2f} | {found[name] / floor:.2f} | {found[name] / found['sha256sum']:.2f} |"
            for what, name in rows
        ),
        "",
        f"The goal is at most {GOAL:g} times `openssl`: {over:.2f}{' (missed)' if over > GOAL else ''}.",
        "",
    ]
    report("fsck", "\n".join(lines))
    if over > GOAL:
        raise SystemExit(f"missed: orlop fsck takes {over:.2f} times as long as openssl")


if __name__ == "__main__":
    main()
