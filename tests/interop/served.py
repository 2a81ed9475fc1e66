"""`orlop serve` as a process of its own, and docker's command before it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.interop.programs import PATIENCE, Docker, Orlop, environment
from tests.needs import need

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True)
class Served:
    """A server that runs: where it listens, and its process."""

    host: str
    pid: int
    orlop: Orlop
    folder: Path

    @property
    def socket(self) -> Path:
        """The Unix socket at which it listens."""
        return self.folder / "api.sock"

    def docker(self) -> Docker:
        """Docker's command, speaking to it."""
        return Docker(need("docker"), self.socket, self.folder / "config")

    def resident(self) -> int:
        """Return how many bytes of its memory are in use; what mapped files take is not counted."""
        fields = dict(line.split(":", 1) for line in Path(f"/proc/{self.pid}/status").read_text().splitlines())
        return int(fields["RssAnon"].split()[0]) << 10

    def descriptors(self) -> list[str]:
        """Return what its open files are."""
        found = []
        for entry in Path(f"/proc/{self.pid}/fd").iterdir():
            try:
                found.append(str(entry.readlink()))
            except FileNotFoundError:
                continue
        return sorted(found)


@contextmanager
def serve(
    root: Path | str,
    *options: str,
    tcp: bool = False,
    env: Mapping[str, str] | None = None,
    heard: list[str] | None = None,
) -> Iterator[Served]:
    """Serve a root for a block, on a Unix socket or on TCP at this machine's loopback; it must end well.

    It must not log anything either, unless there is a list for its lines.
    """
    orlop = Orlop(root)
    # A socket's path has at most 107 bytes, which pytest's own folders may exceed.
    folder = Path(tempfile.mkdtemp(prefix="orlop-serve-"))
    where = ["tcp://127.0.0.1:0", "--allow-anonymous"] if tcp else [f"unix://{folder}/api.sock"]
    argv = [*orlop.argv, "serve", "-H", *where, *options]
    process = subprocess.Popen(
        argv, env=environment(**(env or {})), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        first = process.stderr.readline()
        assert first.startswith("Listening on "), first
        lines: list[str] = [] if heard is None else heard
        # Who does not read would stop the server once the pipe is full.
        reader = threading.Thread(target=lines.extend, args=(process.stderr,))
        reader.start()
        yield Served(first.removeprefix("Listening on ").strip(), process.pid, orlop, folder)
        assert process.poll() is None, "the server has ended by itself"
        os.kill(process.pid, signal.SIGTERM)
        process.wait(PATIENCE)
        reader.join(PATIENCE)
        assert (process.returncode, lines if heard is None else []) == (0, [])
    finally:
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()
        shutil.rmtree(folder)
