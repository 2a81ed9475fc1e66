"""A layout whose layers are compressed anew: other blobs, and so other manifests and indexes.

A layer that has the wanted form already stays as it is, and so does a manifest whose layers all do. Each other layer is
compressed once, however many images have it, into a spool of the store that goes when the save ends, or moves into the
layout: its digest and its size have to be known before it is written. In a manifest only the descriptors of such layers
change, and lose what told of the old bytes; in an index those of its manifests. An index that is new anyway names
nothing that is left out.

Layers are compressed at once, and each in several threads where there are fewer layers than processors.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial

from orlop.archive.oci_blobs import Document, MadeLayer, PlainLayer, StoredLayer
from orlop.archive.saved import told
from orlop.errors import ReadOnlyStore
from orlop.model import gojson
from orlop.model.digest import Digest
from orlop.model.manifest import (
    DOCKER_LAYER,
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    INDEX_TYPES,
    MANIFEST_TYPES,
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
)
from orlop.store.layers import compression_of
from orlop.streams.compressing import compressed
from orlop.streams.compression import Compression
from orlop.streams.pipeline import in_parallel, one_at_a_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Final

    from orlop.archive.oci_blobs import Blob
    from orlop.archive.oci_layout import LayoutContent, TopEntry
    from orlop.model.descriptor import Descriptor
    from orlop.model.digest import DiffID
    from orlop.model.progress import Progress, ProgressEvent
    from orlop.store.blobs.store import Spool
    from orlop.store.root import Store
    from orlop.streams.compressing import Recipe

_OCI: Final = {Compression.NONE: OCI_LAYER, Compression.GZIP: OCI_LAYER_GZIP, Compression.ZSTD: OCI_LAYER_ZSTD}
_DOCKER: Final = {
    Compression.NONE: DOCKER_LAYER,
    Compression.GZIP: DOCKER_LAYER_GZIP,
    Compression.ZSTD: f"{DOCKER_LAYER}.zstd",
}
# What tells where something stands in the compressed bytes, or how they were made.
_OF_OLD_BYTES: Final = (
    "containerd.io/snapshot/stargz/",
    "io.containers.estargz.",
    "io.github.containers.zstd-chunked.",
    "io.containers.zstd-chunked.",
    "io.github.containers.compression.",
)
_GONE: Final = frozenset({"data", "urls"})
_WORKERS: Final = 4


@contextmanager
def recompressed(
    store: Store,
    content: LayoutContent,
    recipe: Recipe,
    progress: Progress | None = None,
    *,
    near: str | None = None,
) -> Iterator[LayoutContent]:
    """Return, for a block, content with its layers in another form.

    Args:
        store: where the layers are, and what is compressed meanwhile.
        content: what the layout was to hold.
        recipe: how to compress its layers.
        progress: hears of each layer that is compressed.
        near: the directory that is to have them in the end, if it is one.

    Raises:
        ReadOnlyStore: layers have to be compressed, and the store cannot be written. What reading a layer raises.
    """
    layers = {blob.digest: blob for blob in content.blobs if isinstance(blob, (StoredLayer, PlainLayer))}
    others = {digest: blob for digest, blob in layers.items() if _form_of(blob) is not recipe.form}
    spools: list[Spool] = []
    try:
        made: dict[Digest, Blob] = {}
        if recipe.form is Compression.NONE:
            made = {
                digest: PlainLayer(store.layers, blob.diff_id, _tar_size(store, blob))
                for digest, blob in others.items()
            }
        elif others:
            made = _compressed(store, others, recipe, spools, progress, near=near)
        yield _rewritten(content, made, recipe.form)
    finally:
        for spool in spools:
            spool.close()


def _form_of(blob: StoredLayer | PlainLayer) -> Compression:
    return Compression.NONE if isinstance(blob, PlainLayer) else compression_of(blob.row)


def _tar_size(store: Store, blob: StoredLayer | PlainLayer) -> int:
    with store.metadata.read() as rows:
        diff = rows.diff(blob.diff_id)
    return blob.size if diff is None else diff.size


def _compressed(
    store: Store,
    layers: Mapping[Digest, StoredLayer | PlainLayer],
    recipe: Recipe,
    spools: list[Spool],
    progress: Progress | None,
    *,
    near: str | None,
) -> dict[Digest, Blob]:
    """Compress each content once, the largest first, and return the new layers by the digests of the old ones."""
    if store.read_only:
        msg = f"layers are compressed in the store, but {store.why_read_only() or 'it cannot be written'}"
        raise ReadOnlyStore(f"{msg}; save them as they are, or copy the store to where it can be written")
    sizes = {blob.diff_id: _tar_size(store, blob) for blob in layers.values()}
    order = sorted(sizes, key=lambda diff_id: (-sizes[diff_id], str(diff_id)))
    cores = len(os.sched_getaffinity(0))
    workers = max(1, min(cores, _WORKERS, len(order)))
    threads = _threads([sizes[diff_id] for diff_id in order], workers, cores)
    tell = None if progress is None else one_at_a_time(progress)

    def pack(diff_id: DiffID, share: int, check: Callable[[], None]) -> MadeLayer:
        def step(event: ProgressEvent) -> None:
            check()
            if tell is not None:
                tell(event)

        spool = store.blobs.spool(near=near)
        spools.append(spool)
        hashed = hashlib.sha256()
        size = 0
        # Closed here: the traceback of an error would keep them, and with them the thread that reads ahead.
        with (
            closing(store.layers.tar_chunks(diff_id)) as tar,
            closing(told(tar, diff_id.short, sizes[diff_id], step)) as chunks,
            closing(compressed(chunks, sizes[diff_id], recipe, threads=share, check=check)) as pieces,
        ):
            for piece in pieces:
                hashed.update(piece)
                size += len(piece)
                spool.append(piece)
        return MadeLayer(Digest("sha256", hashed.hexdigest()), size, spool)

    tasks = [partial(pack, diff_id, share) for diff_id, share in zip(order, threads, strict=True)]
    packed = dict(zip(order, in_parallel(tasks, workers=workers), strict=True))
    return {digest: packed[blob.diff_id] for digest, blob in layers.items()}


def _threads(sizes: Sequence[int], workers: int, cores: int) -> list[int]:
    """Return with how many threads each of some layers is compressed, so that no processor waits for the last one.

    Those that begin at once share the processors by their sizes, and each later one shares them with what comes after
    it. How many there are changes no byte.

    Args:
        sizes: of the layers, the largest first.
        workers: how many layers are compressed at once.
        cores: how many processors there are.
    """
    left = whole = sum(sizes)
    found = []
    for number, size in enumerate(sizes):
        others = whole if number < workers else left
        found.append(max(1, -(-cores * size // max(1, others))))
        left -= size
    return found


def _rewritten(content: LayoutContent, made: Mapping[Digest, Blob], form: Compression) -> LayoutContent:
    """Return content in which layers have made way for others, and with them what names them."""
    now: dict[Digest, Blob] = dict(made)
    blobs: dict[Digest, Blob] = {}
    for blob in content.blobs:
        new = now.get(blob.digest, blob)
        if isinstance(blob, Document) and blob.media_type in MANIFEST_TYPES:
            types = _DOCKER if blob.media_type == DOCKER_MANIFEST else _OCI
            new = _renamed(blob, "layers", now, media_type=types[form])
        elif isinstance(blob, Document) and blob.media_type in INDEX_TYPES:
            new = _renamed(blob, "manifests", now, gone=content.omitted.get(blob.digest, ()))
        if new is not blob:
            now[blob.digest] = new
        blobs.setdefault(new.digest, new)
    entries = tuple(_moved(entry, now.get(entry.descriptor.digest)) for entry in content.entries)
    outdated = tuple(entry.descriptor.digest for entry in content.entries if entry.subject in now)
    return replace(content, entries=entries, blobs=tuple(blobs.values()), outdated=outdated)


def _moved(entry: TopEntry, new: Blob | None) -> TopEntry:
    if new is None:
        return entry
    return replace(entry, descriptor=replace(entry.descriptor, digest=new.digest, size=new.size))


def _renamed(
    document: Document,
    name: str,
    now: Mapping[Digest, Blob],
    *,
    media_type: str = "",
    gone: Iterable[Descriptor] = (),
) -> Document:
    """Return a document whose descriptors name what is there now; itself where none of them changes.

    Args:
        document: a manifest or an index.
        name: the member that lists them.
        now: what stands for what was there before.
        media_type: the new type of what has changed, where that has another one.
        gone: what the list no longer names, if it changes.
    """
    members = gojson.raw_members(document.data)
    key = _key(members, name)
    elements = [gojson.raw_members(raw) for raw in gojson.raw_elements(members.get(key, b"null"))]
    digests = [Digest.parse(str(gojson.loads(element[_key(element, "digest")]))) for element in elements]
    if not any(digest in now for digest in digests):
        return document
    left_out = {descriptor.digest for descriptor in gone}
    lines = [
        gojson.joined(_replaced(element, now[digest], media_type) if digest in now else element)
        for element, digest in zip(elements, digests, strict=True)
        if digest not in left_out
    ]
    members[key] = b"[" + b",".join(lines) + b"]"
    return Document.of(gojson.joined(members), document.media_type)


def _replaced(element: Mapping[str, bytes], new: Blob, media_type: str) -> dict[str, bytes]:
    """Return a descriptor of something else; what it said of the old bytes is gone."""
    values = {"digest": gojson.dumps(str(new.digest)), "size": gojson.dumps(new.size)}
    if media_type:
        values["mediatype"] = gojson.dumps(media_type)
    found: dict[str, bytes] = {}
    for key, value in element.items():
        folded = gojson.fold(key)
        if folded == "annotations" and value != b"null":
            notes = gojson.raw_members(value)
            left = {note: text for note, text in notes.items() if not note.startswith(_OF_OLD_BYTES)}
            if left or not notes:
                found[key] = gojson.joined(left)
        elif folded not in _GONE:
            found[key] = values.get(folded, value)
    return found


def _key(members: Mapping[str, bytes], name: str) -> str:
    """Return how an object spells a member, which other programs read in any case."""
    return next((key for key in members if gojson.fold(key) == name), name)
