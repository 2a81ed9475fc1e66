"""What it costs to put content into a bucket and to get it back, over what a client of such stores takes for the bytes.

`./dev run python benchmarks/bench_remote_bytes.py [--turns N] [--size MIB]`

Prints a table. A server of SeaweedFS on this machine keeps the bytes; its work is a part of all times, and the time of
its processor is told apart. The floor is `obstore` with a SHA-256 beside, in the same pieces and parts.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import resource
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import obstore
from obstore.store import S3Store

from orlop.model.digest import DiffID
from orlop.store.blobs.s3.cache import BlockCache
from orlop.store.blobs.s3.reclaim import init_bucket
from orlop.store.blobs.s3.store import S3BlobStore
from orlop.store.rows.memory_keys import MemoryKeys
from orlop.store.rows.metadata import DiffRow
from orlop.store.rows.sqlite.memory import MemoryMetadata
from orlop.testing.blob_store import row_of

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.seaweed import CREDENTIALS, Seaweed

if TYPE_CHECKING:
    from collections.abc import Callable

PIECE: Final = 1 << 20
GOALS: Final = {"put": 1.2, "get": 1.2, "the server's processor for put": 1.1}


class Cost(NamedTuple):
    """Seconds by the clock, and of the processors of this process and of the server."""

    wall: float
    here: float
    there: float


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--size", type=int, default=192, help="in MiB")
    options = parser.parse_args()
    data = random.Random(1).randbytes(options.size << 20)
    pieces = [data[at : at + PIECE] for at in range(0, len(data), PIECE)]
    with tempfile.TemporaryDirectory(prefix="orlop-bench-") as name:
        server = Seaweed(Path(name, "seaweed"))
        server.start()
        try:
            server.bucket("bench").make()
            costs = measured(server, Path(name), data, pieces, options.turns)
        finally:
            server.stop()
    print(f"{'seconds':28} {'median':>8} {'best':>8} {'client':>8} {'server':>8}")
    for subject, found in costs.items():
        figures = [statistics.median(one.wall for one in found), *map(min, zip(*found, strict=True))]
        print(f"{subject:28}" + "".join(f" {figure:8.2f}" for figure in figures))
    for goal, ours, floor, column in (
        ("put", "put: orlop", "put: obstore", "wall"),
        ("get", "get: orlop", "get: obstore", "wall"),
        ("the server's processor for put", "put: orlop", "put: obstore", "there"),
    ):
        ratio = least(costs[ours], column) / least(costs[floor], column)
        print(f"{goal}: {ratio:.2f} times the floor; the goal is at most {GOALS[goal]}")


def least(found: list[Cost], column: str) -> float:
    return min(float(getattr(one, column)) for one in found)


def measured(server: Seaweed, folder: Path, data: bytes, pieces: list[bytes], turns: int) -> dict[str, list[Cost]]:
    settings = server.settings("bench", prefix="orlop")
    keys, metadata = MemoryKeys(), MemoryMetadata()
    blobs = S3BlobStore(settings, keys)
    cached = S3BlobStore(settings, keys, cache=BlockCache(str(folder / "cache"), most=4 << 30))
    init_bucket(blobs.bucket, keys)
    plain = S3Store(
        "bench",
        endpoint=server.endpoint,
        access_key_id=CREDENTIALS.access_key,
        secret_access_key=CREDENTIALS.secret_key,
        region="us-east-1",
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )
    row = row_of(data)

    def put_plain() -> None:
        found = hashlib.sha256()
        with obstore.open_writer(plain, "plain", buffer_size=8 << 20, max_concurrency=4) as writer:
            for piece in pieces:
                found.update(piece)
                writer.write(piece)

    def get_plain() -> None:
        found = hashlib.sha256()
        for piece in obstore.get(plain, "plain").stream(min_chunk_size=PIECE):
            found.update(piece)
        assert found.hexdigest() == row.digest.hex

    def put() -> None:
        with blobs.begin() as ingest:
            for piece in pieces:
                ingest.write(piece)
            ingest.finish()
            ingest.sync()
            with metadata.write() as rows:
                ingest.commit(rows, row)
                rows.put_diff(DiffRow(DiffID.wrap(row.digest), row.size, 0, 0), row)

    def get(store: S3BlobStore = blobs) -> None:
        with store.open(row) as reader:
            for _ in reader.chunks(PIECE):
                pass

    subjects: dict[str, Callable[[], None]] = {
        "put: obstore": put_plain,
        "put: orlop": put,
        "get: obstore": get_plain,
        "get: orlop": get,
        "get: orlop, into its cache": partial(get, cached),
        "get: orlop, from its cache": partial(get, cached),
    }
    costs: dict[str, list[Cost]] = {subject: [] for subject in subjects}
    for turn in range(turns + 1):
        for subject, work in subjects.items():
            cost = timed(work, server.pid)
            if turn:  # the first one is to warm up
                costs[subject].append(cost)
        with metadata.write() as rows:
            blobs.remove(rows, [row.digest])
            rows.prune_diff(DiffID.wrap(row.digest))
    return costs


def timed(work: Callable[[], None], server: int) -> Cost:
    here, there, wall = used(), used_by(server), time.perf_counter()
    work()
    return Cost(time.perf_counter() - wall, used() - here, used_by(server) - there)


def used() -> float:
    found = resource.getrusage(resource.RUSAGE_SELF)
    return found.ru_utime + found.ru_stime


def used_by(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
