"""What the benchmarks of pulls and pushes share: images in several forms, a registry, the programs beside orlop."""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import shlex
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import inputs
from measure import MIB, ORLOP, paragraph, report, run
from subjects import Subject, engine_command, gone, podman_command, start_engine, versions

from orlop.streams.pipeline import in_parallel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

MEMORY_GOAL = 60 * 1_000_000


@dataclass(frozen=True)
class Form:
    """An image to move: ``mib`` of files in so many layers, measured in at most so many ``turns``."""

    name: str
    mib: int
    layers: int
    turns: int


FORMS = (
    Form("large", 954, 6, 3),
    Form("root", 215, 3, 7),
    Form("one", 215, 1, 7),
    Form("small", 20, 100, 7),
)
QUICK = (Form("root", 64, 3, 3), Form("small", 5, 30, 3))


@dataclass(frozen=True)
class Made:
    """An image as an OCI layout: its folder, the files of its layers in order, and the size of all of them."""

    form: Form
    layout: Path
    layers: list[Path]
    plain: int

    @property
    def size(self) -> int:
        """Bytes of its layers as they move."""
        return sum(path.stat().st_size for path in self.layers)

    @property
    def told(self) -> str:
        """How a page calls it."""
        layers = "one layer" if self.form.layers == 1 else f"{len(self.layers)} layers"
        return f"{self.plain / 1e6:,.0f} MB in {layers} of gzip, {self.size / 1e6:,.0f} MB to move"


def made(form: Form, folder: Path) -> Made:
    """Write an image of this machine's files as an OCI layout."""
    blobs = folder / "layout" / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def kept(content: bytes, media_type: str) -> dict[str, object]:
        digest = hashlib.sha256(content).hexdigest()
        (blobs / digest).write_bytes(content)
        return {
            "mediaType": f"application/vnd.oci.image.{media_type}",
            "digest": f"sha256:{digest}",
            "size": len(content),
        }

    def layer(content: bytes, check: object) -> dict[str, object]:
        del check
        return kept(gzip.compress(content, 6, mtime=0), "layer.v1.tar+gzip")

    contents = inputs.system_layers(form.mib * MIB, form.layers)
    layers = in_parallel([partial(layer, content) for content in contents], workers=os.cpu_count() or 1)
    diff_ids = [f"sha256:{hashlib.sha256(content).hexdigest()}" for content in contents]
    config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": kept(json.dumps(config).encode(), "config.v1+json"),
        "layers": layers,
    }
    top = kept(json.dumps(manifest).encode(), "manifest.v1+json") | {
        "annotations": {"org.opencontainers.image.ref.name": "1"}
    }
    (folder / "layout" / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (folder / "layout" / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [top]}))
    paths = [blobs / str(one["digest"]).removeprefix("sha256:") for one in layers]
    return Made(form, folder / "layout", paths, sum(map(len, contents)))


@contextmanager
def registry(folder: Path) -> Iterator[str]:
    """Run docker-registry for a block, and yield its host and port. `emptied` makes it forget all."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = {
        "version": 0.1,
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "registry")}},
        "http": {"addr": f"127.0.0.1:{port}", "secret": "benchmark"},
    }
    folder.mkdir(exist_ok=True)
    (folder / "config.yml").write_text(json.dumps(config))  # JSON is YAML
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", folder / "config.yml"], stdout=log, stderr=log)
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def emptied(folder: Path) -> Callable[[], None]:
    """Return what makes a registry forget all that it has; it keeps nothing in memory."""
    return gone(folder / "registry" / "docker")


@dataclass
class EngineSubject(Subject):
    """Something that the Engine's daemon does for a client: what that takes counts."""

    daemon: int = 0

    def turn(self, number: int) -> None:
        """Run once and note it."""
        if number > self.most:
            return
        self.before()
        Path(f"/proc/{self.daemon}/clear_refs").write_text("5")  # its peak begins anew
        before = _processor(self.daemon)
        done = run(self.command)
        status = Path(f"/proc/{self.daemon}/status").read_text()
        peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
        self.peak = max(self.peak, done.peak, peak * 1024)
        if number:
            self.seconds.append(done.seconds)
            self.processor.append(done.processor + _processor(self.daemon) - before)


