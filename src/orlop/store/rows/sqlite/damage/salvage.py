"""What can still be had from a damaged database, put into a new one.

The old database is read from a copy, and nothing in it is believed:

- its schema is compared with what its version lays out; where it differs, a new one takes its place, in which every
  table begins where such a table is (`roots`);
- each table is read from both ends, and each index that holds whole rows too, so that one bad page hides only the rows
  between; what the two say is put together, and where they differ the one that leads to something is taken. Where the
  page is one that leads to others, these belong to nothing, and are told by what lies in them (`stray_rows`);
- configs and manifests are named by their digests. One that the table does not give, although an index or another row
  knows it, is looked for by its digest in the bytes of the file; one with a single wrong bit is put right, since its
  digest tells when it is. Only what something live names is looked for: what was removed does not come back;
- what follows from a config is made from it. Rows of layers are taken as far as they can be read: the repair of rows
  goes on from there, with the blobs that lie beside the database.

What must not happen: a row in the new database that the old one neither held nor implied; and that a collection takes
what rows named that could not be read. So the new database holds everything, until the user lets go of it: see
`upkeep.lost_rows`.
"""

from __future__ import annotations

import json
import mmap
import sqlite3
from contextlib import closing, suppress
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from orlop.errors import InvalidInput
from orlop.model.digest import Digest
from orlop.store.rows.corrected import corrected
from orlop.store.rows.image_facts import image_facts, manifest_type
from orlop.store.rows.judging import chain_of, digest_of, is_name
from orlop.store.rows.rows import EVERYTHING, LOST_ROWS, PINNED
from orlop.store.rows.sqlite.damage.budget import Budget
from orlop.store.rows.sqlite.damage.carve import carved
from orlop.store.rows.sqlite.damage.columns import raw
from orlop.store.rows.sqlite.damage.pages import knows_free, page_size, tree_roots
from orlop.store.rows.sqlite.damage.roots import lay_out, stray_rows
from orlop.store.rows.sqlite.damage.working import connected, opened
from orlop.store.rows.sqlite.shape import LAID_OUT, shape_faults
from orlop.store.rows.sqlite.tables import SCHEMA, SCHEMA_VERSION, itself
from orlop.store.rows.values import CHECKS, COLUMNS, is_count, is_valid

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

# An object whose name is not UTF-8 cannot even be named in an error.
_UNREADABLE: Final = (sqlite3.Error, UnicodeDecodeError)

Row = tuple[Any, ...]


class Loss(NamedTuple):
    """Something that could not be brought back: what it is about, and a sentence."""

    subject: str
    message: str


def salvage(source: str, target: str) -> list[Loss]:
    """Put what can be had from a damaged database into a new one, durably, and return what cannot be.

    Args:
        source: a copy of the database, without a log; it is changed.
        target: where the new one is made; nothing is there.

    Raises:
        sqlite3.Error, OSError: the new one cannot be written.
    """
    page = page_size(source)
    # A new schema may begin trees, and does not know which pages are free.
    roots = tree_roots(source, page) if knows_free(source, page) else []
    _make_readable(source)
    found = _Found(source, stray_rows(source, page, roots))
    with closing(connected(target)) as connection:
        connection.execute("PRAGMA synchronous=FULL")
        # A library may be built to check them by default: rows are put in any order.
        connection.execute("PRAGMA foreign_keys=OFF")
        connection.execute("BEGIN")
        for statement in SCHEMA:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        _fill(connection, found)
        connection.execute("COMMIT")
    return found.losses


