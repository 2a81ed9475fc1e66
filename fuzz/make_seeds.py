"""Make the seeds of all targets anew, the same bytes every time: `python fuzz/make_seeds.py`.

A few small tars of every format that layers come in, of which what no library writes is put together here from headers;
an archive of every format; documents; names.
"""

# ruff: noqa: INP001 -- a script beside what it writes

from __future__ import annotations

import argparse
import base64
import bz2
import hashlib
import io
import json
import struct
import tarfile
import zlib
from pathlib import Path
from typing import Any

from orlop.inside.node import IMPLICIT
from orlop.inside.slices import path_table
from orlop.streams.compression import zstd_module
from orlop.streams.tar_header import TYPE_DIR, TYPE_FILE

SEEDS = Path(__file__).resolve().parent / "seeds"
END = bytes(1024)
FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def padded(data: bytes) -> bytes:
    """Fill up the last block."""
    return data + bytes(-len(data) % 512)


def mended(block: bytes) -> bytes:
    """Put the checksum of a header right."""
    block = block[:148] + b"        " + block[156:]
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def header(name: bytes, *, size: int = 0, kind: bytes = b"0", magic: bytes = b"ustar\x0000") -> bytes:
    """Make a header block."""
    block = name.ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + b"%011o\0" % size + b"00000000000\0"
    return mended((block + b"        " + kind + bytes(100) + magic).ljust(512, b"\0"))


def kinds(format_: int, *, long: bool = False, mtime: float = 1767225600) -> bytes:
    """Make a tar with a member of every type."""
    out = io.BytesIO()
    prefix = "a-long-directory-name/" * 12 if long else "a/"
    with tarfile.open(fileobj=out, mode="w", format=format_) as tar:
        for number, (kind, linkname) in enumerate(
            [
                (tarfile.DIRTYPE, ""),
                (tarfile.REGTYPE, ""),
                (tarfile.LNKTYPE, prefix + "1"),
                (tarfile.SYMTYPE, "../" + prefix),
                (tarfile.CHRTYPE, ""),
                (tarfile.BLKTYPE, ""),
                (tarfile.FIFOTYPE, ""),
            ]
        ):
            member = tarfile.TarInfo(prefix if kind == tarfile.DIRTYPE else f"{prefix}{number}")
            member.type, member.linkname, member.mode, member.mtime = kind, linkname, 0o755, mtime
            member.uid, member.uname, member.devmajor = 1000, "user", 8
            content = b"content" if kind == tarfile.REGTYPE else b""
            member.size = len(content)
            if format_ == tarfile.PAX_FORMAT and content:
                member.pax_headers = {"SCHILY.xattr.user.note": "value", "comment": "ä"}
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def whole(data: bytes) -> bytes:
    """End a tar with two blocks of zeros, rather than with a record of twenty."""
    return padded(data.rstrip(b"\0")) + END


def pax(records: bytes, kind: bytes = b"x") -> bytes:
    """Make a PAX header."""
    return header(b"PaxHeaders/f", size=len(records), kind=kind) + padded(records)


def old_sparse() -> bytes:
    """Make a sparse file in the old format of GNU tar, whose map goes on in a block of its own."""

    def piece(offset: int, size: int) -> bytes:
        return b"%011o\0%011o\0" % (offset, size)

    block = bytearray(header(b"sparse", size=5 * 512, kind=b"S", magic=b"ustar  \0"))
    block[386:482] = b"".join(piece(number * 4096, 512) for number in range(4))
    block[482] = 1
    block[483:495] = b"%011o\0" % (5 * 4096)
    more = piece(4 * 4096, 512).ljust(512, b"\0")
    return mended(bytes(block)) + more + b"s" * 5 * 512 + END


def pax_sparse() -> bytes:
    """Make a sparse file in the PAX format 1.0, whose map stands before its content."""
    records = b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n26 GNU.sparse.name=sparse\n29 GNU.sparse.realsize=10000\n"
    content = padded(b"1\n4096\n3\n") + padded(b"abc")
    return pax(records) + header(b"GNUSparseFile.0/sparse", size=512 + 3) + content + END


def big_number() -> bytes:
    """Make a member whose size and owner are in base 256."""
    block = bytearray(header(b"base256", magic=b"ustar  \0"))
    block[108:116] = b"\x80" + (1 << 31).to_bytes(7, "big")
    block[124:136] = b"\x80" + (5).to_bytes(11, "big")
    return mended(bytes(block)) + padded(b"bytes") + END


