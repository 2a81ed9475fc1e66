"""Make the seeds of the tar target anew, the same bytes every time: `python fuzz/make_seeds.py`.

A few small tars of every format that layers come in; what no library writes is put together here from headers.
"""

# ruff: noqa: INP001 -- a script beside what it writes

from __future__ import annotations

import io
import tarfile
from pathlib import Path

SEEDS = Path(__file__).resolve().parent / "seeds" / "tar"
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


def seeds() -> dict[str, bytes]:
    """Give the seeds by their names."""
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


def main() -> None:
    """Write the seeds."""
    SEEDS.mkdir(parents=True, exist_ok=True)
    for name, data in seeds().items():
        (SEEDS / f"{name}.tar").write_bytes(data)


if __name__ == "__main__":
    main()
