"""What a pull holds in memory at most, whatever its layers are."""

from __future__ import annotations

import io
import random
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING

import pytest

from tests.unit.layouts import Layout
from tests.unit.pulling import pulling, push
from tests.unit.test_pull import image_of

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20
MOST = 60_000_000
"""Bytes of the whole process, interpreter included."""
_PULL = """
import re, sys
from pathlib import Path
from orlop.cli.main import run
status = run(["--root", sys.argv[1], "pull", "-q", "--platform", "linux/amd64", sys.argv[2]])
sys.stderr.write(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1])
sys.exit(status)
"""


def half_tar(size: int, files: int) -> bytes:
    """Return a tar that gets about half as large: what is compressed and what comes out are both held."""
    digits = bytes(byte & 15 for byte in range(256))
    content = random.Random(0).randbytes(size).translate(digits)
    out, each = io.BytesIO(), size // files
    with tarfile.open(fileobj=out, mode="w") as tar:
        for number in range(files):
            member = tarfile.TarInfo(f"random/{number}")
            member.size = each
            tar.addfile(member, io.BytesIO(content[number * each : (number + 1) * each]))
    return out.getvalue()


@pytest.mark.slow
@pytest.mark.sampled(4, daily=False)
@pytest.mark.parametrize(("size", "files"), [(8, 1), (24, 10_000)])
def test_a_pull_of_several_layers_takes_little_memory(size: int, files: int, tmp_path: Path):
    layout, tar = Layout(), half_tar(size * MIB, files)
    # They differ in the first byte of the first file alone: to make each of them anew takes seconds.
    tars = [tar[:512] + bytes([number]) + tar[513:] for number in range(6)]
    with pulling(tmp_path) as there:
        push(there.registry, layout, image_of(layout, *tars), "1")
        done = subprocess.run(
            [sys.executable, "-c", _PULL, str(tmp_path / "other"), there.name()],
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
    assert int(done.stderr) * 1024 <= MOST, done.stderr
