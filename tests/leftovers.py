"""What a process that tests leaves behind where it is killed: servers that run on, and their directories.

pytest kills a worker that is slow to end, and then nothing runs that was registered with `atexit`. A shell that waits
for the end of a pipe sees every end of the process that has the other one.
"""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_WAITING: Final[list[subprocess.Popen[bytes]]] = []
"""Shells that wait. Their pipes stay open as long as this process is there."""
_ENDING: Final = """
trap '' INT TERM HUP
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
    arguments = ["sh", "-c", _ENDING, "sh", str(folder.resolve())]
    _WAITING.append(
        subprocess.Popen(
            arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )
    )
