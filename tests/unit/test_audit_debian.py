"""What Debian ships is quiet: files of packages as they lie on this machine, in images of their own."""

from __future__ import annotations

import io
import os
import tarfile
from contextlib import suppress
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


@pytest.mark.sampled(3)
def test_no_rule_fires_on_what_debian_ships(debian: Path) -> None:
    with orlop.ArchiveService(debian) as service, service.files(None) as files:
        found = audit(files)
    assert found.size > 1_000_000
    severe = [(one.rule, one.path) for one in found.findings if one.kind == "secret" and one.severity != "low"]
    assert severe == []


QUIET: Final = {"root-user", "no-health-check", "setuid", "unknown-owner"}
"""What the documentation says of the root of a plain Debian, and what is so of every image without a config. Of the
accounts, those of this machine are not taken, so owners may lack one."""


@pytest.mark.sampled(4)
def test_nothing_but_usual_programs_is_told_of_the_root_of_a_plain_debian(tmp_path: Path) -> None:
    root = Path("/")
    if not (root / DATABASE / "status").exists():
        missing("this machine has no packages of Debian")
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in sorted(names_of_required(root)):
            with suppress(OSError):
                info = tar.gettarinfo(root / name, name)
                # Contents are looked at by the test above; here it is names, modes and owners.
                info.size, info.type = 0, tarfile.REGTYPE if info.islnk() else info.type
                tar.addfile(info)
        for name in ("status-old", "status", "available"):
            member = tarfile.TarInfo(f"{DATABASE}/{name}")
            member.size = 200_000
            tar.addfile(member, io.BytesIO(bytes(200_000)))
    (tmp_path / "image.tar").write_bytes(image(out.getvalue(), steps=["/bin/sh -c #(nop) ADD file:0123 in / "]))
    with orlop.ArchiveService(tmp_path / "image.tar") as service, service.files(None) as files:
        found = audit(files, contents=False)
    assert {one.rule for one in found.findings} <= QUIET
    assert {one.severity for one in found.findings if one.rule == "setuid"} == {"info"}


def names_of_required(root: Path) -> set[str]:
    """Return the names of all that the packages have which every Debian has."""
    names: set[str] = set()
    for stanza in (root / DATABASE / "status").read_text("utf-8", "surrogateescape").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in stanza.splitlines() if not line.startswith(" ") and ": " in line)
        if fields.get("Priority") != "required" and fields.get("Essential") != "yes":
            continue
        for end in (".list", f":{fields['Architecture']}.list"):
            listed = root / DATABASE / "info" / f"{fields['Package']}{end}"
            if listed.exists():
                names |= {
                    line[1:] for line in listed.read_text("utf-8", "surrogateescape").splitlines() if line != "/."
                }
    # Lists still have /bin/ls where /bin is a link to /usr/bin.
    return {str(path.parent.resolve() / path.name)[1:] for path in map(root.joinpath, names)}
