"""Runs a command with a stream of any length on its standard input, within bounds, and reports what it took."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

CPU: Final = 90
"""Seconds of processor time after which the system ends the command: a bound for what must end, not a measure."""

_MEMORY: Final = 4 << 30
_START: Final = """
import os, resource, sys
cpu, memory, files, *command = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_CPU, (int(cpu),) * 2)
resource.setrlimit(resource.RLIMIT_AS, (int(memory),) * 2)
resource.setrlimit(resource.RLIMIT_NOFILE, (int(files),) * 2)
os.execv(sys.executable, [sys.executable, "-m", "orlop", *command])
"""


# What a process had in memory before it became another program counts as the peak of that, and tests have much in
# memory: the command is the child of a small process, which tells its peak.
_SMALL = """
import os, resource, subprocess, sys
status = subprocess.call(sys.argv[2:], close_fds=True)
os.write(int(sys.argv[1]), b"%d" % resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
os._exit(status & 0xFF)
"""


@dataclass(frozen=True)
class Outcome:
    """How a command ended: ``peak`` is its resident memory in bytes at the most, mapped files included."""

    status: int
    out: str
    err: str
    peak: int


def measured(*command: str | Path, feed: Iterable[bytes] | None = None, files: int = 1024) -> Outcome:
    """Run ``orlop`` and wait for it. What it does not read of the stream is never made."""
    told, tell = os.pipe()
    small = [sys.executable, "-c", _SMALL, str(tell)]
    argv = [*small, sys.executable, "-c", _START, str(CPU), str(_MEMORY), str(files), *map(str, command)]
    pipe = subprocess.PIPE
    stdin = subprocess.DEVNULL if feed is None else pipe
    with subprocess.Popen(argv, stdin=stdin, stdout=pipe, stderr=pipe, pass_fds=[tell]) as child:
        os.close(tell)
        writer = threading.Thread(target=_write, args=(child, feed or ()))
        writer.start()
        texts: dict[str, bytes] = {}
        readers = [
            threading.Thread(target=lambda name=name, pipe=pipe: texts.update({name: pipe.read()}))
            for name, pipe in (("out", child.stdout), ("err", child.stderr))
        ]
        for reader in readers:
            reader.start()
        for thread in (*readers, writer):
            thread.join()
        child.wait()
    peak = int(os.read(told, 32)) << 10
    os.close(told)
    return Outcome(child.returncode, texts["out"].decode(), texts["err"].decode(), peak)


def _write(child: subprocess.Popen[bytes], feed: Iterable[bytes]) -> None:
    if child.stdin is None:
        return
    with suppress(BrokenPipeError):
        for piece in feed:
            child.stdin.write(piece)
    with suppress(BrokenPipeError):
        child.stdin.close()
