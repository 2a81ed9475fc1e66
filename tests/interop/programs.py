"""The other programs, each behind a few lines: how to run them privately, and how to stop them surely."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.needs import PATH, missing, need, need_root

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

#: Long enough for a busy machine; nothing here is measured.
PATIENCE: Final = 120


def environment(**more: str) -> dict[str, str]:
    """Return what a program may see: nothing of the developer's own settings, times in UTC, messages in English."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("DOCKER_", "ORLOP_", "XDG_", "LC_"))}
    return kept | {"PATH": PATH, "TZ": "UTC", "LANG": "C.UTF-8"} | more


class Program:
    """A command line with its first arguments and its environment."""

    def __init__(self, argv: Sequence[str | Path], env: Mapping[str, str] | None = None) -> None:
        self.argv = [str(argument) for argument in argv]
        self.env = environment(**(env or {}))

    def run(
        self, *args: str | Path, stdin: bytes = b"", env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Run it to its end, whatever that is."""
        argv = [*self.argv, *(str(argument) for argument in args)]
        return subprocess.run(
            argv, input=stdin, env={**self.env, **(env or {})}, capture_output=True, check=False, timeout=PATIENCE
        )

    def __call__(self, *args: str | Path, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> str:
        """Run it, expect success, and return its standard output as text."""
        done = self.run(*args, stdin=stdin, env=env)
        if done.returncode:
            errors = done.stderr.decode(errors="replace")
            pytest.fail(f"{' '.join(map(str, done.args))}\nended with {done.returncode}:\n{errors}")
        return done.stdout.decode()

    def lines(self, *args: str | Path) -> list[str]:
        """Run it and return the lines of its standard output."""
        return self(*args).splitlines()

    def json(self, *args: str | Path) -> Any:
        """Run it and return its standard output, read as JSON."""
        return json.loads(self(*args))


class Orlop(Program):
    """The command line under test, on a root of its own, or a store beyond this machine."""

    def __init__(self, root: Path | str) -> None:
        super().__init__([sys.executable, "-m", "orlop", "--root", root])
        self.root = Path(root)


class Docker(Program):
    """Docker's client, and the daemon that it speaks to."""

    def __init__(self, client: str, socket: Path, config: Path) -> None:
        super().__init__([client], {"DOCKER_HOST": f"unix://{socket}", "DOCKER_CONFIG": str(config)})

    def inspect(self, name: str) -> Any:
        """Return the one object that `docker inspect` says about an image."""
        (answer,) = self.json("image", "inspect", name)
        return answer

    def wipe(self) -> None:
        """Remove every container, volume and image."""
        if containers := self.lines("ps", "-aq", "--no-trunc"):
            self("rm", "-f", *containers)
        # A container that was made from an image with volumes leaves them behind.
        if volumes := self.lines("volume", "ls", "-q"):
            self("volume", "rm", *volumes)
        # A parent goes with its last child, and one that is still in the way goes in the next round.
        ids: dict[str, str | None] = {}
        for _ in range(10):
            ids = dict.fromkeys(self.lines("images", "-aq", "--no-trunc"))
            if not ids:
                return
            self.run("rmi", "-f", *ids)
        pytest.fail(f"these images do not go: {', '.join(ids)}")


def unmount_below(folder: str | Path) -> None:
    """Unmount what an engine has left mounted below a folder, also where something is still busy there."""
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for mount in reversed(mounts):
        if mount.startswith(f"{folder}/"):
            subprocess.run([need("umount"), "--lazy", mount], check=False)


@contextlib.contextmanager
def folder_of_engine(prefix: str) -> Iterator[str]:
    """Return, for a block, a folder in which an engine may mount what it wants."""
    with tempfile.TemporaryDirectory(prefix=prefix) as folder:
        try:
            yield folder
        finally:
            unmount_below(folder)


class Daemon:
    """A Docker daemon in a folder of its own: no network, no group, nothing of the machine's own daemon."""

    def __init__(self, *options: str, drivers: Sequence[str] = ("overlay2", "vfs")) -> None:
        need_root()
        program = need("dockerd")
        client = need("docker")
        need("setpriv")
        self._options = options
        # A socket's path has at most 107 bytes, which pytest's own folders may exceed.
        self.folder = Path(tempfile.mkdtemp(prefix="orlop-engine-"))
        self.docker = Docker(client, self.folder / "docker.sock", self.folder / "config")
        self.process: subprocess.Popen[bytes] | None = None
        try:
            # Not every file system carries overlay2.
            self.driver = next((name for name in drivers if self._start(program, name)), None)
            if self.driver is None:
                missing(f"dockerd does not start:\n{self.log()}")
        except BaseException:
            self.stop()
            raise

    def log(self) -> str:
        """Return the last lines that the daemon said."""
        lines = (self.folder / "log").read_text(errors="replace").splitlines()
        return "\n".join(lines[-30:])

    def _start(self, program: str, driver: str) -> bool:
        folder = self.folder
        argv = ["setpriv", "--pdeathsig", "TERM", program, f"--data-root={folder}/root", f"--exec-root={folder}/exec"]
        argv += [f"--host=unix://{folder}/docker.sock", f"--pidfile={folder}/pid", f"--storage-driver={driver}"]
        argv += ["--iptables=false", "--bridge=none", "--group=root", *self._options]
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment())
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < deadline:
            if not self.docker.run("version").returncode:
                return True
            time.sleep(0.1)
        self._end()
        shutil.rmtree(folder / "root", ignore_errors=True)
        return False

    def _end(self) -> None:
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None
        # A daemon that was killed leaves its containerd behind.
        with contextlib.suppress(OSError, ValueError):
            os.kill(int((self.folder / "exec/containerd/containerd.pid").read_text()), signal.SIGKILL)

    @contextlib.contextmanager
    def stopped(self) -> Iterator[Path]:
        """Stop the daemon for a block, which gets the folder of its images, and start it again on the same data."""
        assert self.driver is not None
        self._end()
        try:
            yield self.folder / "root" / "image" / self.driver
        finally:
            if not self._start(need("dockerd"), self.driver):
                pytest.fail(f"dockerd does not start again:\n{self.log()}")

    def stop(self) -> None:
        """End the daemon and what it started, and remove its folder."""
        self._end()
        unmount_below(self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)
