"""Servers that tests start end with the process that started them, whatever ends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.waiting import until

_STARTS = """
import subprocess, sys
from pathlib import Path
from tests.leftovers import end_with_us
folder = Path(sys.argv[1])
end_with_us(folder)
below = folder / "data"
below.mkdir()
servers = [subprocess.Popen(["sleep", "600"], cwd=where, stdout=subprocess.DEVNULL) for where in (folder, below)]
print(*(server.pid for server in servers), flush=True)
sys.stdin.read()
"""


@pytest.mark.sampled(3)
def test_servers_end_with_a_process_that_is_killed(tmp_path: Path) -> None:
    folder, other = tmp_path / "a b", tmp_path / "a bc"
    folder.mkdir()
    other.mkdir()
    bystander = subprocess.Popen(["sleep", "600"], cwd=other)
    process = subprocess.Popen(
        [sys.executable, "-c", _STARTS, folder],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    servers = [int(number) for number in process.stdout.readline().split()]
    try:
        time.sleep(1.2)
        assert all(_runs(number) for number in servers)
        assert folder.exists()
        process.kill()
        process.communicate()
        until(lambda: not folder.exists())
        until(lambda: not any(_runs(number) for number in servers))  # one that was killed takes a moment to end
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()
        for number in servers:
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)


def _runs(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_who_waits_for_the_end_of_a_process_is_nothing_that_it_leaves_open(tmp_path: Path) -> None:
    text = (
        "import sys; from pathlib import Path; from tests.leftovers import end_with_us; end_with_us(Path(sys.argv[1]))"
    )
    folder = tmp_path / "folder"
    folder.mkdir()
    ended = subprocess.run(
        [sys.executable, "-X", "dev", "-c", text, folder],
        cwd=Path(__file__).parents[2],
        check=True,
        capture_output=True,
        text=True,
    )
    assert not ended.stderr
    until(lambda: not folder.exists())
