"""Stores to be damaged, and ways to damage them for real."""

from __future__ import annotations

import io
import os
import sqlite3
import subprocess
from contextlib import closing
from typing import TYPE_CHECKING

import orlop
from tests.unit.layouts import Layout, named

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from orlop import stores

PLAIN, PACKED = "example.com/plain:1", "example.com/packed:1"


def layout(name: str, *files: str, compress: bool) -> bytes:
    """An OCI archive of one image with a layer for each file."""
    made = Layout()
    made.top(made.image(*files, compress=compress, **named(name)))
    return made.pack()


def fill(root: Path, data: Path) -> None:
    """Make a store of every kind of content: parents, manifests, plain and compressed layers, one in two forms."""
    with orlop.open(root) as images:
        images.load(data / "dockerd-20.10-overlay2" / "parent-child.tar")
        images.load(data / "dockerd-29-overlay2" / "multi.tar")
        images.load(data / "other-tools" / "skopeo-oci-archive-zstd.tar")
        images.load(io.BytesIO(layout(PLAIN, "both", compress=False)))
        images.load(io.BytesIO(layout(PACKED, "both", "only", compress=True)))


def copied(root: Path, target: Path) -> Path:
    """Copy a store as it is, modes and all."""
    subprocess.run(["cp", "-a", root, target], check=True)
    return target


def sql(root: Path, *statements: str) -> None:
    """Change rows behind the store's back."""
    with closing(sqlite3.connect(root / "metadata.db")) as database, database:
        for statement in statements:
            database.execute(statement)


def ask(root: Path, statement: str) -> list[tuple[object, ...]]:
    """Give rows."""
    with closing(sqlite3.connect(root / "metadata.db")) as database:
        return database.execute(statement).fetchall()


def parent_and_child(root: Path) -> tuple[str, str]:
    """The IDs of an image that was built on another one, and of that."""
    statement = "SELECT CAST(value AS TEXT), image FROM image_metadata WHERE key = 'parent' ORDER BY image DESC LIMIT 1"
    ((parent, child),) = ask(root, statement)
    return str(parent), str(child)


def blobs(root: Path) -> list[Path]:
    """The files of all blobs, largest first."""
    found = (root / "blobs" / "sha256").iterdir()
    return sorted(found, key=lambda path: (-path.stat().st_size, path.name))


def tocs(root: Path) -> list[Path]:
    """The files of all tables of contents, largest first."""
    found = (root / "toc" / "sha256").iterdir()
    return sorted(found, key=lambda path: (-path.stat().st_size, path.name))


def flip(path: Path, at: int = -20) -> None:
    """Change one bit, and leave the size and the mode as they are."""
    content = bytearray(path.read_bytes())
    content[at] ^= 4
    overwrite(path, bytes(content))


def overwrite(path: Path, content: bytes) -> None:
    """Put other bytes into a file, whatever its mode."""
    mode = path.stat().st_mode
    path.chmod(0o600)
    path.write_bytes(content)
    path.chmod(mode)


def flip_first(path: Path) -> None:
    """Change the first byte, by which a format is recognised."""
    flip(path, 0)


def flip_inside(path: Path) -> None:
    """Change a byte in the middle."""
    flip(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    """Leave nothing of a file's content."""
    overwrite(path, b"")


def lengthen(path: Path) -> None:
    """Add a byte."""
    overwrite(path, path.read_bytes() + b"x")


def delete(path: Path) -> None:
    """Remove a file."""
    path.unlink()


def truncate(path: Path) -> None:
    """Take a file's end away."""
    os.truncate(path, path.stat().st_size - 7)


def swap(one: Path, other: Path) -> None:
    """Give two files each other's name."""
    aside = one.with_name("aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


def digest(path: Path) -> str:
    """The digest that a file's name says."""
    return f"sha256:{path.name.removesuffix('.zst')}"


def found(problems: Iterable[stores.Problem]) -> list[tuple[str, str]]:
    """Kinds and subjects, sorted."""
    return sorted((one.kind, one.subject) for one in problems)


def kinds(problems: Iterable[stores.Problem]) -> list[str]:
    """Kinds, sorted."""
    return sorted(one.kind for one in problems)
