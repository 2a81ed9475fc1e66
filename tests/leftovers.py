"""What a process that tests leaves behind where it is killed: servers that run on, and their directories.

pytest kills a worker that is slow to end, and then nothing runs that was registered with `atexit`. A shell that waits
for the end of a pipe sees every end of the process that has the other one.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_WAITING: Final[list[int]] = []
"""Descriptors of pipes to waiting shells, plain numbers so that nothing closes them before this process ends."""
_ENDING: Final = """
trap '' INT TERM HUP
cd /
read -r _
for signal in QUIT KILL; do
    for process in /proc/[0-9]*; do
        case $(readlink "$process/cwd") in
        "$1" | "$1"/*) kill -$signal "${process#/proc/}" ;;
        esac
    done
    [ $signal = KILL ] || sleep 1
done
rm -rf "$1"
"""


def end_with_us(folder: Path) -> None:
    """Have the processes that work in a directory killed, and it removed, once this process has ended in any way."""
    reading, writing = os.pipe()
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        os.posix_spawnp(
            "sh",
            ["sh", "-c", _ENDING, "sh", str(folder.resolve())],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, reading, 0),
                (os.POSIX_SPAWN_DUP2, nothing, 1),
                (os.POSIX_SPAWN_DUP2, nothing, 2),
            ],
            setsid=True,
        )
    finally:
        os.close(reading)
        os.close(nothing)
    _WAITING.append(writing)