def _processor(process: int) -> float:
    """Return the processor seconds of a process and of those that it waited for."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


@dataclass
class Peers:
    """The programs beside orlop that are installed, each with a store of its own in a folder."""

    work: Path
    engine: int = 0

    @property
    def skopeo(self) -> str | None:
        """How skopeo is called, where it is installed."""
        return "skopeo --insecure-policy copy -q" if shutil.which("skopeo") else None

    @property
    def podman(self) -> str | None:
        """How podman is called, where it is installed."""
        return shlex.join(podman_command(self.work)) if shutil.which("podman") and not os.geteuid() else None

    @property
    def docker(self) -> str | None:
        """How the Engine's client is called, where the Engine runs."""
        return shlex.join(engine_command(self.work)) if self.engine else None


def peers(work: Path, stack: ExitStack, *, quick: bool) -> Peers:
    """Return the programs beside orlop; only the fastest of them for a quick look."""
    work.mkdir(exist_ok=True)
    found = Peers(work)
    if not quick and start_engine(work, stack):
        found.engine = int((work / "pid").read_text())
    return found


def shell(name: str, command: str, before: Callable[[], object], *, daemon: int = 0) -> Subject:
    """Return a subject that is a line for the shell."""
    line = ["sh", "-ec", command]
    return EngineSubject(name, line, before, daemon=daemon) if daemon else Subject(name, line, before)


def arguments() -> tuple[bool, Sequence[Form], int | None]:
    """Return what the command line asks for: a quick look or not, the forms, and the turns."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="two small forms beside skopeo alone; no page is written")
    parser.add_argument("--form", action="append", choices=[form.name for form in FORMS])
    parser.add_argument("--turns", type=int)
    options = parser.parse_args()
    forms = QUICK if options.quick else FORMS
    chosen = [form for form in forms if not options.form or form.name in options.form]
    return options.quick or bool(options.form), chosen, options.turns


@dataclass
class Page:
    """A page of tables, one for each form, and the goals that were missed."""

    name: str
    title: str
    told: str
    lines: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)

    def add(self, image: Made, subjects: Sequence[Subject], floor: float) -> None:
        """Add the table of one form; ratios are to ``floor`` seconds."""
        head = f"{image.told[0].upper()}{image.told[1:]}; medians of {len(subjects[0].seconds)}:"
        self.lines += [
            "",
            head,
            "",
            "| work | seconds | ratio | processor, s | peak, MB |",
            "|---|---:|---:|---:|---:|",
        ]
        self.lines += [
            f"| `{one.name}` | {one.median:.2f} | {one.median / floor:.2f} | {one.processor_median:.2f} |"
            f" {one.peak / 1e6:.0f} |"
            for one in subjects
        ]

    def goal(self, image: Made, what: str, ratio: float, most: float) -> None:
        """Note a goal, and whether it is reached."""
        is_missed = ratio > most
        self.lines += ["", f"- {what}: {ratio:.2f}, the goal is {most:g}{', missed' if is_missed else ''}."][
            self._in_list() :
        ]
        if is_missed:
            self.missed.append(f"{image.form.name}: {what}")

    def _in_list(self) -> bool:
        return bool(self.lines) and self.lines[-1].startswith("- ")

    def close(self, *, quick: bool) -> None:
        """Write the page, or only show it where it was a quick look."""
        told = ", ".join(f"{name} {version}" for name, version in versions().items())
        machine = (
            f"{_model()}, {os.cpu_count()} cores; {told}; docker-registry {_registry_version()} on the same machine."
        )
        text = "\n".join([f"# {self.title}", "", paragraph(f"{self.told} {machine}"), *self.lines, ""])
        if quick:
            print(text)
        else:
            report(self.name, text)
        if self.missed:
            raise SystemExit(f"missed: {'; '.join(self.missed)}")


def _model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "a processor without a name"


def _registry_version() -> str:
    line = subprocess.run(["docker-registry", "--version"], capture_output=True, text=True, check=True).stdout
    return line.split()[-1]


def orlop(root: Path) -> str:
    """Return how orlop is called for a store."""
    return shlex.join([*ORLOP, "--root", str(root)])


def measure_forms(page: Page, measured: Callable[[Form, Path, Peers, Page, int], None]) -> bool:
    """Add to a page what ``measured`` finds of each form that the command line asks for; return whether it is quick."""
    quick, forms, turns = arguments()
    with tempfile.TemporaryDirectory(prefix="orlop-bench-", ignore_cleanup_errors=True) as name, ExitStack() as stack:
        beside = peers(Path(name) / "peers", stack, quick=quick and len(forms) > 1)
        for form in forms:
            folder = Path(name) / form.name
            folder.mkdir()
            measured(form, folder, beside, page, turns or form.turns)
            shutil.rmtree(folder)
    return quick