def _make_readable(path: str) -> None:
    """Replace the damaged schema of a database by a sound one, see `lay_out`."""
    with suppress(*_UNREADABLE), closing(_opened(path)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        faults = [one for one in shape_faults(connection) if one.type == "table" and one.what != "foreign"]
        whole = connection.execute("PRAGMA integrity_check(sqlite_schema)").fetchall() == [("ok",)]
        if version in LAID_OUT and whole and not faults:
            return
    lay_out(path, page_size(path))


def _opened(path: str) -> sqlite3.Connection:
    connection = connected(path)
    try:
        # Else one object that cannot be understood hides all others.
        connection.execute("PRAGMA writable_schema=ON")
    except BaseException:
        connection.close()
        raise
    return connection


class _Found:
    """All that was found; ``losses`` is what was known and not found."""

    def __init__(self, path: str, stray: Mapping[str, Iterable[Row]]) -> None:
        self.losses: list[Loss] = []
        self._stray = stray
        self._page = page_size(path)
        with closing(_opened(path)) as connection, opened(path) as file:
            self._connection = connection
            self._content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            with self._content:
                self.tables = {table: self._table(table) for table in COLUMNS}
                self.names = self._names()
                self.tops = self._tops()
                self.links = self._pairs("image_manifest", "image_manifest_manifest", "image", "manifest")
                self.forms = self._pairs("diff_blob", "diff_blob_blob", "diff", "blob")
                self.metadata = self._metadata()
                self.images = dict(self._images())
                self.manifests = dict(self._manifests())
                self.event = self._last_event()

    # Reading.

    def _rows(self, statement: str, order: str) -> Iterator[Row]:
        """Yield rows from both ends, as far as they can be read from there."""
        for direction in ("ASC", "DESC"):
            words = ", ".join(f"{word} {direction}" for word in order.split(", "))
            budget = Budget(len(self._content))
            with suppress(*_UNREADABLE):
                for row in self._connection.execute(f"{statement} ORDER BY {words}"):
                    if not budget.has(row):
                        break
                    yield row

    def _table(self, table: str) -> dict[Row, Row]:
        """Return the rows of a table whose values are such as its columns hold, by their keys."""
        columns = COLUMNS[table]
        order = {"image": "rowid", "manifest": "rowid", "event": "rowid"}.get(table)
        keys = _KEYS.get(table, 1)
        words = ", ".join(map(raw, columns))
        found: dict[Row, Row] = {}
        by = order or ", ".join(one.name for one in columns[:keys])
        rows = self._rows(f"SELECT {words} FROM {itself(table)}", by)  # noqa: S608 - constants
        for row in chain(rows, self._stray.get(table, ())):
            if all(is_valid(column, value) for column, value in zip(columns, row, strict=True)):
                texts = tuple(
                    value.decode() if isinstance(value, bytes) and CHECKS[column.kind][0] == "text" else value
                    for column, value in zip(columns, row, strict=True)
                )
                found.setdefault(texts[:keys], texts)
        return found

    def _index(self, table: str, index: str, *columns: str, where: str = "") -> set[Row]:
        """Return what an index says of some columns that hold texts."""
        words = ", ".join(f"CAST({column} AS BLOB)" for column in columns)
        statement = f"SELECT {words} FROM {table} INDEXED BY {index} {where}"  # noqa: S608 - constants
        found: set[Row] = set()
        for row in self._rows(statement, ", ".join(columns)):
            with suppress(UnicodeDecodeError, AttributeError):
                found.add(tuple(value.decode() for value in row))
        return found

    def _pairs(self, table: str, index: str, one: str, other: str) -> set[Row]:
        found = {row[:2] for row in self.tables[table].values()} | self._index(table, index, one, other)
        return {row for row in found if all(Digest.unchecked(text).is_valid for text in row)}

    # Names.

    def _names(self) -> dict[tuple[str, str], tuple[str, int]]:
        """Return what names lead to, and when they were given."""
        rows = self.tables["reference"]
        told = self._index("reference", "reference_image", "name", "suffix", "image")
        known = {row[:3] for row in rows.values()}
        names: dict[tuple[str, str], tuple[str, int]] = {}
        # What table and index agree on comes first.
        for name, suffix, image in [*sorted(known & told), *sorted(told - known), *sorted(known - told)]:
            if not is_name(name, suffix) or not Digest.unchecked(image).is_valid:
                self.losses.append(Loss(f"{name}{suffix}", f"the name {name + suffix!r} of {image!r} is damaged"))
            elif (name, suffix) not in names or self._is_image(image) > self._is_image(names[name, suffix][0]):
                row = rows.get((name, suffix))
                time = row[3] if row is not None and row[2] == image else self._time(name, suffix, image)
                names[name, suffix] = (image, time)
        return names

    def _tops(self) -> dict[tuple[str, str], tuple[str, int]]:
        """Return what names mean, and since when: what the table says, and what its index says if that has more."""
        tops = {row[:2]: (row[2], row[3]) for row in self.tables["top"].values()}
        told = self._index("top", "top_digest", "name", "suffix", "digest")
        for name, suffix, digest in sorted(told) if len(told) > len(tops) else ():
            if is_name(name, suffix) and Digest.unchecked(digest).is_valid:
                tops.setdefault((name, suffix), (digest, self._time(name, suffix, digest)))
        for name, suffix, digest in sorted(told):
            if (name, suffix) not in tops:
                self.losses.append(Loss(f"{name}{suffix}", f"the name {name + suffix!r} of {digest!r} is damaged"))
        return tops

    def _is_image(self, image: str) -> bool:
        return (image,) in self.tables["image"]

    def _time(self, *texts: str) -> int:
        """Return the time of a name from the bytes of its row, or 0: it lies behind what the index says of it."""
        body = "".join(texts).encode()
        at = self._content.find(body)
        while at >= 0:
            time = int.from_bytes(self._content[at + len(body) : at + len(body) + 8], "big", signed=True)
            if 1 << 58 < time < 1 << 62:
                return time
            at = self._content.find(body, at + 1)
        return 0

    # Documents.

    def _images(self) -> Iterator[tuple[str, bytes]]:
        rows = self.tables["image"]
        ids = {row[0] for row in rows.values()} | {image for image, _ in self.names.values()}
        ids |= {image for image, _ in self.links} | {key[0] for key in self.metadata}
        ids |= {image for (image,) in self._index("image", "image_newest", "id")}
        ids |= {image for (image,) in self._index("image", "sqlite_autoindex_image_1", "id")}
        for image in sorted(one for one in ids if Digest.unchecked(one).is_valid):
            row = rows.get((image,)) or (image, self._value("SELECT config FROM image WHERE id = ?", image))
            config = self._document(image, row[1])
            if config is not None:
                yield image, config
            elif isinstance(row[1], bytes) and digest_of(row[1]) in ids:
                continue  # it is the ID that is damaged: the image is there under its own
            elif isinstance(row[1], bytes):
                self.losses.append(Loss(image, f"the config of the image {image} is damaged; load the image again"))
                yield image, row[1]
            else:
                self.losses.append(Loss(image, f"the image {image} is lost; load it again"))

    def _manifests(self) -> Iterator[tuple[str, tuple[str, bytes]]]:
        rows = self.tables["manifest"]
        ids = {row[0] for row in rows.values()} | {manifest for _, manifest in self.links}
        ids |= {digest for digest, _ in self.tops.values()}
        ids |= {manifest for (manifest,) in self._index("manifest", "sqlite_autoindex_manifest_1", "digest")}
        for digest in sorted(one for one in ids if Digest.unchecked(one).is_valid):
            row = rows.get((digest,)) or (
                digest,
                "",
                self._value("SELECT content FROM manifest WHERE digest = ?", digest),
            )
            content = self._document(digest, row[2])
            if content is None:
                self.losses.append(Loss(digest, f"the manifest {digest} is lost; load its image again"))
            else:
                yield digest, (manifest_type(content) or row[1] or _UNKNOWN_TYPE, content)

    def _value(self, statement: str, key: str) -> object:
        """Return a value by its key, which takes another way through the database than all of them."""
        with suppress(*_UNREADABLE):
            row = self._connection.execute(statement, (key,)).fetchone()
            return None if row is None else row[0]
        return None

    def _document(self, digest: str, content: object) -> bytes | None:
        """Return the bytes that a digest names: those of the row, those in the file, or those with a bit put right."""
        if isinstance(content, bytes) and digest_of(content, digest) == digest:
            return content
        damaged = [content] if isinstance(content, bytes) else []
        for one in carved(self._content, digest, self._page):
            if digest_of(one, digest) == digest:
                return one
            damaged.append(one)
        return next((right for one in damaged if (right := corrected(one, digest)) is not None), None)

    # The rest.

    def _metadata(self) -> dict[tuple[str, str], bytes]:
        found = {key: row[2] for key, row in self.tables["image_metadata"].items() if key[1] != "parent"}
        parents = {
            (row[0], row[2].decode("ascii", "replace"))
            for row in self.tables["image_metadata"].values()
            if row[1] == "parent"
        }
        parents |= self._index("image_metadata", "image_children", "image", "value", where="WHERE key = 'parent'")
        for image, parent in sorted(parents, key=lambda one: (self._is_image(one[1]), one)):
            if Digest.unchecked(parent).is_valid:
                found[image, "parent"] = parent.encode()
        for (image,) in self._index("image_metadata", "image_pinned", "image", where=f"WHERE key = '{PINNED}'"):
            found.setdefault((image, PINNED), b"\1")
        return {key: value for key, value in found.items() if Digest.unchecked(key[0]).is_valid}

    def _last_event(self) -> int:
        numbers = [key[0] for key in self.tables["event"]]
        with suppress(*_UNREADABLE):
            numbers += [row[0] for row in self._connection.execute("SELECT seq FROM sqlite_sequence")]
        return max(filter(is_count, numbers), default=0)


_KEYS: Final = {
    "image_metadata": 2,
    "reference": 2,
    "diff_blob": 2,
    "image_manifest": 2,
    "edge": 3,
    "top": 2,
    "lease": 2,
}
_UNKNOWN_TYPE: Final = "application/vnd.oci.image.manifest.v1+json"


def _fill(connection: sqlite3.Connection, found: _Found) -> None:
    """Put rows into a new database; triggers mark the images that have children."""
    put = connection.execute
    for image, config in found.images.items():
        try:
            facts = image_facts(config) if digest_of(config) == image else None
        except InvalidInput:
            facts = None
        row = found.tables["image"].get((image,), (None, None, None, 0, 0))
        chain, created, created_ns = (facts.chain, facts.created, facts.created_ns) if facts else row[2:5]
        values = (image, config, chain, created, created_ns)
        put("INSERT INTO image (id, config, chain, created, created_ns) VALUES (?, ?, ?, ?, ?)", values)
        if facts is not None and facts.labels is not None:
            put("INSERT INTO image_labels VALUES (?, ?)", (image, json.dumps(facts.labels)))
    for (image, key), value in found.metadata.items():
        if image in found.images:
            put("INSERT INTO image_metadata VALUES (?, ?, ?)", (image, key, value))
    for (name, suffix), (image, time) in found.names.items():
        put("INSERT INTO reference VALUES (?, ?, ?, ?)", (name, suffix, image, time))
    for digest, (media_type, content) in found.manifests.items():
        put("INSERT INTO manifest VALUES (?, ?, ?)", (digest, media_type, content))
    for image, digest in found.links:
        if image in found.images and digest in found.manifests:
            put("INSERT INTO image_manifest VALUES (?, ?)", (image, digest))
    _fill_layers(connection, found)
    for (name, suffix), (digest, time) in found.tops.items():
        put("INSERT INTO top VALUES (?, ?, ?, ?)", (name, suffix, digest, time))
    for table in ("lease", "event"):
        for row in found.tables[table].values():
            put(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)  # noqa: S608 - constants
    # Nobody can tell which rows are missing, so whatever nothing names now may be what they named.
    put("INSERT INTO lease VALUES (?, ?) ON CONFLICT DO NOTHING", (LOST_ROWS, str(EVERYTHING)))
    put("DELETE FROM sqlite_sequence")
    put("INSERT INTO sqlite_sequence VALUES ('event', ?)", (found.event,))


def _fill_layers(connection: sqlite3.Connection, found: _Found) -> None:
    """Put the rows of layers into a new database, as far as they lead to each other."""
    blobs = {key: row for (key,), row in found.tables["blob"].items() if Digest.unchecked(key).is_valid}
    diffs = {key: row for (key,), row in found.tables["diff"].items() if Digest.unchecked(key).is_valid}
    chains = {key: row for (key,), row in found.tables["chain"].items() if chain_of(row[1], row[2]) == key}
    for table, rows in (("blob", blobs), ("diff", diffs)):
        for row in rows.values():
            connection.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)  # noqa: S608 - constants
    for diff, blob in found.forms:
        if diff in diffs and blob in blobs:
            connection.execute("INSERT INTO diff_blob VALUES (?, ?)", (diff, blob))
    for row in chains.values():
        if _stands(row, chains, diffs):
            connection.execute("INSERT INTO chain VALUES (?, ?, ?, ?, ?, ?)", row)


def _stands(row: Row | None, chains: dict[str, Row], diffs: dict[str, Row]) -> bool:
    """Return whether a chain, and all below it, have their layers."""
    for _ in range(len(chains) + 1):
        if row is None or row[2] not in diffs:
            return False
        if row[1] is None:
            return True
        row = chains.get(row[1])
    return False
