"""Write the database of a small store of the current schema as SQL: `python tests/data/schemas/dump.py [FILE]`."""

from __future__ import annotations

import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import orlop
from orlop.model.descriptor import Descriptor
from orlop.model.digest import Digest
from orlop.model.manifest import OCI_CONFIG, OCI_MANIFEST, Manifest
from orlop.model.reference import Reference
from orlop.model.values import replace
from orlop.store.local import local_store
from orlop.store.rows.metadata import ManifestRow, TopRow

HERE = Path(__file__).parent


def fill(root: Path) -> None:
    """Make a store that has rows in every table."""
    data = HERE.parent
    with orlop.open(root) as images:
        images.load(data / "dockerd-20.10-overlay2" / "multi.tar")
    with local_store(root, now=lambda: 1_700_000_000_000_000_000) as store:
        image = next(iter(store.images.ids()))
        with store.metadata.write() as rows:
            manifest = Manifest(media_type=OCI_MANIFEST, config=Descriptor(OCI_CONFIG, Digest.wrap(image), 2)).to_json()
            rows.put_manifest(ManifestRow(Digest.of(manifest), OCI_MANIFEST, manifest), [image])
            name = Reference.parse("example/told:1")
            store.references.set(name, image)
            store.references.set(replace(name, tag=None, digest=Digest.of(manifest)), image)
            if hasattr(rows, "put_top"):
                rows.put_top(TopRow(name.name, ":1", Digest.of(manifest), store.now()))
            rows.put_lease("0123456789abcdef", [Digest.of(b"of an operation that died")])


def dump(root: Path) -> str:
    """Return a store's database as SQL."""
    with closing(sqlite3.connect(root / "metadata.db")) as database:
        version = database.execute("PRAGMA user_version").fetchone()[0]
        return "\n".join([f"PRAGMA user_version={version};", *database.iterdump(), ""])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        fill(Path(place) / "root")
        text = dump(Path(place) / "root")
    version = text.partition("=")[2].partition(";")[0]
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / f"{version}.sql"
    target.write_text(text)
    print(f"{target}: schema {version}")
