"""What holds for every store at rest, checked by its files and rows alone."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

from orlop.store.rows.metadata import LOST_ROWS
from orlop.streams.compression import zstd_module

if TYPE_CHECKING:
    from pathlib import Path

HELD: Final = "everything is held, since a repair could not read all rows"


def hashed(data: bytes, digest: str) -> str:
    """Return the digest of bytes by the algorithm of another one."""
    algorithm = digest.partition(":")[0]
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def broken(root: Path) -> list[str]:
    """Return what does not hold; nothing for a store that is right and that nobody uses."""
    with closing(sqlite3.connect(root / "metadata.db")) as database:
        database.row_factory = sqlite3.Row
        return [
            *_database(database),
            *_images(database),
            *_layers(database, root),
            *_tables(database, root),
            *_leftovers(database, root),
        ]


def _all(database: sqlite3.Connection, statement: str) -> list[Any]:
    return database.execute(statement).fetchall()


def _database(database: sqlite3.Connection) -> list[str]:
    found = [f"database: {row[0]}" for row in _all(database, "PRAGMA integrity_check") if row[0] != "ok"]
    return found + [f"foreign key: {tuple(row)}" for row in _all(database, "PRAGMA foreign_key_check")]


def _images(database: sqlite3.Connection) -> list[str]:
    found = []
    images = {row["id"]: row for row in _all(database, "SELECT * FROM image")}
    chains = {row["id"] for row in _all(database, "SELECT id FROM chain")}
    parents = {
        row["image"]: row["value"].decode()
        for row in _all(database, "SELECT image, value FROM image_metadata WHERE key = 'parent'")
    }
    for identifier, row in images.items():
        if sha256(row["config"]) != identifier:
            found.append(f"image {identifier}: its config has another digest")
        chain = None
        for diff_id in json.loads(row["config"])["rootfs"].get("diff_ids") or ():
            chain = diff_id if chain is None else sha256(f"{chain} {diff_id}".encode())
        if row["chain"] != chain:
            found.append(f"image {identifier}: its chain is {row['chain']}, not {chain}")
        if chain is not None and chain not in chains:
            found.append(f"image {identifier}: its layers are not there")
        if bool(row["head"]) != (identifier not in parents.values()):
            found.append(f"image {identifier}: wrongly marked as a head or not")
        seen, above = {identifier}, parents.get(identifier)
        while above is not None and above not in seen:
            if above not in images:
                found.append(f"image {identifier}: its ancestor {above} is not there")
            seen.add(above)
            above = parents.get(above)
        if above is not None:
            found.append(f"image {identifier}: its parents are a circle")
    names = [row for row in _all(database, "SELECT * FROM reference") if row["image"] not in images]
    return found + [f"name {row['name']}{row['suffix']}: its image is not there" for row in names]


def _layers(database: sqlite3.Connection, root: Path) -> list[str]:
    found = []
    chains = {row["id"]: row for row in _all(database, "SELECT * FROM chain")}
    diffs = {row["id"]: row for row in _all(database, "SELECT * FROM diff")}
    blobs = {row["digest"]: row for row in _all(database, "SELECT * FROM blob")}
    forms = _all(database, "SELECT * FROM diff_blob")
    named = {
        one["digest"]
        for row in _all(database, "SELECT content FROM manifest")
        for one in _descriptors(json.loads(row["content"]))
    }
    needed = {row["parent"] for row in chains.values()} | {
        row["chain"] for row in _all(database, "SELECT chain FROM image")
    }
    for identifier, row in chains.items():
        parent = chains.get(row["parent"])
        expected = row["diff"] if parent is None else sha256(f"{parent['id']} {row['diff']}".encode())
        if (identifier, row["depth"]) != (expected, 1 if parent is None else parent["depth"] + 1):
            found.append(f"chain {identifier}: not what its parent and its layer make")
        if row["size"] != diffs[row["diff"]]["content_size"] + (0 if parent is None else parent["size"]):
            found.append(f"chain {identifier}: its size is not the sum")
        if identifier not in needed:
            found.append(f"chain {identifier}: nothing needs it")
    for identifier in diffs:
        if not any(form["diff"] == identifier for form in forms):
            found.append(f"layer {identifier}: no bytes are kept of it")
        if not any(row["diff"] == identifier for row in chains.values()):
            found.append(f"layer {identifier}: it is in no chain")
    for digest, row in blobs.items():
        path = root / "blobs" / digest.replace(":", "/")
        if not path.is_file():
            found.append(f"blob {digest}: its file is not there")
        elif hashed(content := path.read_bytes(), digest) != digest or len(content) != row["size"]:
            found.append(f"blob {digest}: its file is damaged")
        if not any(form["blob"] == digest for form in forms) and digest not in named:
            found.append(f"blob {digest}: nothing needs it")
    return found


def _descriptors(document: dict[str, Any]) -> list[dict[str, Any]]:
    config = [document["config"]] if document.get("config") else []
    return [*config, *(document.get("layers") or ()), *(document.get("manifests") or ())]


def _tables(database: sqlite3.Connection, root: Path) -> list[str]:
    """Read the tables of contents that are there: each is a zstd stream with a checksum, and ends in a summary."""
    zstd = zstd_module()
    found = []
    for row in _all(database, "SELECT * FROM diff"):
        path = root / "toc" / f"{row['id'].replace(':', '/')}.zst"
        try:
            summary = json.loads(zstd.decompress(path.read_bytes()).rpartition(b"9" * 504)[2])
        except FileNotFoundError:
            continue
        except (zstd.ZstdError, ValueError):
            summary = {}
        if summary.get("tar_size") != row["size"]:
            found.append(f"table of contents of {row['id']}: it is damaged")
    return found


def _leftovers(database: sqlite3.Connection, root: Path) -> list[str]:
    blobs = {row["digest"] for row in _all(database, "SELECT digest FROM blob")}
    diffs = {row["id"] for row in _all(database, "SELECT id FROM diff")}
    files = {f"{path.parent.name}:{path.name}" for path in (root / "blobs").glob("*/*")}
    tables = {f"sha256:{path.stem}" for path in (root / "toc" / "sha256").iterdir()}
    found = [f"file of blob {digest}: it has no row" for digest in files - blobs]
    found += [f"table of contents of {diff}: {'not there' if diff in diffs else 'no row'}" for diff in tables ^ diffs]
    found += [f"left behind: {path}" for name in ("ingest", "trash", "leases") for path in (root / name).iterdir()]
    for row in _all(database, "SELECT lease, digest FROM lease"):
        found.append(HELD if row["lease"] == LOST_ROWS else f"lease of {row['digest']}: left behind")
    return found + [f"manifest {digest}: nothing reaches it" for digest in sorted(_unreached(database))]


def _unreached(database: sqlite3.Connection) -> set[str]:
    """Work out from the documents themselves what no name, no image and nothing that stays leads to."""
    documents = {row["digest"]: json.loads(row["content"]) for row in _all(database, "SELECT * FROM manifest")}
    found = {row["digest"] for row in _all(database, "SELECT digest FROM top")}
    found |= {row["manifest"] for row in _all(database, "SELECT manifest FROM image_manifest")}
    before = -1
    while before != len(found):
        before = len(found)
        for digest, document in documents.items():
            if digest in found:
                found |= {child["digest"] for child in document.get("manifests") or ()}
            if (document.get("subject") or {}).get("digest") in found:
                found.add(digest)
    return documents.keys() - found
