"""Images that tests make of layers, as archives of docker's."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def layer(*members: str | tuple[str, bytes] | tarfile.TarInfo) -> bytes:
    """Make a layer: ``d/`` is a directory, ``name`` a file, ``(name, content)`` one with content.

    ``name->target`` is a symbolic link, ``name=>target`` a hard link; a `TarInfo` is written as it is, without content.
    """
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
                continue
            name, content = member if isinstance(member, tuple) else (member, b"")
            info = tarfile.TarInfo(name.rstrip("/"))
            info.mode, info.mtime = 0o755 if name.endswith("/") else 0o644, 1_600_000_000
            for mark, kind in (("->", tarfile.SYMTYPE), ("=>", tarfile.LNKTYPE)):
                if mark in name:
                    info.name, _, info.linkname = name.partition(mark)
                    info.type = kind
            if name.endswith("/") and not info.linkname:
                info.type = tarfile.DIRTYPE
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def sparse(*members: tuple[str, dict[int, bytes], int]) -> bytes:
    """Make a layer of sparse files: each has a name, some bytes at some places with holes between them, and a size."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, pieces, size in members:
            places = "".join(f"{start}\n{len(data)}\n" for start, data in pieces.items())
            stored = f"{len(pieces)}\n{places}".encode()
            stored += bytes(-len(stored) % 512) + b"".join(pieces.values())
            info = tarfile.TarInfo(f"GNUSparseFile.0/{name}")
            info.size, info.mtime = len(stored), 1_600_000_000
            info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": name}
            info.pax_headers["GNU.sparse.realsize"] = str(size)
            archive.addfile(info, io.BytesIO(stored))
    return out.getvalue()


def image(
    *layers: bytes,
    tag: str = "made:1",
    compressed: bool = False,
    compress: Callable[[bytes], bytes] | None = None,
    config: dict[str, object] | None = None,
    steps: Sequence[str] = (),
) -> bytes:
    """Make an archive of an image of these layers, bottom first, each with a step of the history.

    ``steps`` are the commands of the history. ``compress`` compresses each layer; ``compressed`` does so with gzip.
    """
    if compress is None:
        compress = partial(gzip.compress, mtime=0) if compressed else bytes
    steps = steps or [f"RUN step {number}" for number, _ in enumerate(layers, 1)]
    raw = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": "2026-01-01T00:00:00Z",
            "config": config or {},
            "history": [{"created": "2026-01-01T00:00:00Z", "created_by": step} for step in steps],
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(one).hexdigest()}" for one in layers]},
        }
    ).encode()
    names = [f"{number}/layer.tar" for number, _ in enumerate(layers)]
    manifest = json.dumps([{"Config": "config.json", "RepoTags": [tag], "Layers": names}]).encode()
    out = io.BytesIO()
    contents = [compress(one) for one in layers]
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in [*zip(names, contents, strict=True), ("config.json", raw), ("manifest.json", manifest)]:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()
