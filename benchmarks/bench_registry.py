"""How fast `orlop serve --registry` takes and gives blobs and manifests, beside Debian's `docker-registry`.

`./dev run python benchmarks/bench_registry.py [--turns N] [--size MIB] [--clients N ...] [--manifests N]`

Both keep their data in the temporary folder and are asked by the same clients on the same machine, whose work is a part
of all times. orlop syncs what it has taken before it says so; docker-registry does not, so that its pushes are measured
as they are, and with a sync at the end. Writes `docs/benchmarks/registry.md`. About ten minutes.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import os
import shutil
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from measure import ENVIRONMENT, MIB, ORLOP, paragraph, report
from transfers import registry as docker_registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LARGE_GOAL: Final = 1.0
MANIFEST_GOAL: Final = 0.5
MEMORY_GOAL: Final = 80
UPLOADS: Final = 50
THIRD: Final = 75
"""Of the image of 225 MB, in MiB."""
_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
_SEND: Final = r"""
set -e
place=$(curl -sS -o /dev/null -D - -X POST "http://$1/v2/$2/blobs/uploads/" | tr -d '\r' |
    sed -n 's/^[Ll]ocation: //p')
case $place in http*) ;; *) place=http://$1$place ;; esac
case $place in *\?*) place="$place&" ;; *) place="$place?" ;; esac
curl -sS -f -o /dev/null -T "$3" -H 'Content-Type: application/octet-stream' "${place}digest=$4"
"""


class Server(NamedTuple):
    """A registry that runs: its host and port, its folder and its process."""

    authority: str
    folder: Path
    process: int

    def used(self) -> float:
        """Return its processor seconds."""
        found = Path(f"/proc/{self.process}/stat").read_text().rpartition(")")[2].split()
        return (int(found[11]) + int(found[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def orlop_registry(folder: Path) -> Iterator[Server]:
    """Run orlop's registry on a new store for a block."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [*ORLOP, "--root", str(folder / "store"), "serve", "--registry", "-H", f"tcp://127.0.0.1:{port}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=ENVIRONMENT)
    try:
        for _ in range(400):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield Server(f"127.0.0.1:{port}", folder, process.pid)
    finally:
        process.terminate()
        process.wait(60)


@contextmanager
def debian_registry(folder: Path) -> Iterator[Server]:
    """Run docker-registry on a new folder for a block."""
    before = _children()
    with docker_registry(folder) as authority:
        (process,) = _children() - before
        yield Server(authority, folder, process)


def _children() -> set[int]:
    """Return the processes that this one has started."""
    return {int(one) for one in Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()}


SERVERS: Final = {"orlop": orlop_registry, "docker-registry": debian_registry}


def blob(folder: Path, size: int, number: int) -> tuple[Path, str]:
    """Write random bytes; return the file and its digest."""
    path = folder / f"blob-{size}-{number}"
    digest = hashlib.sha256()
    if not path.exists():
        with path.open("wb") as file:
            for _ in range(max(size // MIB, 1)):
                file.write(os.urandom(min(size, MIB)))
    with path.open("rb") as file:
        while chunk := file.read(MIB):
            digest.update(chunk)
    return path, f"sha256:{digest.hexdigest()}"


def send(server: Server, name: str, blobs: list[tuple[Path, str]]) -> float:
    """Send blobs with curl, all at once; return the seconds."""
    start = time.perf_counter()
    argv = ["sh", "-c", _SEND, "sh", server.authority, name]
    clients = [subprocess.Popen([*argv, str(path), digest]) for path, digest in blobs]
    if any(client.wait() for client in clients):
        raise SystemExit("a push failed")
    return time.perf_counter() - start


def fetch(server: Server, name: str, digests: list[str]) -> float:
    """Fetch blobs with curl, all at once; return the seconds."""
    start = time.perf_counter()
    place = f"http://{server.authority}/v2/{name}/blobs/"
    clients = [subprocess.Popen(["curl", "-sS", "-f", "-o", "/dev/null", place + digest]) for digest in digests]
    if any(client.wait() for client in clients):
        raise SystemExit("a pull failed")
    return time.perf_counter() - start


def small_images(server: Server, count: int) -> float:
    """Push images of a config and one small layer each, on one connection; return the seconds."""
    start = time.perf_counter()
    connection = http.client.HTTPConnection(server.authority)
    for number in range(count):
        layer = os.urandom(20_000)
        config = json.dumps({"architecture": "amd64", "os": "linux", "author": str(number)}).encode()
        for content in (layer, config):
            _push_blob(connection, content)
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": _MANIFEST,
                "config": _described("application/vnd.oci.image.config.v1+json", config),
                "layers": [_described("application/octet-stream", layer)],
            }
        ).encode()
        _asked(connection, "PUT", f"/v2/small/manifests/t{number}", manifest, {"Content-Type": _MANIFEST})
    connection.close()
    return time.perf_counter() - start


