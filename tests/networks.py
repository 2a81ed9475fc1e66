"""Networks of this machine that can be cut: a namespace for each of several machines, and one address for the engines.

A cut loses every packet of a machine in both directions. Nobody is told: no connection is reset.
"""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from tests.needs import missing, need

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Line(NamedTuple):
    """The line of one machine to the others."""

    space: str
    device: str

    def command(self, *arguments: str) -> Sequence[str]:
        """Return a command that runs at this end."""
        return [need("ip"), "netns", "exec", self.space, *arguments]

    def cut(self) -> None:
        """Lose everything from now on."""
        _run("link", "set", self.device, "down")

    def join(self) -> None:
        """Lose nothing any more. Idempotent."""
        _run("link", "set", self.device, "up")


@contextmanager
def network(machines: int) -> Iterator[tuple[str, list[Line]]]:
    """Yield the address at which engines listen, and the lines of some machines to it. Needs root."""
    number = os.getpid()
    net = f"10.{number >> 8 & 255}.{number & 255}"
    lines = [Line(f"orlop-{number}-{one}", f"o{number}x{one}") for one in range(machines)]
    try:
        try:
            _run("addr", "add", f"{net}.254/32", "dev", "lo")
            for place, line in enumerate(lines):
                here, there = f"{net}.{4 * place + 1}", f"{net}.{4 * place + 2}"
                _run("netns", "add", line.space)
                _run("link", "add", line.device, "type", "veth", "peer", "name", "out", "netns", line.space)
                _run("addr", "add", f"{here}/30", "dev", line.device)
                _run("link", "set", line.device, "up")
                for told in (
                    ("addr", "add", f"{there}/30", "dev", "out"),
                    ("link", "set", "lo", "up"),
                    ("link", "set", "out", "up"),
                    ("route", "add", "default", "via", here),
                ):
                    _run("-n", line.space, *told)
        except subprocess.CalledProcessError as error:
            missing(f"this machine makes no networks: {error.stderr.decode(errors='replace').strip()}")
        yield f"{net}.254", lines
    finally:
        for line in lines:
            _run("link", "del", line.device, check=False)
            _run("netns", "del", line.space, check=False)
        _run("addr", "del", f"{net}.254/32", "dev", "lo", check=False)


def _run(*arguments: str, check: bool = True) -> None:
    subprocess.run([need("ip"), *arguments], check=check, capture_output=True, timeout=60)
