"""Ports for servers that take a number and not a socket, and ports at which nobody listens.

A port that was free when it was chosen may be taken when the server asks for it: the kernel gives the ports of a range
of its own to every connection and to every server that asks for any port. Then the test speaks to a stranger, who may
even answer. So these ports lie below that range, and while a process of tests lives, no other one gets the same.
"""

from __future__ import annotations

import random
import socket
from pathlib import Path
from typing import Final

_FIRST: Final = 10_240
_HELD: Final[list[int]] = []
"""Sockets without a file, one for each port that this process has had: their names tell other processes of tests."""


def free_ports(count: int) -> list[int]:
    """Return ports at which nobody listens, all different, none of which another test gets."""
    found: list[int] = []
    while len(found) < count:
        port = random.SystemRandom().randrange(_FIRST, _end())
        if _is_free(port):
            found.append(port)
    return found


def free_port() -> int:
    """Return one port at which nobody listens, as `free_ports` does."""
    return free_ports(1)[0]


def _end() -> int:
    """Return the first port of those that the kernel gives away itself."""
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    # A machine that gives away nearly all of them leaves no better choice.
    return first if first > _FIRST + 1_000 else 32_768


def _is_free(port: int) -> bool:
    """Return whether nobody is at a port or has been promised it, and promise it to this process."""
    name = socket.socket(socket.AF_UNIX)
    try:
        name.bind(f"\0orlop-tests-port-{port}")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
    except OSError:
        name.close()
        return False
    _HELD.append(name.detach())
    return True
