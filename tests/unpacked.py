"""Archives of the tests' own, unpacked alike by every Python that orlop supports."""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


def trust(archive: tarfile.TarFile) -> None:
    """Allow all members of an archive to be extracted as they are.

    ``extract(filter=…)`` is younger than the Python 3.11.2 of Debian 12; without a filter Python 3.12 warns.
    """
    archive.extraction_filter = getattr(tarfile, "fully_trusted_filter", None)


def but_devices(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Yield the members that every user may create: device nodes are root's alone."""
    return (member for member in archive if not (member.ischr() or member.isblk()))


def unpack(archive: tarfile.TarFile, folder: Path, members: Iterable[tarfile.TarInfo] | None = None) -> None:
    """Unpack an archive that is trusted, or some of its members."""
    trust(archive)
    archive.extractall(folder, members)
