"""A real object store: SeaweedFS, which speaks S3, as a process of this one on ports of its own.

One server is started for each process that runs tests, when a test first asks for it, and ended with it. Another one
that runs already takes its place where `ORLOP_TEST_S3` names it, as ``http://KEY:SECRET@HOST:PORT``; tests that kill
the server still start SeaweedFS.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import pytest

from orlop.errors import StorageError
from orlop.store.blobs.s3.bucket import Bucket
from orlop.store.blobs.s3.client import S3Client
from orlop.store.blobs.s3.settings import Credentials, S3Settings
from tests.leftovers import end_with_us
from tests.needs import missing
from tests.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Sequence

_OTHER: Final = urlsplit(os.environ.get("ORLOP_TEST_S3", ""))
CREDENTIALS: Final = Credentials(_OTHER.username or "orlop-test", _OTHER.password or "orlop-test-secret")
_IDENTITY: Final = {
    "name": "orlop",
    "credentials": [{"accessKey": CREDENTIALS.access_key, "secretKey": CREDENTIALS.secret_key}],
    "actions": ["Admin", "Read", "Write", "List", "Tagging"],
}
_STARTING: Final = 60.0


class S3Server:
    """A server that runs, at an endpoint."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint

    @property
    def pid(self) -> int:
        """The number of its process, for tests that stop it."""
        missing(f"{self.endpoint} is not ours to stop")

    def settings(self, bucket: str, *, prefix: str = "", patience: float = 20.0) -> S3Settings:
        """Return how a bucket of this server is spoken to."""
        return S3Settings(
            bucket, prefix, endpoint=self.endpoint, credentials=CREDENTIALS, allow_http=True, patience=patience
        )

    def bucket(self, name: str) -> Bucket:
        """Return a bucket of this server, which need not be there."""
        return Bucket(S3Client(self.settings(name, patience=0.0)))


class Seaweed(S3Server):
    """One server of our own; `stop` and `start` keep its content."""

    def __init__(self, folder: Path, *, address: str = "127.0.0.1") -> None:
        self._folder = folder
        self._address = address
        (folder / "data").mkdir(parents=True)
        (folder / "s3.json").write_text(json.dumps({"identities": [_IDENTITY]}))
        self._ports = free_ports(8)
        super().__init__(f"http://{address}:{self._ports[6]}")
        self._process: subprocess.Popen[bytes] | None = None
        self._pid = os.getpid()

    def start(self) -> None:
        """Start it, and return once it takes requests."""
        with (self._folder / "log").open("ab") as log:
            # Its temporary files stay with its data, so that nothing outlives it.
            environment = {"PATH": os.environ.get("PATH", ""), "HOME": str(self._folder), "TMPDIR": str(self._folder)}
            self._process = subprocess.Popen(self._command(), env=environment, stdout=log, stderr=log, cwd=self._folder)
        until = time.monotonic() + _STARTING
        while True:
            try:
                self.bucket("probe").make()
            except StorageError:
                if self._process.poll() is not None or time.monotonic() > until:
                    said = (self._folder / "log").read_text(errors="replace")[-2000:]
                    raise RuntimeError(f"SeaweedFS does not start: {said}") from None
                time.sleep(0.1)
            else:
                return

    @property
    def pid(self) -> int:
        """The number of its process."""
        assert self._process is not None
        return self._process.pid

    def _command(self) -> Sequence[str]:
        names = [f"{part}.port{kind}" for part in ("master", "volume", "filer", "s3") for kind in ("", ".grpc")]
        ports = [f"-{name}={port}" for name, port in zip(names, self._ports, strict=True)]
        options = [
            f"-ip={self._address}",
            f"-ip.bind={self._address}",
            "-master.telemetry=false",
            "-master.volumeSizeLimitMB=64",
        ]
        options += ["-volume.max=200", "-filer", "-s3", "-s3.config=s3.json", "-s3.iam=false"]
        options += ["-s3.autoCreateBucket=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]
        program = Path(sys.prefix, "bin", "weed")
        return [str(program), "-logtostderr=true", "server", f"-dir={self._folder / 'data'}", *options, *ports]

    def stop(self) -> None:
        """Kill it, as a crash of its machine does."""
        process, self._process = self._process, None
        # A forked child leaves it to its parent.
        if process is not None and self._pid == os.getpid():
            process.kill()
            process.wait()
            # It makes these wherever it was told to put its files; another user may own what has such a name.
            for path in (path for port in self._ports for path in Path("/tmp").glob(f"seaweedfs-*-{port}.sock")):
                with suppress(FileNotFoundError, PermissionError):
                    path.unlink()


@cache
def the_server() -> S3Server:
    """Return the server of this process, or the one that runs already."""
    if _OTHER.hostname:
        return S3Server(f"{_OTHER.scheme}://{_OTHER.netloc.rpartition('@')[2]}")
    folder = Path(tempfile.mkdtemp(prefix="orlop-seaweed-"))
    end_with_us(folder)
    server = Seaweed(folder)
    owner = os.getpid()

    def end() -> None:
        if owner == os.getpid():
            server.stop()
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(end)
    server.start()
    return server


@pytest.fixture(scope="session")
def seaweed() -> S3Server:
    """A running server; each test takes a bucket or a prefix of its own."""
    return the_server()
