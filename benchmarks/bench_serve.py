"""Docker's command before `orlop serve`, before Docker Engine, and orlop's own command: load, save and long lists.

`./dev run python benchmarks/bench_serve.py [--turns N] [--images N] [--size MIB] [--inputs FOLDER]`, as root where
Docker Engine is to take part. Every subject runs once a turn, the medians count. The image is that of `inputs.py`, or
with ``--size`` one of this machine's files. Writes `docs/benchmarks/serve.md`. About 5 minutes, and 5 GB of the
temporary folder.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import shutil
import subprocess
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import inputs
from bench_scale import config, layer
from measure import ENVIRONMENT, MIB, ORLOP, paragraph, report
from subjects import Subject, engine_command, gone, quietly, start_engine, versions

from orlop.model.reference import Reference
from orlop.store.local import local_store

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCKER = "/usr/bin/docker"
NAME = "bench/root:1"
WAYS = {"orlop": "`orlop`", "serve": "`docker`, `orlop serve`", "engine": "`docker`, Engine"}
WORKS = {
    "load": "load",
    "again": "load, already there",
    "save": "save",
    "images": "images, {count:,} with names",
    "one": "images, one name of {count:,}",
}


@dataclass
class Server:
    """A running `orlop serve`."""

    host: str
    pid: int

    @property
    def peak(self) -> int:
        """The most memory that it had, in bytes, without mapped files."""
        fields = dict(line.split(":", 1) for line in Path(f"/proc/{self.pid}/status").read_text().splitlines())
        return (int(fields["VmHWM"].split()[0]) - int(fields["RssFile"].split()[0])) * 1024


@contextmanager
def serving(root: Path, socket: Path) -> Iterator[Server]:
    """Serve a store for a block."""
    host = f"unix://{socket}"
    argv = [*ORLOP, "--root", str(root), "serve", "-H", host]
    process = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    try:
        assert process.stderr is not None
        process.stderr.readline()
        yield Server(host, process.pid)
    finally:
        process.terminate()
        process.communicate()


def configs(count: int) -> Iterator[tuple[str, bytes]]:
    """Yield many images of one layer: names and configs."""
    diff_id = "sha256:" + hashlib.sha256(layer("file-0")).hexdigest()
    for number in range(count):
        yield f"registry.example.com/team/app-{number}", config(number, [diff_id])


def fill_store(root: Path, count: int) -> None:
    """Make a store of orlop with many images."""
    with local_store(root) as store:
        held = store.layers.register(io.BytesIO(layer("file-0")), None)
        with store.metadata.write():
            for name, document in configs(count):
                store.references.set(Reference.parse(f"{name}:1.0"), store.images.create(document))
        store.layers.release(held)


def fill_engine(work: Path, count: int) -> None:
    """Make the data of an engine with the same images; it runs for its layer, and the rest are files that it reads."""
    content = layer("file-0")
    inputs.pack(work / "one.tar", "bench/one:1", [(content, content)])
    with ExitStack() as stack:
        start_engine(work, stack)
        subprocess.run([*engine_command(work), "load", "-q", "-i", work / "one.tar"], check=True, capture_output=True)
    images = work / "engine" / "image" / "overlay2"
    # The layer is of the others from now on.
    for file in (images / "imagedb" / "content" / "sha256").iterdir():
        file.unlink()
    named = {}
    for name, document in configs(count):
        digest = hashlib.sha256(document).hexdigest()
        (images / "imagedb" / "content" / "sha256" / digest).write_bytes(document)
        named[name] = {f"{name}:1.0": f"sha256:{digest}"}
    (images / "repositories.json").write_text(json.dumps({"Repositories": named}))


def subjects(way: str, command: list[str], image: Path, out: Path) -> dict[str, Subject]:
    """Return what is timed of one image, on one way."""
    load = [*command, "load", "-q", "-i", str(image)]
    return {
        "load": Subject(f"{way} load", load, quietly([*command, "rmi", "-f", NAME])),
        "again": Subject(f"{way} again", load),
        "save": Subject(f"{way} save", [*command, "save", "-o", str(out), NAME], gone(out)),
    }


def lists(way: str, command: list[str], count: int) -> dict[str, Subject]:
    """Return what is timed of many images, on one way."""
    return {
        "images": Subject(f"{way} images", [*command, "images"]),
        "one": Subject(f"{way} one", [*command, "images", f"registry.example.com/team/app-{count // 2}"]),
    }


def lines(command: list[str]) -> list[str]:
    """Run a command and return its lines, in order."""
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=ENVIRONMENT)
    return sorted(done.stdout.splitlines())


def timed(made: dict[str, dict[str, Subject]], turns: int) -> None:
    """Run all subjects in turn."""
    for number in range(turns + 1):
        for work in WORKS:
            for found in made.values():
                if work in found:
                    found[work].turn(number)


def measure(image: Path, work: Path, options: argparse.Namespace) -> tuple[dict[str, dict[str, Subject]], list[int]]:
    """Time all that is there, and return it by way and work; and the peaks of the two servers."""
    found: dict[str, dict[str, Subject]] = {}
    peaks = []
    for part in ("image", "many"):
        folder = work / part
        (folder / "served").mkdir(parents=True)
        roots = [folder / "served", folder / "plain"]
        has_engine = os.geteuid() == 0 and shutil.which("dockerd") is not None
        if part == "many":
            for root in roots:
                fill_store(root, options.images)
            if has_engine:
                fill_engine(folder, options.images)
        with ExitStack() as stack:
            server = stack.enter_context(serving(roots[0], folder / "serve.sock"))
            ways = {"orlop": [*ORLOP, "--root", str(roots[1])], "serve": [DOCKER, "-H", server.host]}
            if has_engine and start_engine(folder, stack):
                ways["engine"] = engine_command(folder)
            if part == "image":
                made = {way: subjects(way, ways[way], image, folder / f"{way}.tar") for way in ways}
            else:
                made = {way: lists(way, ways[way], options.images) for way in ways}
            timed(made, options.turns)
            # What was timed was the same work.
            listed = [lines([*command, "images", "--no-trunc", "--format", "{{.ID}}"]) for command in ways.values()]
            assert len({tuple(one) for one in listed}) == 1
            assert len(listed[0]) == (1 if part == "image" else options.images), len(listed[0])
            peaks.append(server.peak)
        for way, own in made.items():
            found.setdefault(way, {}).update(own)
        shutil.rmtree(folder)
    return found, peaks


def written(found: dict[str, dict[str, Subject]], peaks: list[int], size: int, options: argparse.Namespace) -> str:
    """Write the page."""
    ways = [way for way in WAYS if way in found]
    heads = [WAYS[way] for way in ways] + ["over `orlop`"] + (["Engine over it"] if "engine" in ways else [])
    rows = []
    for work, title in WORKS.items():
        seconds = {way: found[way][work].median for way in ways}
        ratios = [seconds["serve"] / seconds["orlop"]]
        ratios += [seconds["engine"] / seconds["serve"]] if "engine" in ways else []
        cells = [f"{one:.3f} s" for one in seconds.values()] + [f"{ratio:.2f}" for ratio in ratios]
        rows.append(f"| {title.format(count=options.images)} | {' | '.join(cells)} |")
    told = versions()
    engine = f"Docker Engine {told['Docker Engine']}" if "engine" in ways else "no engine could be started"
    text = [
        paragraph(
            f"An image of {size / 1e6:.0f} MB in 3 layers, and {options.images:,} small images with names; medians of"
            f" {options.turns} turns, whole processes, in which each ran once; {os.cpu_count()} processors, {engine}."
        ),
        paragraph(
            '"Over `orlop`" is the time through `orlop serve` over that of the command without a server; "Engine over'
            " it\" is Engine's time over that through `orlop serve`. An engine's load also unpacks the layers for"
            " containers, which orlop does not. All listed the same images."
        ),
        f"| work | {' | '.join(heads)} |\n|---{'|---' * len(heads)}|\n" + "\n".join(rows),
        paragraph(
            f"The server had {peaks[0] / 1e6:.0f} MB of memory at most while it loaded and saved the image, and"
            f" {peaks[1] / 1e6:.0f} MB while it listed the many; mapped files are not counted."
        ),
        "To repeat it: `./dev run python benchmarks/bench_serve.py`, as root.",
    ]
    return "# Through `orlop serve`\n\n" + "\n\n".join(text) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--size", type=int, help="of the image, in MiB; default: the image of the other benchmarks")
    parser.add_argument("--inputs", type=Path, help="the folder of the inputs, which are made where they are missing")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="orlop-bench-") as name:
        work = Path(name)
        if options.size:
            image = work / "root.tar"
            inputs.pack(image, NAME, [(one, one) for one in inputs.system_layers(options.size * MIB, 3)])
        else:
            folder = options.inputs or work / "inputs"
            inputs.make(folder)
            image = inputs.places(folder)["root"]
        found, peaks = measure(image, work, options)
        report("serve", written(found, peaks, image.stat().st_size, options))


if __name__ == "__main__":
    main()