def _described(media_type: str, content: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": _digest(content), "size": len(content)}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _push_blob(connection: http.client.HTTPConnection, content: bytes) -> None:
    place = _asked(connection, "POST", "/v2/small/blobs/uploads/", b"", {}).partition("//")
    path = f"/{place[2].partition('/')[2]}" if place[0] in {"http:", "https:"} else "".join(place)
    mark = "&" if "?" in path else "?"
    _asked(connection, "PUT", f"{path}{mark}digest={_digest(content)}", content, {})


def _asked(connection: http.client.HTTPConnection, method: str, path: str, body: bytes, headers: dict[str, str]) -> str:
    connection.request(method, path, body, {"Content-Type": "application/octet-stream"} | headers)
    answer = connection.getresponse()
    said = answer.read()
    if answer.status >= 300:
        raise SystemExit(f"{method} {path}: {answer.status} {said[:200]!r}")
    return answer.headers.get("Location", "")


def manifests(server: Server, count: int, clients: int) -> float:
    """Get manifests by tag from so many connections that are kept; return the seconds."""

    def work(first: int) -> None:
        connection = http.client.HTTPConnection(server.authority)
        for number in range(first, count, clients):
            connection.request("GET", f"/v2/small/manifests/t{number % 200}", headers={"Accept": _MANIFEST})
            if connection.getresponse().read()[:1] != b"{":
                raise SystemExit("not a manifest")
        connection.close()

    start = time.perf_counter()
    threads = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - start


def peak(server: Server) -> int:
    """Return the most memory that the process of a server has had, in bytes."""
    lines = Path(f"/proc/{server.process}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024


class Work(NamedTuple):
    """What one server is asked, and how many bytes or pieces that is."""

    run: Callable[[Server], float]
    amount: float
    unit: str


class Taken(NamedTuple):
    """How long a piece of work took, how long with a sync after it, and the server's processor seconds."""

    seconds: float
    synced: float
    used: float


def measured(folder: Path, works: dict[str, Work], found: dict[str, dict[str, list[Taken]]]) -> None:
    """Note how long each piece of work takes on new servers, which are asked in turn."""
    places = {name: Path(tempfile.mkdtemp(dir=folder)) for name in SERVERS}
    with ExitStack() as stack:
        running = {name: stack.enter_context(start(places[name])) for name, start in SERVERS.items()}
        for number, (what, work) in enumerate(works.items()):
            for name in sorted(running, reverse=bool(number % 2)):
                server = running[name]
                before, begun = server.used(), time.perf_counter()
                seconds = work.run(server)
                if what.startswith("push") and name != "orlop":
                    subprocess.run(["sync", "-f", server.folder], check=True)
                synced = time.perf_counter() - begun
                found[name].setdefault(what, []).append(Taken(seconds, synced, server.used() - before))
    for place in places.values():
        shutil.rmtree(place)


def memory(folder: Path) -> int:
    """Return the memory of orlop's server after so many uploads at once."""
    place = Path(tempfile.mkdtemp(dir=folder))
    uploads = [blob(folder, 4 * MIB, number) for number in range(UPLOADS)]
    with orlop_registry(place) as running:
        send(running, "many", uploads)
        found = peak(running)
    shutil.rmtree(place)
    return found


def planned(folder: Path, size: int, clients: list[int], requests: int) -> dict[str, Work]:
    """Return the pieces of work, in their order: what is pulled was pushed before.

    Args:
        folder: for the blobs.
        size: of the large blob, in MiB; several clients move half as much together.
        clients: how many there are at once.
        requests: how many manifests are asked for.
    """
    works: dict[str, Work] = {}

    def moved(what: str, name: str, blobs: list[tuple[Path, str]], amount: float) -> None:
        digests = [digest for _, digest in blobs]
        works[f"push, {what}"] = Work(lambda server: send(server, name, blobs), amount, "MiB/s")
        works[f"pull, {what}"] = Work(lambda server: fetch(server, name, digests), amount, "MiB/s")

    moved(f"one blob of {size} MiB", "one", [blob(folder, size * MIB, 0)], size)
    three = [blob(folder, THIRD * MIB, number) for number in range(3)]
    moved(f"{3 * THIRD} MiB in 3 layers", "three", three, 3 * THIRD)
    for count in clients:
        if count > 1:
            each = max(1, size // (2 * count))
            several = [blob(folder, each * MIB, 1000 * count + number) for number in range(count)]
            moved(f"{count} clients", f"several{count}", several, each * count)
    works["push, 200 small images"] = Work(lambda server: small_images(server, 200), 200, "images/s")
    for count in clients:
        works[f"manifests, {count} client{'s' if count > 1 else ''}"] = Work(
            partial(manifests, count=requests, clients=count), requests, "a second"
        )
    return works


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--size", type=int, default=1024, help="of the large blob, in MiB")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 50], help="how many at once")
    parser.add_argument("--manifests", type=int, default=4000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="orlop-bench-") as name:
        folder = Path(name)
        works = planned(folder, options.size, options.clients, options.manifests)
        found: dict[str, dict[str, list[Taken]]] = {server: {} for server in SERVERS}
        for _ in range(options.turns):
            measured(folder, works, found)
        held = memory(folder)
    medians = {
        server: {work: Taken(*map(statistics.median, zip(*taken, strict=True))) for work, taken in each.items()}
        for server, each in found.items()
    }
    _report(works, medians, held, options.size, options.turns)


def _report(works: dict[str, Work], medians: dict[str, dict[str, Taken]], held: int, size: int, turns: int) -> None:
    version = subprocess.run(["docker-registry", "--version"], capture_output=True, text=True, check=True).stdout
    told = (
        f"`orlop serve --registry` beside `docker-registry` ({version.split()[-1].strip()}), with the same clients"
        f" (`curl`, one process for each; Python for small requests) on the same machine of {os.cpu_count()} cores; the"
        f" large blob has {size} MiB. Medians of {turns} runs, each on new servers, which are asked in turn. orlop"
        " syncs all that it takes; docker-registry does not, and the column with a sync adds that at the end. The"
        " ratio is to that. The last column has the servers' own processor seconds, orlop's first, which other work on"
        " the machine disturbs less. Made by `benchmarks/bench_registry.py`."
    )
    head = ["# The registry", "", paragraph(told), ""]
    head += ["| work | orlop | docker-registry | with a sync | ratio | processor |", "|---|---:|---:|---:|---:|---:|"]
    rows, missed = [], []
    for name, work in works.items():
        ours, theirs = (medians[server][name] for server in ("orlop", "docker-registry"))
        ratio = theirs.synced / ours.seconds
        synced = f"{work.amount / theirs.synced:.0f}" if name.startswith("push") else ""
        rows.append(
            f"| {name} | {work.amount / ours.seconds:.0f} {work.unit} | {work.amount / theirs.seconds:.0f} |"
            f" {synced} | {ratio:.2f} | {ours.used:.2f}, {theirs.used:.2f} s |"
        )
        if ratio < (MANIFEST_GOAL if name.startswith("manifests") else LARGE_GOAL):
            missed.append(name)
    goals = (
        f"The goals are a ratio of {LARGE_GOAL:g} for blobs and {MANIFEST_GOAL:g} for manifests. With {UPLOADS} uploads"
        f" at once, the server's memory was {held / 1e6:.0f} MB (goal: {MEMORY_GOAL})."
    )
    if held > MEMORY_GOAL * 1e6:
        missed.append("memory")
    if missed:
        goals += f" Missed: {'; '.join(missed)}."
    report("registry", "\n".join([*head, *rows, "", paragraph(goals), ""]))
    if missed:
        raise SystemExit(f"missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
