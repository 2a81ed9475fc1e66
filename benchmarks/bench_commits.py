"""Commits a second into rows in PostgreSQL with 1, 4 and 8 processes, and lists of many images beside SQLite's.

A commit is what a load of one image of seven layers writes: five layers that all images share and two of its own, the
image with its labels, a manifest, a name and an event. The server is durable (fsync). Beside it, by turns, the same
with one lock that is held until the disk has the commit.

`./dev run python -m benchmarks.bench_commits [IMAGES]`
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orlop.model.digest import ChainID, DiffID, Digest, ImageID, chain_id
from orlop.store.rows.metadata import BlobRow, ChainRow, DiffRow, Event, ManifestRow, ReferenceRow
from orlop.store.rows.postgres import database
from orlop.store.rows.postgres.database import PostgresMetadata
from orlop.store.rows.sqlite.database import SQLiteMetadata
from orlop.streams.directory import Directory
from tests.postgres import Postgres

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orlop.store.rows.metadata import Metadata

SHARED, OWN = 5, 2
SECONDS = 4.0
TURNS = 3
IMAGES = 100_000
WRITERS = (1, 4, 8)


def commit(metadata: Metadata, name: str) -> None:
    """Write what a load of one image writes."""
    diffs = [DiffID.of(f"shared {number}".encode()) for number in range(SHARED)]
    diffs += [DiffID.of(f"{name} {number}".encode()) for number in range(OWN)]
    document = {"rootfs": {"type": "layers", "diff_ids": list(map(str, diffs))}, "note": name, "padding": "x" * 1500}
    config = json.dumps(document).encode()
    image = ImageID.of(config)
    blobs = [BlobRow(Digest.wrap(diff), 1000, "none") for diff in diffs]
    layers = [{"digest": str(one), "size": 1000} for one in diffs]
    manifest = json.dumps({"schemaVersion": 2, "layers": layers}).encode()
    with metadata.write() as rows:
        below: ChainID | None = None
        for depth, (diff, blob) in enumerate(zip(diffs, blobs, strict=True), 1):
            rows.put_diff(DiffRow(diff, 1000, 900, 3), blob)
            above = chain_id(diffs[:depth])
            assert above is not None
            rows.put_chain(ChainRow(above, below, diff, 900 * depth, depth))
            below = above
        rows.put_image(image, config, chain_id=below, created=(1, 1), labels={"a": "b"})
        rows.put_manifest(ManifestRow(Digest.of(manifest), "application/x", manifest), [image])
        rows.put_reference(ReferenceRow(f"docker.io/library/{name[:40]}", ":1", image, 1))
        rows.put_event(Event(0, 1, "image", "load", str(image), {"name": name}), keep=256)


def write(url: str, writer: int, ready: Any, done: Any, *, held: bool) -> None:
    """Commit for some seconds once all are ready, and return the number through a queue."""
    if held:
        begin = vars(database)["_WRITE"]
        vars(database)["_WRITE"] = begin.replace("synchronous_commit = off", "synchronous_commit = on")
    metadata = PostgresMetadata(url)
    commit(metadata, f"{writer}-first")
    count = 0
    ready.wait()
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        commit(metadata, f"{writer}-{count}-{os.getpid()}")
        count += 1
    metadata.end()
    done.put(count)


def commits(url: str, writers: int, *, held: bool) -> float:
    """Return how many commits a second some processes make together; ``held`` keeps the lock until they are durable."""
    context = multiprocessing.get_context("spawn")
    ready, done = context.Barrier(writers + 1), context.Queue()
    running = [
        context.Process(target=write, args=(url, number, ready, done), kwargs={"held": held})
        for number in range(writers)
    ]
    for one in running:
        one.start()
    ready.wait()
    begun = time.monotonic()
    total: int = sum(done.get() for _ in running)
    seconds = time.monotonic() - begun
    for one in running:
        one.join()
    return total / seconds


def spread(found: Sequence[float]) -> str:
    """Return the median of some figures, the least and the most of them."""
    return f"{statistics.median(found):.0f} ({min(found):.0f}-{max(found):.0f})"


def listed(metadata: Metadata) -> float:
    """Return the seconds of a list of all images."""
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        with metadata.read() as rows:
            count = sum(1 for _ in rows.image_rows(listed_only=True))
        seconds.append(time.perf_counter() - start)
        assert count > 0
    return statistics.median(seconds)


def main() -> None:
    """Print both tables."""
    images = int(sys.argv[1]) if len(sys.argv) > 1 else IMAGES
    folder = Path(tempfile.mkdtemp(prefix="orlop-bench-"))
    folder.chmod(0o755)
    (folder / "pg").mkdir()
    server = Postgres(folder / "pg", durable=True)
    server.start()
    try:
        for writers in WRITERS:
            turns = [[commits(server.database(), writers, held=held) for held in (False, True)] for _ in range(TURNS)]
            found, others = ([turn[place] for turn in turns] for place in (0, 1))
            ratio = statistics.median(one / other for one, other in turns)
            print(f"commits/s with {writers} writers: {spread(found)}, {ratio:.2f} times those of {spread(others)}")
        url = server.database()
        metadata = PostgresMetadata(url)
        (folder / "sqlite").mkdir()
        with Directory(str(folder / "sqlite")) as directory:
            local = SQLiteMetadata(directory)
            for one in (metadata, local):
                fill(one, images)
            print(f"list of {images}: PostgreSQL {listed(metadata):.3f} s, SQLite {listed(local):.3f} s")
            local.end()
        metadata.end()
    finally:
        server.stop()
        shutil.rmtree(folder)


def fill(metadata: Metadata, images: int) -> None:
    """Put many images of two layers each in a few writes."""
    for start in range(0, images, 5000):
        with metadata.write() as rows:
            for number in range(start, min(start + 5000, images)):
                text = f"{number:064x}"
                below: ChainID | None = None
                for depth in (1, 2):
                    diff = DiffID("sha256", f"{2 * number + depth:064x}")
                    above = ChainID("sha256", diff.hex)
                    rows.put_diff(DiffRow(diff, 1000, 900, 3), BlobRow(Digest.wrap(diff), 1000, "none"))
                    rows.put_chain(ChainRow(above, below, diff, 900 * depth, depth))
                    below = above
                image = ImageID("sha256", text)
                rows.put_image(image, text.encode() * 20, chain_id=below, created=(number * 7919 % images, 1))


if __name__ == "__main__":
    main()
