"""How fast `orlop serve --registry` over PostgreSQL and SeaweedFS is, beside `docker-registry` on the same SeaweedFS.

`./dev run python benchmarks/bench_remote_registry.py [--turns N] [--size MIB]`

Both servers are new, and are asked by the same clients in turn. orlop's PostgreSQL syncs its log. The processor time is
that of everything but the clients: the registry, PostgreSQL and SeaweedFS. Prints what `docs/benchmarks/remote.md` has.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote

from bench_registry import Server, blob, fetch, send
from measure import ENVIRONMENT, MIB, ORLOP
from psycopg.conninfo import conninfo_to_dict

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.needs import need
from tests.ports import free_ports
from tests.postgres import Postgres
from tests.seaweed import CREDENTIALS, Seaweed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

GOALS: Final = {"push": 0.6, "pull": 1.1}
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class Cost(NamedTuple):
    """What a piece of work took, in seconds: by the clock, and of the processor on the servers' side."""

    wall: float
    processor: float


class Running(NamedTuple):
    """A registry that runs, and the processes that work for it."""

    server: Server
    processes: Sequence[int]


@contextmanager
def running(command: Sequence[str], port: int, environment: Mapping[str, str], log: Path) -> Iterator[int]:
    """Run a server for a block, which begins when it takes connections; yield the number of its process."""
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=environment)
    try:
        until = time.monotonic() + 60
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if process.poll() is not None or time.monotonic() > until:
                raise SystemExit(log.read_text())
            time.sleep(0.05)
        yield process.pid
    finally:
        process.terminate()
        process.wait(60)


@contextmanager
def orlop_registry(folder: Path, postgres: Postgres, seaweed: Seaweed) -> Iterator[Running]:
    """Run orlop's registry over both engines for a block."""
    info = conninfo_to_dict(postgres.database(empty=True))
    place = quote(str(info["host"]), safe="")
    url = f"postgresql://{info['user']}@{place}/{info['dbname']}?blobs=s3://ours/{folder.name}"
    environment = ENVIRONMENT | {
        "AWS_ENDPOINT_URL": seaweed.endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": CREDENTIALS.access_key,
        "AWS_SECRET_ACCESS_KEY": CREDENTIALS.secret_key,
    }
    subprocess.run([*ORLOP, "--root", url, "store", "init"], env=environment, check=True, stdout=subprocess.DEVNULL)
    (port,) = free_ports(1)
    command = [*ORLOP, "--root", url, "serve", "--registry", "-H", f"tcp://127.0.0.1:{port}"]
    with running(command, port, environment, folder / "log") as process:
        yield Running(Server(f"127.0.0.1:{port}", folder, process), (process, postgres.pid, seaweed.pid))


@contextmanager
def debian_registry(folder: Path, _: Postgres, seaweed: Seaweed) -> Iterator[Running]:
    """Run docker-registry over the same object store for a block."""
    seaweed.bucket("theirs").make()
    (port,) = free_ports(1)
    driver = {
        "accesskey": CREDENTIALS.access_key,
        "secretkey": CREDENTIALS.secret_key,
        "region": "us-east-1",
        "regionendpoint": seaweed.endpoint,
        "bucket": "theirs",
        "secure": False,
        "v4auth": True,
        "rootdirectory": f"/{folder.name}",
    }
    storage = {"s3": driver, "redirect": {"disable": True}}
    configuration = {
        "version": 0.1,
        "log": {"level": "error"},
        "storage": storage,
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    path = folder / "config.yml"
    path.write_text(json.dumps(configuration))
    environment = {name: value for name, value in ENVIRONMENT.items() if not name.startswith("AWS_")}
    with running([need("docker-registry"), "serve", str(path)], port, environment, folder / "log") as process:
        yield Running(Server(f"127.0.0.1:{port}", folder, process), (process, seaweed.pid))


SERVERS: Final = {"orlop": orlop_registry, "docker-registry": debian_registry}


def processor(processes: Sequence[int]) -> float:
    """Return the processor seconds of some processes and of their children, those that have ended included."""
    ticks = 0
    for process in processes:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
        for number in (str(process), *children):
            try:
                fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            ticks += sum(int(field) for field in fields[11:15])
    return ticks / _TICKS


def measured(found: Running, works: Mapping[str, Callable[[Server], float]]) -> dict[str, Cost]:
    """Return what each piece of work costs."""
    costs = {}
    for name, work in works.items():
        before = processor(found.processes)
        wall = work(found.server)
        costs[name] = Cost(wall, processor(found.processes) - before)
    return costs


def main() -> None:
    """Print a table, and whether the goals are reached."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--size", type=int, default=64, help="of the large blob, in MiB")
    options = parser.parse_args()
    costs: dict[str, dict[str, list[Cost]]] = {name: {} for name in SERVERS}
    with tempfile.TemporaryDirectory(prefix="orlop-bench-", dir="/tmp") as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "pg").mkdir()
        postgres, seaweed = Postgres(folder / "pg", durable=True), Seaweed(folder / "weed")
        for engine in (postgres, seaweed):
            engine.start()
            stack.callback(engine.stop)
        seaweed.bucket("ours").make()
        one = [blob(folder, options.size * MIB, 0)]
        several = [blob(folder, options.size * MIB // 4, number) for number in range(1, 5)]
        works: dict[str, Callable[[Server], float]] = {}
        for what, blobs in ((f"{options.size} MiB", one), (f"4 of {options.size // 4} MiB at once", several)):
            works[f"push, {what}"] = partial(send, name="bench", blobs=blobs)
            works[f"pull, {what}"] = partial(fetch, name="bench", digests=[digest for _, digest in blobs])
        for turn in range(options.turns + 1):
            for server, made in SERVERS.items():
                place = Path(tempfile.mkdtemp(dir=folder))
                with made(place, postgres, seaweed) as found:
                    for work, cost in measured(found, works).items():
                        if turn:  # the first one is to warm up
                            costs[server].setdefault(work, []).append(cost)
    print("| work | orlop | docker-registry | ratio | processor | ratio |\n|---|---:|---:|---:|---:|---:|")
    for work in works:
        walls, processors = (
            [statistics.median(getattr(cost, column) for cost in costs[server][work]) for server in SERVERS]
            for column in ("wall", "processor")
        )
        print(
            f"| {work} | {walls[0]:.2f} | {walls[1]:.2f} | {walls[0] / walls[1]:.2f} |"
            f" {processors[0]:.2f} to {processors[1]:.2f} | {processors[0] / processors[1]:.2f} |"
        )
    print(f"goals: {GOALS}")


if __name__ == "__main__":
    main()
