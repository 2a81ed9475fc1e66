"""The cases of `tests/data/merge-cases`: small images, and what the view of each must be."""

from __future__ import annotations

import io
import json
import tarfile
from functools import cache
from hashlib import sha256
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Final

from orlop.inside.merge import Merge
from orlop.streams.compression import Compression, decompressed
from orlop.streams.tar_read import TarReader

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orlop.inside.node import Node
    from orlop.streams.tar_entry import TarEntry

_DATA: Final = Path(__file__).parents[1] / "data" / "merge-cases"
_LETTERS: Final = {"file": "f", "dir": "d", "symlink": "l", "char": "c", "block": "b", "fifo": "p", "other": "?"}


@cache
def _members(archive: str) -> dict[str, bytes]:
    """Return the files of an archive by their names."""
    with (_DATA / archive).open("rb") as file:
        plain = io.BytesIO(b"".join(iter(decompressed(file, Compression.ZSTD).read, b"")))
    with tarfile.open(fileobj=plain) as tar:
        return {one.name.removeprefix("./"): tar.extractfile(one).read() for one in tar if one.isfile()}  # type: ignore[union-attr]


def newer() -> dict[str, bytes]:
    """Return the files of the archive of newer programs, which has more cases, and answers to all."""
    return _members("newer-programs.tar.zst")


@cache
def members() -> dict[str, bytes]:
    """Return the cases of both archives, and what must be shown, by their names."""
    return {
        name: content
        for archive in (newer(), _members("merge-cases.tar.zst"))
        for name, content in archive.items()
        if name.startswith(("cases/", "expected"))
    }


def names() -> list[str]:
    """Return the names of all cases."""
    return sorted(PurePath(name).stem for name in members() if name.startswith("cases/"))


def image_of(case: str) -> bytes:
    """Return a case as an archive of docker's."""
    return members()[f"cases/{case}.tar"]


def layers_of(case: str) -> list[bytes]:
    """Return the layers of a case, bottom first."""
    with tarfile.open(fileobj=io.BytesIO(image_of(case))) as tar:
        (image,) = json.load(tar.extractfile("manifest.json"))  # type: ignore[arg-type]
        return [tar.extractfile(name).read() for name in image["Layers"]]  # type: ignore[union-attr]


def expected(case: str, *, resolve_links: bool) -> list[str]:
    """Return the lines of the listing that a case must give."""
    folder = "expected-resolve-links" if resolve_links else "expected"
    return members()[f"{folder}/{case}.tsv"].decode().splitlines()


def merged(layers: Sequence[bytes], *, resolve_links: bool = False) -> Merge:
    """Merge layers."""
    merge = Merge(resolve_links=resolve_links)
    for layer in layers:
        merge.apply(TarReader(io.BytesIO(layer)))
    return merge


def listing(layers: Sequence[bytes], merge: Merge) -> list[str]:
    """List a merged view in the form of the cases: a line for each path, sorted by its bytes."""
    found: dict[str, Node] = {"/": merge.root}
    stack = [("", merge.root)]
    while stack:
        folder, node = stack.pop()
        for name, child in (node.children or {}).items():
            path = f"{folder}{name}"
            found[path] = child
            stack.append((f"{path}/", child))
    shared: dict[int, list[str]] = {}
    for path, node in found.items():
        shared.setdefault(id(node), []).append(_shown(path))
    return sorted((_line(path, node, min(shared[id(node)]), layers) for path, node in found.items()), key=_place)


def _place(line: str) -> list[str]:
    path = line.split("\t", 1)[0]
    return [] if path == "/" else path.split("/")


def _line(path: str, node: Node, first: str, layers: Sequence[bytes]) -> str:
    seconds, nanoseconds = node.attributes.mtime
    time = f"{seconds}.{nanoseconds:09}"
    entry = node.content
    target = {"symlink": _shown(entry.linkname), "char": f"{entry.devmajor}:{entry.devminor}"}.get(node.type, "-")
    content = _content(layers[node.origin], entry) if node.type == "file" else b""
    xattrs = ",".join(f"{name}={value.hex()}" for name, value in sorted(node.xattrs.items()))
    fields = [
        *(_shown(path), _LETTERS[node.type], f"{node.mode:04o}", str(node.attributes.uid), str(node.attributes.gid)),
        *(str(node.size) if node.type == "file" else "-", time, target, first if node.names > 1 else "-"),
        *(xattrs or "-", sha256(content).hexdigest() if node.type == "file" else "-"),
    ]
    return "\t".join(fields)


def _content(layer: bytes, entry: TarEntry) -> bytes:
    if not entry.sparse:
        return layer[entry.offset : entry.offset + entry.size]
    reader = TarReader(io.BytesIO(layer))
    next(one for one in reader if one.header_offset == entry.header_offset)
    return b"".join(reader.chunks())


def _shown(path: str) -> str:
    return "".join(
        chr(byte) if 32 < byte < 127 and byte != 92 else f"\\x{byte:02x}"
        for byte in path.encode("utf-8", "surrogateescape")
    )
