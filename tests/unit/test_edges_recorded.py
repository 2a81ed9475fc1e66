"""Where a manifest leads is recorded of all manifests that are taken, by SQLite's JSON and by our own."""

from __future__ import annotations

import json
import sqlite3
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from orlop.errors import InvalidManifest
from orlop.model.digest import Digest
from orlop.model.manifest import MAX_DEPTH, Manifest, parse_manifest
from orlop.store.rows.content import CHILD, CONFIG, LAYER, SUBJECT
from orlop.store.rows.edges import edges_of
from orlop.store.rows.sqlite.tables import EDGES
from tests.growing import growth, spent

if TYPE_CHECKING:
    from collections.abc import Iterator

Edges = set[tuple[str, int, str]]

A, B, C = (f"sha256:{letter * 64}" for letter in "abc")
MANIFEST = {
    "config": {"mediaType": "t", "digest": A, "size": 5},
    "layers": [{"digest": B, "size": 5}],
    "subject": {"digest": C, "size": 0},
}
INDEX = {
    "manifests": [{"mediaType": "t", "digest": A, "size": 5}, {"digest": B, "size": 1}],
    "subject": {"digest": C, "size": 0},
}
INSERTED = (
    *(rb"\u0000", rb"\u0061", rb"\u017f", rb"\ud800", b"\xc5\xbf", b"\xff", b"\n", b" ", b"0", b"1e1", b"1.0", b"null"),
    *(b"{}", b"[]", b",", b'"', b'"x":1,', b'"digest":null,', b'"Size":3,', rb'"\u0073ize":5,', b'"blobs":[],'),
)


def said(raw: bytes) -> Edges:
    """Return where a document leads as it was parsed."""
    document = parse_manifest(raw)
    if isinstance(document, Manifest):
        found = {(CONFIG, 0, str(document.config.digest))}
        found |= {(LAYER, number, str(layer.digest)) for number, layer in enumerate(document.layers)}
    else:
        found = {(CHILD, number, str(child.digest)) for number, child in enumerate(document.manifests)}
    return found if document.subject is None else found | {(SUBJECT, 0, str(document.subject.digest))}


def variants(document: dict[str, object]) -> Iterator[bytes]:
    """Yield a document with something inserted at each place, before the byte there and instead of it."""
    raw = json.dumps({"schemaVersion": 2, **document}, separators=(",", ":")).encode()
    for place in range(len(raw)):
        for part in INSERTED:
            yield raw[:place] + part + raw[place:]
            yield raw[:place] + part + raw[place + 1 :]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("document", [MANIFEST, INDEX], ids=["manifest", "index"])
def test_what_a_document_leads_to_is_recorded_whatever_reads_it(document):
    taken = 0
    with closing(sqlite3.connect(":memory:")) as database:
        for raw in variants(document):
            try:
                expected = said(raw)
            except InvalidManifest:
                continue
            taken += 1
            rows = database.execute(EDGES.format("?1", "?2"), (A, raw)).fetchall()
            assert expected <= {(role, position, child) for _, role, position, child, *_ in rows}, raw
            own = edges_of(Digest.parse(A), raw)
            assert expected <= {(edge.role, edge.position, str(edge.child)) for edge in own}, raw
    assert taken > 100


def _nested(levels: int) -> bytes:
    """Return an index whose objects and arrays nest so deep."""
    deep = "[" * (levels - 1) + "]" * (levels - 1)
    return f'{{"manifests": [{{"digest": "{A}"}}], "annotations": {{"[": "{"[" * 2000}"}}, "x": {deep}}}'.encode()


def _below(frames: int, raw: bytes) -> int:
    """Return how many edges a document has, as found below so many frames."""
    return _below(frames - 1, raw) if frames else len(edges_of(Digest.parse(B), raw))


@pytest.mark.parametrize(("levels", "edges"), [(MAX_DEPTH, 1), (MAX_DEPTH + 1, 0)])
@pytest.mark.parametrize("frames", [0, 400, 800])
def test_how_deep_a_document_may_be_does_not_depend_on_who_reads_it(levels, edges, frames):
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)
    try:
        assert _below(frames, _nested(levels)) == edges
    finally:
        sys.setrecursionlimit(limit)


def test_brackets_in_a_string_that_does_not_end_are_read_once():
    def taken(count: int) -> float:
        texts = (b'{"\\"' * count, b'["' + b"\\" * 2 * count, b'"{' * (count + 1))
        return spent(lambda: [edges_of(Digest.parse(B), raw) for raw in texts])

    for raw in (b'{"\\"' * 300_000, b'["' + b"\\" * 600_000, b'"{' * 300_001):
        assert edges_of(Digest.parse(B), raw) == []
    assert growth(taken, 75_000, 300_000, below=10, least=0.01) < 10
