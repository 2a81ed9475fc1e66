"""What content of every kind costs in a store of 1,000, 10,000 and 100,000 images with indexes and attestations.

`./dev run python benchmarks/bench_content.py [--turns N] [IMAGES...]`

Writes `docs/benchmarks/content.md`. Every second image is for another platform; each pair is under an index with two
attestations, and the index has a name. So a hundred thousand images are a quarter of a million documents. Times are of
the processor: the clock says more about who else uses a machine.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from measure import ENVIRONMENT, ORLOP, PYTHON, paragraph, report

from orlop.model.digest import Digest
from orlop.model.reference import Reference
from orlop.store.content import top_row
from orlop.store.local import local_store
from orlop.store.rows.metadata import ManifestRow
from orlop.streams.tar_write import END, archive_chunks, member_header, padding

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orlop.store.root import Store

SIZES: Final = (1_000, 10_000, 100_000)
LINEAR_GOAL, LOAD_GOAL = 1.3, 1.3
"""How much more than ten times a look at everything may cost for ten times the images; and a load for any number."""
OCI: Final = "application/vnd.oci.image."
MANIFEST, INDEX, CONFIG, LAYER = (
    f"{OCI}{kind}" for kind in ("manifest.v1+json", "index.v1+json", "config.v1+json", "layer.v1.tar")
)
PLATFORMS: Final = ("amd64", "arm64")

# Each is run as a process of its own, on a store whose root is its first argument, and prints seconds.
NEEDS = """
import sys, time
from orlop.store.graph.needs import needs_of
from orlop.store.graph.snapshot import take_snapshot
from orlop.store.local import local_store
with local_store(sys.argv[1]) as store:
    start = time.process_time()
    with store.metadata.read() as rows:
        found = take_snapshot(rows)
    needs_of(found, ())
    print(time.process_time() - start)
"""
GARBAGE = """
import sys, time
from orlop.store.graph.garbage import unneeded
from orlop.store.local import local_store
with local_store(sys.argv[1]) as store:
    start = time.process_time()
    with store.metadata.read() as rows:
        unneeded(rows)
    print(time.process_time() - start)
"""


def packed(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def named(raw: bytes, media_type: str, **more: Any) -> dict[str, Any]:
    """Return the descriptor of some bytes."""
    return {"mediaType": media_type, "digest": str(Digest.of(raw)), "size": len(raw)} | more


def release(number: int | str, layer: bytes) -> tuple[list[bytes], list[bytes], list[bytes], bytes]:
    """Return the configs, manifests and attestations of one release for two platforms, and their index."""
    configs, manifests, attestations, children = [], [], [], []
    of_layer = named(layer, LAYER)
    for platform in PLATFORMS:
        rootfs = {"type": "layers", "diff_ids": [of_layer["digest"]]}
        labels = {"org.opencontainers.image.revision": f"{number:>040}"}
        created = "2026-01-01T00:00:00Z"
        document = {"architecture": platform, "os": "linux", "created": created, "config": {"Labels": labels}}
        configs.append(packed(document | {"rootfs": rootfs}))
        parts = {"config": named(configs[-1], CONFIG), "layers": [of_layer]}
        manifests.append(packed({"schemaVersion": 2, "mediaType": MANIFEST} | parts))
        image = named(manifests[-1], MANIFEST, platform={"os": "linux", "architecture": platform})
        statement = {"config": of_layer, "layers": [of_layer | {"mediaType": "application/vnd.in-toto+json"}]}
        about = {"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/vnd.example", "subject": image}
        attestations.append(packed(about | statement))
        notes = {"vnd.docker.reference.digest": image["digest"]}
        children += [image, named(attestations[-1], MANIFEST, annotations=notes)]
    return configs, manifests, attestations, packed({"schemaVersion": 2, "mediaType": INDEX, "manifests": children})


def layer_bytes() -> bytes:
    body = b"content"
    return member_header("file", size=len(body), mode=0o644) + body + padding(len(body)) + END


def keep(store: Store, number: int, layer: bytes) -> None:
    """Keep a release, as a load keeps it."""
    configs, manifests, attestations, index = release(number, layer)
    name = Reference.parse(f"registry.example.com/team/app-{number}:1.0")
    with store.metadata.write() as rows:
        images = [store.images.create(raw) for raw in configs]
        for image, own, about in zip(images, manifests, attestations, strict=True):
            for raw in (own, about):
                rows.put_manifest(ManifestRow(Digest.of(raw), MANIFEST, raw), [image])
        rows.put_manifest(ManifestRow(Digest.of(index), INDEX, index), images)
        store.references.set(name, images[0])
        rows.put_top(top_row(name, Digest.of(index), store.now()))


def build(root: Path, count: int) -> None:
    """Fill a store with images."""
    layer = layer_bytes()
    with local_store(root) as store:
        held = store.layers.register(io.BytesIO(layer), None)
        for start in range(0, count // 2, 5_000):
            with store.metadata.write():
                for number in range(start, min(start + 5_000, count // 2)):
                    keep(store, number, layer)
        store.layers.release(held)


def write_layout(path: Path, number: str) -> None:
    """Write a layout of one release."""
    layer = layer_bytes()
    configs, manifests, attestations, index = release(number, layer)
    note = {"io.containerd.image.name": f"docker.io/loaded/app:{number}"}
    files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}
    files |= {f"blobs/sha256/{Digest.of(raw).hex}": raw for raw in (layer, *configs, *manifests, *attestations, index)}
    files["index.json"] = packed({"schemaVersion": 2, "manifests": [named(index, INDEX, annotations=note)]})

    def chunks() -> Iterator[bytes]:
        for name, raw in sorted(files.items()):
            yield member_header(name, size=len(raw), mode=0o644) + raw + padding(len(raw))

    path.write_bytes(b"".join(archive_chunks(chunks())))


def spent(command: Sequence[str]) -> float:
    """Return the seconds of the processor that a whole process takes."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=ENVIRONMENT)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def inner(script: str, root: Path) -> float:
    done = subprocess.run([*PYTHON, "-c", script, str(root)], capture_output=True, text=True, check=True)
    return float(done.stdout)