def tars() -> dict[str, bytes]:
    """Return the tars by their names."""
    made = {name: whole(kinds(format_)) for name, format_ in FORMATS.items()}
    made |= {f"{name}-long": whole(kinds(FORMATS[name], long=True)) for name in ("gnu", "pax")}
    made["pax-times"] = whole(kinds(tarfile.PAX_FORMAT, mtime=1767225600.25))
    made["v7"] = header(b"old", size=3, kind=b"\0", magic=b"") + padded(b"old") + header(b"dir/", kind=b"\0", magic=b"")
    made["v7"] += END
    made["pax-global"] = pax(b"15 comment=all\n", b"g") + header(b"f", size=1) + padded(b"f") + END
    made["pax-size"] = pax(b"9 size=4\n12 path=p/q\n") + header(b"f") + padded(b"four") + END
    made |= {"gnu-sparse": old_sparse(), "pax-sparse": pax_sparse(), "base256": big_number()}
    made |= {"empty": b"", "end": END, "cut": made["ustar"][:1800], "after": header(b"f") + END + b"rest"}
    return made


def sha256(data: bytes) -> str:
    """Return the digest of some bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def gzipped(data: bytes) -> bytes:
    """Wrap some bytes as gzip, in one stored block: what compressors make of them differs with their versions."""
    size = struct.pack("<HH", len(data), len(data) ^ 0xFFFF)
    return b"\x1f\x8b\x08" + bytes(6) + b"\xff\x01" + size + data + struct.pack("<II", zlib.crc32(data), len(data))


def compact(value: object) -> bytes:
    """Write a document."""
    return json.dumps(value, separators=(",", ":")).encode()


LAYER = header(b"f", size=1) + padded(b"f") + header(b"d/", kind=b"5") + header(b"d/.wh.g") + END
CONFIG: dict[str, Any] = {
    "architecture": "amd64",
    "config": {
        "Cmd": ["sh"],
        "Env": ["A=b"],
        "ExposedPorts": {"80/tcp": {}},
        "Labels": {"a": "b"},
        "Volumes": {"/v": {}},
    },
    "created": "2026-01-01T00:00:00.5Z",
    "history": [{"created": "2026-01-01T00:00:00Z", "created_by": "b"}, {"comment": "c", "empty_layer": True}],
    "os": "linux",
    "rootfs": {"type": "layers", "diff_ids": [sha256(LAYER)]},
}
V1 = {"id": "a", "created": "2026-01-01T00:00:00Z", "container_config": {"Cmd": ["b"]}, "os": "linux", "Size": 1}
_OCI = "application/vnd.oci.image."


def descriptor(kind: str, data: bytes, **more: object) -> dict[str, Any]:
    """Return the descriptor of some bytes."""
    return {"mediaType": f"{_OCI}{kind}", "digest": sha256(data), "size": len(data)} | more


def manifest(layer: bytes, kind: str = "layer.v1.tar") -> bytes:
    """Make a manifest of the one config and a layer."""
    parts = {"config": descriptor("config.v1+json", compact(CONFIG)), "layers": [descriptor(kind, layer)]}
    return compact({"schemaVersion": 2, "mediaType": f"{_OCI}manifest.v1+json"} | parts)


def index(*descriptors: object) -> bytes:
    """Make an index."""
    return compact({"schemaVersion": 2, "mediaType": f"{_OCI}index.v1+json", "manifests": descriptors})


def tar(files: dict[str, bytes]) -> bytes:
    """Make a tar of files."""
    return b"".join(header(name.encode(), size=len(data)) + padded(data) for name, data in files.items()) + END


def blobs(*contents: bytes) -> dict[str, bytes]:
    """Return contents as files of a layout."""
    return {f"blobs/{sha256(data).replace(':', '/')}": data for data in contents}


def archives() -> dict[str, bytes]:
    """Return an archive of every format by its name."""
    config, packed = compact(CONFIG), gzipped(LAYER)
    entry = {"Config": "c.json", "RepoTags": ["a/b:1"], "Layers": ["l.tar"]}
    docker = tar({"c.json": config, "l.tar": LAYER, "manifest.json": compact([entry])})
    image = manifest(packed, "layer.v1.tar+gzip")
    name = {"io.containerd.image.name": "docker.io/a/b:1"}
    nested = index(descriptor("manifest.v1+json", image, platform={"os": "linux", "architecture": "amd64"}))
    layout = {"oci-layout": compact({"imageLayoutVersion": "1.0.0"})}
    plain = manifest(LAYER)
    parts = [config, LAYER]
    listed = {"Config": f"blobs/{sha256(config).replace(':', '/')}", "RepoTags": ["a/b:1"]}
    listed["Layers"] = [f"blobs/{sha256(LAYER).replace(':', '/')}"]
    top = index(descriptor("manifest.v1+json", plain, annotations=name))
    child = compact(V1 | {"id": "b", "parent": "a"})
    folders = {"a/json": compact(V1), "a/layer.tar": LAYER, "b/json": child, "b/layer.tar": LAYER}
    made = {
        "docker": docker,
        "docker-29": tar(blobs(*parts, plain) | layout | {"index.json": top, "manifest.json": compact([listed])}),
        "oci": tar(
            blobs(config, packed, image, nested)
            | layout
            | {"index.json": index(descriptor("index.v1+json", nested, annotations=name))}
        ),
        "dir": tar({"manifest.json": plain} | {sha256(part)[7:]: part for part in parts}),
        "v1": tar(folders | {"repositories": compact({"a/b": {"1": "b"}})}),
        "empty": b"",
    }
    made["docker-gzip"] = gzipped(docker)
    made["docker-bzip2"] = bz2.compress(docker)
    made["cut"] = docker[:-2000]
    return made


def documents() -> dict[str, bytes]:
    """Return documents by their names."""
    odd = b'{"Rootfs":{"diff_ids":["x"],"Diff_IDs":null},"a":[1e400,-0,1.5,"\\ud800","\\u00e9\xff",[],{}],"b":{"b":1'
    return {
        "config": compact(CONFIG),
        "v1": compact(V1 | {"parent": "c", "docker_version": "1.8.2", "Config": {"Entrypoint": "text", "Shell": None}}),
        "manifest": manifest(LAYER),
        "index": index(
            descriptor("manifest.v1+json", b"", platform={"os": "linux", "architecture": "arm64"}, urls=["u"])
        ),
        "odd": odd + b',"B":2}}',
        "null": b" null ",
        "cut": compact(CONFIG)[:-3],
    }


def names() -> dict[str, bytes]:
    """Return names, digests and platforms by their kind."""
    return {
        "short": b"alpine",
        "long": b"Registry.example.com:5000/team/sub.app__x-y:1.0_a",
        "digest": b"user/app:1@sha256:" + b"0123456789abcdef" * 4,
        "local": b"localhost/app",
        "path-like-a-registry": b"docker.io/localhost/app",
        "path-like-the-registry": b"docker.io/docker.io/app",
        "address": b"[fe80::1]:5000/app:tag",
        "id": b"0123456789abcdef" * 4,
        "tag": b"sha256:" + b"a" * 63,
        "platform": b"linux/arm64/v8",
    }


def lines() -> dict[str, bytes]:
    """Return files of tar-split."""
    sparse = pax(b"22 GNU.sparse.major=0\n22 GNU.sparse.minor=1\n22 GNU.sparse.map=0,3\n")
    parts: list[dict[str, Any]] = [
        {"type": 2, "payload": header(b"a/b", size=3)},
        {"type": 1, "name": "a/b", "size": 3, "payload": bytes(range(8))},
        {"type": 2, "payload": bytes(509) + header(b"a/", kind=b"5")},
        {"type": 1, "name": "a/", "payload": bytes(8)},
        {"type": 2, "payload": header(b"\xff")},
        {"type": 1, "name_raw": "/w==", "payload": bytes(8)},
        {"type": 1, "name": 'q"<\\ü', "size": 0, "payload": None},
        {"type": 2, "payload": sparse + header(b"holes", size=3)},
        {"type": 1, "name": "holes", "size": 3, "payload": bytes(range(8, 16))},
        {"type": 2, "payload": END},
    ]
    whole = b"".join(
        compact(part | {"payload": part["payload"] and base64.b64encode(part["payload"]).decode(), "position": number})
        + b"\n"
        for number, part in enumerate(parts)
    )
    return {"whole": gzipped(whole), "cut": gzipped(whole[:-20]), "empty": gzipped(b"")}


def path_tables() -> dict[str, bytes]:
    """Return path tables: of members and markers, without rows, with an offset that is not a number, and cut."""
    names = ("etc/", "etc/passwd", "etc/.wh.gone", "usr/lib/a", *(f"usr/lib/{number:03}" for number in range(150)))
    entries = [IMPLICIT._replace(name=name, type=TYPE_DIR if name.endswith("/") else TYPE_FILE) for name in names]
    whole = path_table(entries)
    directory = json.dumps({"plain": True, "links": [], "blocks": [["m", float("inf"), 1]]}).encode()
    zstd = zstd_module()
    packed = zstd.compress(directory)
    size = 14 + len(packed) + 16
    head = b"\x50\x2a\x4d\x18" + size.to_bytes(4, "little") + b"orlop paths 1\n"
    endless = head + packed + struct.pack("<II8s", len(packed), size, b"orloppth")
    return {"whole": whole, "empty": path_table([]), "endless": endless, "cut": whole[:-20]}


def bolts() -> dict[str, bytes]:
    """Return BoltDB files with small pages: a branch, two leaves, a bucket in a page and one within a leaf."""

    def element(flags: int, start: int, key: bytes, value: bytes) -> bytes:
        return struct.pack("<IIII", flags, start, len(key), len(value))

    def leaf(items: list[tuple[bytes, bytes, int]]) -> bytes:
        heads, data = b"", b""
        for number, (key, value, flags) in enumerate(items):
            heads += element(flags, (len(items) - number) * 16 + len(data), key, value)
            data += key + value
        return heads + data

    def page(number: int, flags: int, count: int, body: bytes) -> bytes:
        return (struct.pack("<QHHI", number, flags, count, 0) + body).ljust(512, b"\0")

    def meta(number: int, root: int) -> bytes:
        body = struct.pack("<IIIIQQQQQ", 0xED0CDAED, 2, 512, 0, root, 0, 2, 7, 10 + number)
        return page(number, 4, 0, body + fnv1a(body).to_bytes(8, "little"))

    inner = [(b"k", b"v", 0)]
    inline = struct.pack("<QQ", 0, 0) + struct.pack("<QHHI", 0, 2, 1, 0) + leaf(inner)
    first = [(b"v1", struct.pack("<QQ", 5, 0), 1)]
    second = [(b"v2", inline, 1), (b"w", b"", 0)]
    branch = (
        b"".join(struct.pack("<IIQ", 32 - number * 16 + number * 2, 2, number + 3) for number in range(2)) + b"v1v2"
    )
    whole = b"".join(
        [
            meta(0, 2),
            meta(1, 2),
            page(2, 1, 2, branch),
            page(3, 2, 1, leaf(first)),
            page(4, 2, 2, leaf(second)),
            page(5, 2, 2, leaf([(b"images", b"x" * 40, 0), (b"version", b"\x06", 0)])),
            page(6, 16, 0, b""),
        ]
    )
    circle = whole[:1536] + page(3, 1, 1, struct.pack("<IIQ", 16, 2, 2) + b"v1") + whole[2048:]
    return {"whole": whole, "circle": circle, "cut": whole[:2000], "empty": b""}


def fnv1a(data: bytes) -> int:
    """Return the hash by which a meta is known to be whole."""
    found = 0xCBF29CE484222325
    for byte in data:
        found = (found ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return found


def seeds() -> dict[str, bytes]:
    """Return all seeds by the names of their files."""
    kinds = {
        "tar": (tars(), ".tar"),
        "archive": (archives(), ".tar"),
        "json": (documents(), ".json"),
        "reference": (names(), ""),
        "tarsplit": (lines(), ".gz"),
        "bolt": (bolts(), ".db"),
        "paths": (path_tables(), ".paths"),
    }
    return {f"{kind}/{name}{suffix}": data for kind, (made, suffix) in kinds.items() for name, data in made.items()}


def main() -> None:
    """Write the seeds."""
    argparse.ArgumentParser().parse_args()
    for name, data in seeds().items():
        (SEEDS / name).parent.mkdir(parents=True, exist_ok=True)
        (SEEDS / name).write_bytes(data)


if __name__ == "__main__":
    main()
