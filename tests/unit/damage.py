"""Stores to be damaged, and ways to damage them for real."""

from __future__ import annotations

import io
import os
import sqlite3
import subprocess
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import orlop
from tests.unit.layouts import Layout, named

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from random import Random

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
    """Return rows."""
    with closing(sqlite3.connect(root / "metadata.db")) as database:
        return database.execute(statement).fetchall()


def parent_and_child(root: Path) -> tuple[str, str]:
    """The IDs of an image that was built on another one, and of that."""
    statement = "SELECT CAST(value AS TEXT), image FROM image_metadata WHERE key = 'parent' ORDER BY image DESC LIMIT 1"
    ((parent, child),) = ask(root, statement)
    return str(parent), str(child)


COLUMNS = {
    "image": ("id", "config", "chain", "created", "head"),
    "image_metadata": ("image", "key", "value"),
    "image_labels": ("image", "labels"),
    "reference": ("name", "suffix", "image"),
    "blob": ("digest", "size", "compression"),
    "diff": ("id", "size", "content_size", "entries", "partial"),
    "diff_blob": ("diff", "blob"),
    "chain": ("id", "parent", "diff", "size", "depth"),
    "manifest": ("digest", "media_type", "content"),
    "image_manifest": ("image", "manifest"),
}


def anything(root: Path, chance: Random) -> str:
    """Damage anything, and return what it was."""
    what = chance.choice(["row", "row", "row", "file", "file", "swap", "mode", "kind"])
    if what == "row":
        return any_row(root, chance)
    files = [path for path in [*blobs(root), *tocs(root)] if path.is_file() and not path.is_symlink()]
    path, other = chance.sample(files, 2)
    if what == "file":
        way = chance.choice([flip, flip_first, flip_inside, truncate, empty, lengthen, delete])
        if path.stat().st_size > 20:
            way(path)
        return f"{way.__name__} {path}"
    if what == "swap":
        swap(path, other)
    elif what == "mode":
        chance.choice([path, path.parent, root / "ingest"]).chmod(chance.choice([0o755, 0o700, 0o777]))
    else:
        path.unlink()
        instead = chance.choice([path.mkdir, lambda: os.mkfifo(path), lambda: path.symlink_to(other)])
        instead()
    return f"{what} {path}"


def any_row(root: Path, chance: Random) -> str:
    """Delete a row, or put something else into it."""
    table = chance.choice(list(COLUMNS))
    key, column = COLUMNS[table][0], chance.choice(COLUMNS[table])
    rows = ask(root, f"SELECT {key}, {column} FROM {table} ORDER BY 1, 2")
    if not rows:
        return "nothing"
    row, other = chance.choice(rows), chance.choice(rows)
    statement = f"DELETE FROM {table} WHERE {key} = ?"
    values = [row[0]]
    if chance.random() < 0.6:
        statement = f"UPDATE OR IGNORE {table} SET {column} = ? WHERE {key} = ?"
        values.insert(0, chance.choice([other[1], f"sha256:{'0' * 64}", 5, None, "../../x", b"x"]))
    with closing(sqlite3.connect(root / "metadata.db")) as database, suppress(sqlite3.IntegrityError), database:
        database.execute(statement, values)
    return f"{statement} {values!r:.200}"


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
    overwrite(path, path.read_bytes()[:-7])


def swap(one: Path, other: Path) -> None:
    """Swap the names of two files."""
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


def images_of(root: Path) -> list[object]:
    """All that a list of all images has."""
    with orlop.open(root, create=False) as images:
        return [(image.id, image.references, image.created) for image in images.images(all=True)]


def rows_of(root: Path) -> list[str]:
    """The statements that make the rows of a store, sorted; without leases, which only hold what others name."""
    with closing(sqlite3.connect(root / "metadata.db")) as database:
        return sorted(line for line in database.iterdump() if not line.startswith('INSERT INTO "lease"'))
