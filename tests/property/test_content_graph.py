"""A graph of indexes, artifacts, subjects and blobs survives load and save; what nothing reaches goes, and no more."""

from __future__ import annotations

import hashlib
import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import orlop
from orlop.store.local import local_store
from tests.crash import pace
from tests.layout_walk import walked

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def digest_of(raw: bytes) -> str:
    return f"sha256:{hashlib.sha256(raw).hexdigest()}"


@dataclass
class Graph:
    """Documents and blobs by their digests, and the documents that have names."""

    documents: dict[str, bytes] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    def descriptor(self, digest: str, **more: Any) -> dict[str, Any]:
        raw = self.documents.get(digest) or self.blobs[digest]
        kind = "application/x-blob"
        if digest in self.documents:
            kind = json.loads(raw)["mediaType"]
        return {"mediaType": kind, "digest": digest, "size": len(raw), **more}

    def reached(self, names: set[str]) -> tuple[set[str], set[str]]:
        """Return the documents and blobs to which some names lead, by the documents alone."""
        parsed = {digest: json.loads(raw) for digest, raw in self.documents.items()}
        found = {self.names[name] for name in names}
        before: set[str] = set()
        while before != found:
            before = set(found)
            for digest, document in parsed.items():
                if digest in before:
                    found |= {child["digest"] for child in document.get("manifests", ()) if child["digest"] in parsed}
                if document.get("subject", {}).get("digest") in before:
                    found.add(digest)
        named = [
            one["digest"]
            for digest in found
            for key in ("config", "layers", "manifests")
            for one in (
                [parsed[digest][key]] if key == "config" and key in parsed[digest] else parsed[digest].get(key, ())
            )
        ]
        return found, {digest for digest in named if digest in self.blobs}

    def write(self, folder: Path) -> None:
        place = folder / "blobs" / "sha256"
        place.mkdir(parents=True)
        for digest, raw in {**self.documents, **self.blobs}.items():
            (place / digest.partition(":")[2]).write_bytes(raw)
        named = {digest: name for name, digest in self.names.items()}
        tops = [
            self.descriptor(digest, annotations={"io.containerd.image.name": f"docker.io/example/{name}:1"})
            for name, digest in self.names.items()
        ]
        tops += [
            self.descriptor(digest)
            for digest, raw in self.documents.items()
            if digest not in named and "subject" in json.loads(raw)
        ]
        (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": tops}))
        (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')

    def add(self, **document: Any) -> str:
        """Add a document, and return its digest."""
        raw = json.dumps({"schemaVersion": 2, **document}).encode()
        self.documents[digest_of(raw)] = raw
        return digest_of(raw)


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    graph = Graph()
    for content in draw(st.lists(st.binary(max_size=40), min_size=1, max_size=5, unique=True)):
        graph.blobs[digest_of(content)] = content
    for number in range(draw(st.integers(1, 9))):
        blobs = st.sampled_from(sorted(graph.blobs))
        documents = sorted(graph.documents)
        document: dict[str, Any] = {"schemaVersion": 2, "annotations": {"number": str(number)}}
        if documents and draw(st.integers(0, 1)) == 1:
            children = draw(st.lists(st.sampled_from(documents) | blobs, max_size=4))
            document |= {"mediaType": INDEX, "manifests": [graph.descriptor(child) for child in children]}
        else:
            layers = draw(st.lists(blobs, max_size=3))
            document |= {"mediaType": MANIFEST, "artifactType": "application/x-thing"}
            document |= {"config": graph.descriptor(draw(blobs)), "layers": list(map(graph.descriptor, layers))}
        if documents and draw(st.integers(0, 1)) == 1:
            document["subject"] = graph.descriptor(draw(st.sampled_from(documents)))
        raw = json.dumps(document).encode()
        graph.documents[digest_of(raw)] = raw
    tops = draw(st.lists(st.sampled_from(sorted(graph.documents)), min_size=1, max_size=4, unique=True))
    graph.names = {f"n{number}": digest for number, digest in enumerate(tops)}
    return graph


def kept(root: Path) -> tuple[set[str], set[str]]:
    with local_store(root) as store, store.metadata.read() as rows:
        documents = {str(digest) for digest in rows.manifest_digests()}
        blobs = {str(blob.digest) for blob in rows.blobs()}
    assert {path.name for path in (root / "blobs" / "sha256").iterdir()} == {one.partition(":")[2] for one in blobs}
    return documents, blobs


@pytest.mark.sampled(3)
@settings(max_examples=pace.examples(25), deadline=None)
@given(graphs(), st.data())
def test_a_graph_survives_and_what_nothing_reaches_goes(graph: Graph, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        graph.write(folder / "from")
        with orlop.open(folder / "one") as images:
            images.load(folder / "from")
            # What refers to nothing that is there stands for itself.
            with local_store(folder / "one") as store:
                alone = {str(digest) for digest, names in store.content.tops() if not names}
            images.gc()
        graph.names |= {digest: digest for digest in alone}
        everything = graph.reached(set(graph.names))
        assert kept(folder / "one") == everything
        told = [name if name in alone else f"example/{name}:1" for name in graph.names]
        with orlop.open(folder / "one") as images:
            images.save(told, folder / "to", format="oci-dir")
        assert set(walked(folder / "to").found) == everything[0] | everything[1]
        with orlop.open(folder / "two") as images:
            images.load(folder / "to")
            assert kept(folder / "two") == everything
            going = data.draw(st.sets(st.sampled_from(sorted(set(graph.names) - alone))))
            for name in sorted(going):
                images.remove(f"example/{name}:1")
            # All of it goes at once: nothing is left for a collection.
            assert kept(folder / "two") == graph.reached(set(graph.names) - going)
            assert images.gc().garbage == ()
        assert orlop.stores.fsck(folder / "two").problems == ()


def test_what_speaks_of_the_children_of_a_referrer_is_saved(tmp_path: Path) -> None:
    graph, config = Graph(), digest_of(b"{}")
    graph.blobs[config] = b"{}"
    thing: dict[str, Any] = {"mediaType": MANIFEST, "artifactType": "application/x-thing", "layers": []}
    thing["config"] = graph.descriptor(config)
    named, child = graph.add(**thing, annotations={"it": "has a name"}), graph.add(**thing)
    graph.add(mediaType=INDEX, manifests=[graph.descriptor(child)], subject=graph.descriptor(named))
    graph.add(**thing, subject=graph.descriptor(child))
    graph.names = {"named": named}
    graph.write(tmp_path / "from")
    with orlop.open(tmp_path / "store") as images:
        images.load(tmp_path / "from")
        images.save(["example/named:1"], tmp_path / "to", format="oci-dir")
    assert set(walked(tmp_path / "to").found) == {*graph.documents, config}


@pytest.mark.parametrize("is_referrer", [True, False])
def test_an_index_that_came_empty_stays_in_the_one_that_names_it(tmp_path: Path, is_referrer) -> None:
    graph, config = Graph(), digest_of(b"{}")
    graph.blobs[config] = b"{}"
    thing: dict[str, Any] = {"mediaType": MANIFEST, "artifactType": "application/x-thing", "layers": []}
    named = graph.add(**thing, config=graph.descriptor(config))
    empty = graph.add(mediaType=INDEX, manifests=[])
    above: dict[str, Any] = {"mediaType": INDEX, "manifests": [graph.descriptor(empty)]}
    if is_referrer:
        graph.add(**above, subject=graph.descriptor(named))
    else:
        above["manifests"].append(graph.descriptor(named))
        named = graph.add(**above)
    graph.names = {"named": named}
    graph.write(tmp_path / "from")
    with orlop.open(tmp_path / "store") as images:
        images.load(tmp_path / "from")
        images.save(["example/named:1"], tmp_path / "to", format="oci-dir")
    assert set(walked(tmp_path / "to").found) == {*graph.documents, config}