def works(root: Path, turn: int) -> dict[str, float]:
    """Do every work once, on a store of one size."""
    orlop = [*ORLOP, "--root", str(root)]
    loaded = root.parent / f"{turn}.tar"
    return {
        "what is needed, of everything": inner(NEEDS, root),
        "what a collection would take": inner(GARBAGE, root),
        "`orlop gc`": spent([*orlop, "gc"]),
        "`orlop images -q`": spent([*orlop, "images", "-q"]),
        "`orlop images -aq`": spent([*orlop, "images", "-aq"]),
        "`orlop images --tree NAME`": spent([*orlop, "images", "--tree", "registry.example.com/team/app-7:1.0"]),
        "`orlop load` of two platforms": spent([*orlop, "load", "-q", "-i", str(loaded)]),
        "`orlop rmi` of them": spent([*orlop, "rmi", f"loaded/app:t{turn}"]),
    }


FLAT: Final = ("`orlop images --tree NAME`", "`orlop load` of two platforms")
"""What costs the same in a store of any size. A removal asks all rows once more before bytes go (ADR 0012)."""


def measure(folder: Path, sizes: Sequence[int], turns: int) -> dict[int, dict[str, float]]:
    """Measure all sizes in turn, so that a slow minute hits all."""
    for count in sizes:
        (folder / str(count)).mkdir()
        start = time.perf_counter()
        build(folder / str(count) / "root", count)
        print(f"{count:,} images made in {time.perf_counter() - start:.0f} s", file=sys.stderr)
        for turn in range(turns + 1):
            write_layout(folder / str(count) / f"{turn}.tar", f"t{turn}")
    found: dict[int, dict[str, list[float]]] = {count: {} for count in sizes}
    for turn in range(turns + 1):
        for count in sizes:
            for work, seconds in works(folder / str(count) / "root", turn).items():
                # The first turn fills caches.
                found[count].setdefault(work, []).extend([seconds] if turn else [])
    return {count: {work: statistics.median(each) for work, each in done.items()} for count, done in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("sizes", type=int, nargs="*", default=SIZES, metavar="IMAGES")
    options = parser.parse_args()
    sizes = sorted(options.sizes)
    with tempfile.TemporaryDirectory(prefix="orlop-bench-") as name:
        found = measure(Path(name), sizes, options.turns)
    *_, before, last = sizes
    grown = last / before
    lines, failed = [], []
    for work in found[last]:
        ratio = found[last][work] / found[before][work]
        goal = LOAD_GOAL if work in FLAT else LINEAR_GOAL * grown
        if ratio > goal:
            failed.append(work)
        seconds = " | ".join(f"{found[count][work] * 1000:.0f} ms" for count in sizes)
        lines.append(f"| {work} | {seconds} | {ratio:.2f}{' (missed)' if ratio > goal else ''} | at most {goal:g} |")
    head = f"{last:,} over {before:,}"
    text = (
        "Images in pairs for two platforms, each pair under a named index with two attestations; medians of"
        f" {options.turns} turns over all sizes, in seconds of the processor. Whole processes, start-up included, but"
        " for the first two. A look at everything may cost as much more as there is more to look at, and"
        f" {LINEAR_GOAL} times that; what is about one name, the same in a store of any size. A removal looks at all"
        " rows once more before bytes go. Made by `benchmarks/bench_content.py`."
    )
    columns = " | ".join(f"{count:,} images" for count in sizes)
    table = [f"| work | {columns} | {head} | goal |", f"|---|{'---:|' * (len(sizes) + 2)}", *lines]
    report("content", "\n".join(["# Content of every kind", "", paragraph(text), "", *table, ""]))
    if failed:
        raise SystemExit(f"missed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
