"""Lists of many images from rows in PostgreSQL beside the same rows in SQLite, by turns, and the memory that they take.

SQLite is filled as loads fill it. PostgreSQL gets a copy of its tables by COPY, which is not what is measured.

`./dev run python benchmarks/bench_lists.py [IMAGES]`
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psycopg

from orlop.model.digest import ChainID, DiffID, Digest, ImageID
from orlop.store.rows.metadata import BlobRow, ChainRow, DiffRow
from orlop.store.rows.postgres.database import PostgresMetadata
from orlop.store.rows.sqlite.database import SQLiteMetadata
from orlop.streams.directory import Directory

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.postgres import Postgres

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.store.rows.metadata import Metadata

IMAGES: Final = 100_000
TURNS: Final = 7
_TABLES: Final = ("blob", "diff", "diff_blob", "chain", "image")
"""Those that are filled, each behind those that it refers to."""


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


def copied(source: Path, url: str) -> None:
    """Copy the rows of a database of SQLite into one of PostgreSQL that has none."""
    with closing(sqlite3.connect(source)) as local, psycopg.connect(url, autocommit=True) as connection:
        for table in _TABLES:
            columns = [row[1] for row in local.execute(f"PRAGMA table_info({table})")]
            names = ", ".join(columns)
            order = "ORDER BY depth" if table == "chain" else ""
            with connection.cursor().copy(f"COPY orlop.{table} ({names}) FROM STDIN".encode()) as copy:
                for row in local.execute(f"SELECT {names} FROM {table} {order}"):
                    values = dict(zip(columns, row, strict=True))
                    copy.write_row([bool(value) if name == "head" else value for name, value in values.items()])
        connection.execute("VACUUM ANALYZE")


def rows_of(metadata: Metadata) -> Iterator[object]:
    """Yield what a list of all images needs."""
    with metadata.read() as rows:
        yield from rows.image_rows(listed_only=True)


def listed(metadata: Metadata) -> tuple[float, float, int]:
    """Return the seconds and the processor seconds of a list of all images, and how many there were."""
    start, busy = time.perf_counter(), time.process_time()
    count = sum(1 for _ in rows_of(metadata))
    return time.perf_counter() - start, time.process_time() - busy, count


def peak(url: str, only: int, told: Any) -> None:
    """Report the most memory, in MiB, of a process that lists so many images."""
    metadata = PostgresMetadata(url)
    assert sum(1 for _ in islice(rows_of(metadata), only)) == only
    metadata.end()
    # Its usage of resources begins with that of the process that has started it.
    [most] = re.findall(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    told.put(int(most) / 1024)


def memory(url: str, only: int) -> float:
    """Return the most memory, in MiB, of a new process that lists so many images."""
    context = multiprocessing.get_context("spawn")
    told = context.Queue()
    process = context.Process(target=peak, args=(url, only, told))
    process.start()
    found: float = told.get()
    process.join()
    return found


def main() -> None:
    """Print what lists take."""
    parser = argparse.ArgumentParser()
    parser.add_argument("images", type=int, nargs="?", default=IMAGES, help="in the store")
    images = parser.parse_args().images
    folder = Path(tempfile.mkdtemp(prefix="orlop-bench-"))
    folder.chmod(0o755)
    for name in ("pg", "sqlite"):
        (folder / name).mkdir()
    server = Postgres(folder / "pg", durable=True)
    server.start()
    try:
        with Directory(str(folder / "sqlite")) as directory:
            local = SQLiteMetadata(directory)
            fill(local, images)
            local.end()
            url = server.database()
            copied(folder / "sqlite" / "metadata.db", url)
            local, remote = SQLiteMetadata(directory), PostgresMetadata(url)
            turns = [(listed(remote), listed(local)) for _ in range(TURNS)]
            assert {one[2] for turn in turns for one in turn} == {images}
            for place, name in enumerate(("PostgreSQL", "SQLite")):
                wall, busy = (statistics.median(turn[place][kind] for turn in turns) for kind in (0, 1))
                print(f"list of {images} from {name}: {wall:.3f} s, {busy:.3f} s of this process")
            for kind, what in ((0, "time"), (1, "processor time of this process")):
                ratios = sorted(one[kind] / other[kind] for one, other in turns)
                middle = statistics.median(ratios)
                print(f"PostgreSQL / SQLite, {what}: {middle:.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})")
            local.end()
            remote.end()
        few, many = memory(url, 1000), memory(url, images)
        print(f"memory of a process that lists 1,000 of them: {few:.1f} MiB, all of them: {many:.1f} MiB")
    finally:
        server.stop()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
