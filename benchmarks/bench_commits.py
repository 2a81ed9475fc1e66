"""Commits a second into rows in PostgreSQL with 1, 4 and 8 processes, or other numbers of them.

A commit is what a load of one image of seven layers writes: five layers that all images share and two of its own, the
image with its labels, a manifest, a name and an event. The server is durable (fsync). Beside it, by turns:

- *held*: the same with one lock that is held until the disk has the commit;
- *apart*: each process has a store of its own in the same server, so that nobody waits for anybody's lock. That is the
  most that locks of rows could give.

At the end it says what an image takes in each table. Each of its own layers has a blob and a table of contents.

`./dev run python benchmarks/bench_commits.py [PROCESSES…]`
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import statistics
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from orlop.model.digest import DiffID, Digest, ImageID, chain_id
from orlop.store.rows.metadata import BlobRow, ChainRow, DiffRow, Event, ManifestRow, ReferenceRow
from orlop.store.rows.postgres import database
from orlop.store.rows.postgres.database import PostgresMetadata

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.postgres import Postgres, sql

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orlop.model.digest import ChainID
    from orlop.store.rows.metadata import Metadata, WritableRows

SHARED, OWN = 5, 2
SECONDS = 4.0
TURNS = 5
WRITERS = (1, 4, 8)
WAYS = ("orlop", "held", "apart")
IMAGES, TOGETHER = 5000, 500
_SIZES = """SELECT relname, pg_total_relation_size(pg_class.oid), pg_indexes_size(pg_class.oid), reltuples
    FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE nspname = 'orlop' AND relkind = 'r' ORDER BY 2 DESC"""


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


def commits(server: Postgres, writers: int, how: str) -> float:
    """Return how many commits a second some processes make together, in one of `WAYS`."""
    context = multiprocessing.get_context("spawn")
    ready, done = context.Barrier(writers + 1), context.Queue()
    urls = [server.database() for _ in range(writers)] if how == "apart" else [server.database()] * writers
    running = [
        context.Process(target=write, args=(url, number, ready, done), kwargs={"held": how == "held"})
        for number, url in enumerate(urls)
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


class Within:
    """Rows in a write that goes on: what is written into them is a part of it."""

    def __init__(self, rows: WritableRows) -> None:
        self._rows = rows

    @contextmanager
    def write(self) -> Iterator[WritableRows]:
        """Return the rows."""
        yield self._rows


def sizes(url: str) -> None:
    """Print what an image takes: the bytes, those of indexes among them, and the rows."""
    metadata = PostgresMetadata(url)
    for start in range(0, IMAGES, TOGETHER):
        with metadata.write() as rows:
            for number in range(start, start + TOGETHER):
                commit(cast("Metadata", Within(rows)), f"image-{number:07d}")
    metadata.end()
    sql(url, "INSERT INTO object SELECT digest, md5(digest), 1 FROM blob")
    sql(url, "INSERT INTO object SELECT 'toc:' || id, md5('toc' || id), 1 FROM diff")
    sql(url, "VACUUM ANALYZE")
    found = sql(url, _SIZES)
    for name, size, indexes, count in (*found, ("all", *(sum(row[place] for row in found) for place in (1, 2, 3)))):
        print(f"{name:16} {size / IMAGES:8.0f} {indexes / IMAGES:8.0f} {count / IMAGES:6.2f}")


def spread(found: Sequence[float]) -> str:
    """Return the median of some figures, the least and the most of them."""
    return f"{statistics.median(found):.0f} ({min(found):.0f}-{max(found):.0f})"


def main(numbers: Sequence[int]) -> None:
    """Print the table."""
    folder = Path(tempfile.mkdtemp(prefix="orlop-bench-"))
    folder.chmod(0o755)
    (folder / "pg").mkdir()
    server = Postgres(folder / "pg", durable=True)
    server.start()
    try:
        for writers in numbers:
            turns = [{way: commits(server, writers, way) for way in WAYS} for _ in range(TURNS)]
            print(f"commits/s with {writers} writers: {spread([turn['orlop'] for turn in turns])}")
            for way in WAYS[1:]:
                ratio = statistics.median(turn["orlop"] / turn[way] for turn in turns)
                print(f"  {ratio:.2f} times those {way}: {spread([turn[way] for turn in turns])}")
        sizes(server.database())
    finally:
        server.stop()
        shutil.rmtree(folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("processes", type=int, nargs="*", default=WRITERS, help="how many commit at a time")
    main(parser.parse_args().processes)
