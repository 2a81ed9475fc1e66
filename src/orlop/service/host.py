"""The machine on which the store is served."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from typing import Final

from orlop.intake.platforms import host_platform
from orlop.model.digest import Digest

_RELEASE: Final = "/etc/os-release"
_FIELD: Final = re.compile(r"([A-Z_]+)=(?:\"([^\"]*)\"|'([^']*)'|(.*))")
_MACHINE_ID: Final = "/etc/machine-id"


@dataclass(frozen=True, slots=True)
class Host:
    """A machine: ``architecture`` as the kernel names it, ``go_architecture`` as Go does, ``memory`` in bytes."""

    id: str
    name: str
    system: str
    kernel: str
    architecture: str
    go_architecture: str
    operating_system: str
    os_version: str
    processors: int
    memory: int
    python: str


def this_host() -> Host:
    """Look at the machine that this process runs on; what it does not tell is empty."""
    system = os.uname()
    own = host_platform()
    release = _release()
    return Host(
        id=_id(system.nodename),
        name=system.nodename,
        system=own.os,
        kernel=system.release,
        architecture=system.machine,
        go_architecture=own.architecture,
        operating_system=release.get("PRETTY_NAME", ""),
        os_version=release.get("VERSION_ID", ""),
        processors=os.cpu_count() or 1,
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        python=platform.python_version(),
    )


def _release() -> dict[str, str]:
    matches = map(_FIELD.fullmatch, _text(_RELEASE).splitlines())
    return {match[1]: match[2] or match[3] or match[4] or "" for match in matches if match is not None}


def _id(name: str) -> str:
    """Return an ID that stays the same on this machine, and does not tell the one that the system keeps private."""
    digest = Digest.of(f"orlop {_text(_MACHINE_ID) or name}".encode())
    return ":".join(digest.hex[start : start + 4].upper() for start in range(0, 48, 4))


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
