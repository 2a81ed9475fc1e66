"""orlop's command line, measuring itself: how long each stage took, and how much of that on a core.

`python -c LAUNCH START WORDS...` runs `orlop WORDS...` and prints one line of JSON at its end. START is what
``time.perf_counter()`` said before this process began. Times are exclusive: a stage within another is not counted
twice.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn, Self

if TYPE_CHECKING:
    from collections.abc import Callable

LAUNCH: Final = f"""
import time
begun = time.perf_counter(), time.process_time()
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import stages
stages.main(*begun)
"""
"""What looks at the clock before this module, and all that it imports, is imported."""


class Spent(NamedTuple):
    """What one stage took, in seconds: in the main thread, or ``beside`` it."""

    stage: str
    beside: bool
    wall: float
    cpu: float


class Clock:
    """Sums up what functions take that are called within each other, in several threads."""

    def __init__(self) -> None:
        self._local = threading.local()
        self._turn = threading.Lock()
        self.spent: dict[tuple[str, bool], tuple[float, float]] = {}

    def add(self, stage: str, wall: float, cpu: float, *, beside: bool = False) -> None:
        """Note seconds of a stage."""
        with self._turn:
            before = self.spent.get((stage, beside), (0.0, 0.0))
            self.spent[stage, beside] = (before[0] + wall, before[1] + cpu)

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that does the same, and whose time is noted."""

        @functools.wraps(function)
        def measured(*args: Any, **kwargs: Any) -> Any:
            # What is called from within adds up here, so that it can be taken off.
            outer: list[float] | None = getattr(self._local, "inner", None)
            self._local.inner = inner = [0.0, 0.0]
            wall, cpu = time.perf_counter(), time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                wall, cpu = time.perf_counter() - wall, time.thread_time() - cpu
                beside = threading.current_thread() is not threading.main_thread()
                self.add(stage, wall - inner[0], cpu - inner[1], beside=beside)
                self._local.inner = outer
                if outer is not None:
                    outer[0] += wall
                    outer[1] += cpu

        return measured

    def time(self, stage: str, owner: object, *names: str) -> None:
        """Time functions of a module or class from now on."""
        for name in names:
            setattr(owner, name, self.timed(stage, getattr(owner, name)))


class Proxy:
    """An object some of whose methods are timed, where its class cannot be changed."""

    def __init__(self, clock: Clock, stage: str, target: Any, name: str) -> None:
        self._target = target
        setattr(self, name, clock.timed(stage, getattr(target, name)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)

    def __enter__(self) -> Self:
        self._target.__enter__()
        return self

    def __exit__(self, *args: object) -> None:
        self._target.__exit__(*args)


def import_all(words: list[str]) -> None:
    """Import what the command will, so that importing is a stage of its own."""
    verb = next(word for word in words if word in {"load", "save"})
    names = ["cli.main", "cli.root", f"cli.commands.{verb}", "service.image_service", f"service.{verb}", "store.root"]
    names += ["streams.pipeline", "streams.compression"] + (["intake.commit"] if verb == "load" else [])
    for name in names:
        importlib.import_module(f"orlop.{name}")


def time_stages(clock: Clock) -> None:
    """Time everything that takes long."""
    layers, pipeline, files = (importlib.import_module(f"orlop.{name}") for name in _MODULES)
    clock.time("wait for the other threads", pipeline.Fanout, "put", "close")
    clock.time("wait for the disk", files.NewFile, "sync")
    clock.time("wait for the disk", os, "fsync", "fdatasync")
    clock.time("read", os, "pread")
    clock.time("write", os, "write")
    compression = importlib.import_module("orlop.streams.compression")
    clock.time("decompress", compression.DecompressingReader, "read")
    if "orlop.intake.commit" in sys.modules:
        commit, scan, toc = (importlib.import_module(f"orlop.{name}") for name in _LOAD_MODULES)
        clock.time("scan headers", scan.TarScanner, "feed", "close")
        clock.time("compress the table of contents", toc.TocWriter, "add", "close")
        clock.time("write the rows", commit._Commit, "_write")  # noqa: SLF001 - the stage has no public name
    opened, sha256 = layers.FileBlobStore.open_unverified, hashlib.sha256

    def open_unverified(*args: Any) -> Proxy:
        return Proxy(clock, "read", opened(*args), "read")

    def hashing(*args: Any, **kwargs: Any) -> Proxy:
        return Proxy(clock, "hash", sha256(*args, **kwargs), "update")

    layers.FileBlobStore.open_unverified = open_unverified
    hashlib.sha256 = hashing  # type: ignore[assignment]


_MODULES = ("store.blobs.files", "streams.pipeline", "streams.files")
_LOAD_MODULES = ("intake.commit", "streams.tar_scan", "streams.toc")


def main(begun: float, computed: float) -> None:
    """Run the command, and print what each stage took.

    Args:
        begun: what ``time.perf_counter()`` said first.
        computed: what ``time.process_time()`` said first.
    """
    start, words = float(sys.argv[1]), sys.argv[2:]
    clock = Clock()
    clock.add("start the interpreter", begun - start, computed)
    clock.timed("import modules", import_all)(words)
    time_stages(clock)

    # The command ends its process by this, without a word to anyone.
    leave, os._exit = os._exit, stop
    sys.argv = ["orlop", *words]
    command = importlib.import_module("orlop.cli.main").main
    try:
        clock.timed("everything else", command)()
    except StoppedError as stopped:
        spent = [Spent(stage, beside, *times) for (stage, beside), times in clock.spent.items()]
        print(json.dumps({f"{one.stage}, {one.beside}": one for one in spent}), flush=True)
        leave(stopped.status)


class StoppedError(Exception):
    """The command is done, and its process would end with a status."""

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(status)


def stop(status: int) -> NoReturn:
    """End in place of ``os._exit``."""
    raise StoppedError(status)
