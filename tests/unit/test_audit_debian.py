"""No secret is found in what Debian ships: files of packages as they lie on this machine, in an image of their own."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Final
from zlib import crc32

import pytest

import orlop
from orlop.inside.audit import audit
from tests.needs import missing
from tests.unit.images_made import image

if TYPE_CHECKING:
    from collections.abc import Iterator

DATABASE: Final = Path("var/lib/dpkg")
MOST: Final = 3 << 20  # bytes of a file
SHARE: Final = 1 if os.environ.get("ORLOP_LONG") else 500
NOISY: Final = ("libgnutls", "libcrypto", "magic", "ssh", "gpg", "ca-certificates")
"""Words of names of files that have words or examples of keys in them, so that all of these are taken."""
KEPT: Final = ("usr/bin/", "usr/lib/", "usr/sbin/", "usr/share/", "etc/", "bin/", "lib/", "sbin/")


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an archive of an image: a share of the files of the packages here, and the database that says whose."""
    root = Path("/")
    if not (root / DATABASE / "status").exists():
        missing("this machine has no packages of Debian")
    path = tmp_path_factory.mktemp("debian") / "image.tar"
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", dereference=True) as tar:
        tar.add(root / DATABASE / "status", DATABASE / "status")
        for name in sorted({*taken(root)}):
            tar.add(root / name, name)
    path.write_bytes(image(out.getvalue()))
    return path


def taken(root: Path) -> Iterator[str]:
    """Yield the names of a share of the files of packages, and of what says that they are theirs."""
    for sums in (root / DATABASE / "info").glob("*.md5sums"):
        names = [line[34:] for line in sums.read_text("utf-8", "surrogateescape").splitlines()]
        found = [name for name in names if name.startswith(KEPT) and is_taken(root / name)]
        if found:
            yield from (str(one.relative_to(root)) for one in (sums, sums.with_suffix(".list")))
            yield from found


def is_taken(file: Path) -> bool:
    noisy = any(word in file.name for word in NOISY)
    if not noisy and crc32(os.fsencode(file)) % SHARE:
        return False
    return file.is_file() and os.access(file, os.R_OK) and file.stat().st_size <= MOST


def test_no_rule_fires_on_what_debian_ships(debian: Path) -> None:
    with orlop.ArchiveService(debian) as service, service.files(None) as files:
        found = audit(files)
    assert found.size > 1_000_000
    severe = [(one.rule, one.path) for one in found.findings if one.kind == "secret" and one.severity != "low"]
    assert severe == []
