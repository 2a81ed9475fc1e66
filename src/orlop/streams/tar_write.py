"""Writing a tar, header by header, as the daemons write their archives.

Headers are plain ustar with zero owners, without a prefix if the path fits into the name field, and with numbers in
octal with leading zeros and a NUL. Values that do not fit go into a PAX header before, as in Go's archive/tar, so that
archives are byte for byte those of `docker save` (`docs/formats.md`).
"""

from __future__ import annotations

from zlib import adler32

from orlop.streams.tar_entry import TYPE_BLOCK, TYPE_CHAR, TYPE_DIR, TYPE_FIFO, TYPE_FILE, TYPE_SYMLINK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Final, Literal, TypeAlias

    from orlop.streams.tar_entry import TarEntry

    MemberType: TypeAlias = Literal["file", "dir", "symlink"]

__all__ = [
    "END",
    "MTIME_MAX",
    "MemberType",
    "archive_chunks",
    "common_header",
    "entry_header",
    "member_header",
    "padding",
]

END: Final = bytes(1024)
"""The end of an archive."""

MTIME_MAX: Final = 9_223_372_036
"""The last second that a 64-bit number of nanoseconds since 1970 can express; later times are written as 0."""

_FLUSH: Final = 256 << 10
_NAME_SIZE: Final = 100
_PREFIX_SIZE: Final = 155
_OCTAL_11_MAX: Final = 0o77777777777
_OCTAL_7_MAX: Final = 0o7777777
_NO_DEVICE: Final = b"0000000\0" * 2

_FLAGS: Final[dict[str, bytes]] = {"file": b"0", "dir": b"5", "symlink": b"2"}
_ENTRY_FLAGS: Final = _FLAGS | {TYPE_CHAR: b"3", TYPE_BLOCK: b"4", TYPE_FIFO: b"6"}


def member_header(
    name: str,
    *,
    size: int = 0,
    mode: int,
    mtime: int = 0,
    type: MemberType = "file",  # noqa: A002 - the word of the entries that readers yield
    linkname: str = "",
    uname: str = "",
    gname: str = "",
) -> bytes:
    """Return the header blocks of one member; its content and `padding` follow them.

    Args:
        name: path; a directory's should end in "/". UTF-8 (surrogate escapes allowed).
        size: bytes of content.
        mode: permissions, with or without the bits of the file's type, depending on the format.
        mtime: whole seconds since 1970; times outside 1970 to `MTIME_MAX` are written as 0.
        type: "file", "dir" or "symlink".
        linkname: target of a symbolic link.
        uname: name of the owner, at most 32 bytes.
        gname: name of the group, at most 32 bytes.

    Raises ValueError for values that a tar cannot express: a NUL in a text, a negative size, an empty name.
    """
    path, target, owner, group = (text.encode("utf-8", "surrogateescape") for text in (name, linkname, uname, gname))
    if not path or size < 0 or b"\0" in path + target + owner + group or max(len(owner), len(group)) > 32:
        raise ValueError(f"no tar member can be named {name!r}, link to {linkname!r}, be of {size} bytes and owned so")
    if not 0 <= mtime <= MTIME_MAX:
        mtime = 0
    records: dict[str, bytes] = {}
    prefix, base = b"", path
    if not path.isascii() or len(path) > _NAME_SIZE:
        records["path"] = path
    if not target.isascii() or len(target) > _NAME_SIZE:
        records["linkpath"] = target
    if size > _OCTAL_11_MAX:
        records["size"] = b"%d" % size
    if mtime > _OCTAL_11_MAX:
        records["mtime"] = b"%d" % mtime
    if set(records) == {"path"} and (split := _split(path)):
        prefix, base = split
        records = {}
    devices = b"0000000\0" * 2
    header = _block(
        base,
        prefix=prefix,
        mode=mode,
        size=size if size <= _OCTAL_11_MAX else 0,
        mtime=mtime if mtime <= _OCTAL_11_MAX else 0,
        flag=_FLAGS[type],
        target=target,
        tail=owner.ljust(32, b"\0") + group.ljust(32, b"\0") + devices,
    )
    return _pax(path, records) + header if records else header


def entry_header(entry: TarEntry, *, name: str, linkname: str = "") -> bytes:
    """Return the header blocks of a member from a reader, with another name and all its other attributes.

    Args:
        entry: of any type but ``other``.
        name: its new path; a directory's should end in "/".
        linkname: the target of a hard link; if empty it is what ``entry`` is, or a file if that is a hard link, and
            ``entry.size`` bytes of content follow.
    """
    link = linkname or (entry.linkname if entry.type == TYPE_SYMLINK else "")
    path, target, owner, group = (
        text.encode("utf-8", "surrogateescape") for text in (name, link, entry.uname, entry.gname)
    )
    size = 0 if linkname else entry.size
    is_device = not linkname and entry.type in {TYPE_CHAR, TYPE_BLOCK}
    seconds, nanoseconds = entry.mtime
    records = {f"SCHILY.xattr.{key}": value for key, value in entry.xattrs.items()}
    records |= {key: b"%d" % value for key, value in (("uid", entry.uid), ("gid", entry.gid)) if value}
    for key, text, limit in (
        ("path", path, 100),
        ("linkpath", target, 100),
        ("uname", owner, 32),
        ("gname", group, 32),
    ):
        if not text.isascii() or len(text) > limit:
            records[key] = text
    if size > _OCTAL_11_MAX:
        records["size"] = b"%d" % size
    if nanoseconds or not 0 <= seconds <= _OCTAL_11_MAX:
        total = seconds * 1_000_000_000 + nanoseconds
        whole, rest = divmod(abs(total), 1_000_000_000)
        records["mtime"] = b"%s%d.%09d" % (b"-" if total < 0 else b"", whole, rest)
    header = _block(
        path,
        prefix=b"",
        mode=entry.mode & 0o7777777,
        size=size if size <= _OCTAL_11_MAX else 0,
        mtime=seconds if 0 <= seconds <= _OCTAL_11_MAX else 0,
        flag=b"1" if linkname else _ENTRY_FLAGS.get(entry.type, b"0"),
        target=target,
        tail=_ascii(owner)[:32].ljust(32, b"\0")
        + _ascii(group)[:32].ljust(32, b"\0")
        + (_device(entry.devmajor) + _device(entry.devminor) if is_device else _NO_DEVICE),
    )
    return _pax(path, records) + header if records else header


def _device(number: int) -> bytes:
    """Return a number of a device: those that have no room in octal digits as GNU tar writes them, in base 256."""
    if 0 <= number <= _OCTAL_7_MAX:
        return b"%07o\0" % number
    return (1 << 63 | number & (1 << 63) - 1).to_bytes(8, "big")


def common_header(name: str, *, type: str, mode: int, size: int, mtime: tuple[int, int]) -> bytes | None:  # noqa: A002
    """Return what `entry_header` returns for a file or directory of root without extended attributes, in less time.

    Returns None if there is more to its header than numbers and a short name.
    """
    seconds, nanoseconds = mtime
    if (
        (rest := _COMMON_RESTS.get(type)) is None
        or nanoseconds
        or not 0 <= seconds <= _OCTAL_11_MAX
        or size > _OCTAL_11_MAX
        or len(name) > _NAME_SIZE
        or not name.isascii()
    ):
        return None
    fields = name.encode().ljust(_NAME_SIZE, b"\0") + _COMMON_NUMBERS % (mode & 0o7777777, size, seconds)
    # Adler-32 has 1 and the sum of all bytes in its low half, as long as that is below 65,521.
    return fields + b"%06o\0 " % ((adler32(fields) & 0xFFFF) - 1 + rest[1]) + rest[0]


def padding(size: int) -> bytes:
    """Return the zero bytes that fill content of ``size`` bytes up to a whole block."""
    return bytes(-size % 512)


def archive_chunks(pieces: Iterable[bytes | memoryview]) -> Iterator[bytes]:
    """Yield an archive from its headers and contents, in large chunks, with the end of the archive.

    Headers are small: many small writes would cost more than the bytes in them.
    """
    waiting: list[bytes | memoryview] = []
    size = 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= _FLUSH:
            yield b"".join(waiting)  # which copies nothing if it is one
            waiting, size = [], 0
    waiting.append(END)
    yield b"".join(waiting)


def _pax(path: bytes, records: dict[str, bytes]) -> bytes:
    """Return the PAX header with its body; its name is that of the member with a folder ``PaxHeaders.0`` inserted."""
    body = b"".join(_record(key.encode("utf-8", "surrogateescape") + b"=" + records[key]) for key in sorted(records))
    folder, _, base = path.rpartition(b"/")
    name = b"/".join(part for part in (*folder.split(b"/"), b"PaxHeaders.0", base) if part)
    name = (b"/" if path.startswith(b"/") else b"") + name
    name = _ascii(name)[:_NAME_SIZE].rstrip(b"/")
    header = _block(name, prefix=b"", mode=0, size=len(body), mtime=0, flag=b"x", target=b"", tail=bytes(80))
    return header + body + padding(len(body))


def _record(text: bytes) -> bytes:
    """Return a record with its length, which includes the length's own digits, before it."""
    length = len(text) + 2
    while (total := len(text) + 2 + len(str(length))) != length:
        length = total
    return b"%d %s\n" % (length, text)


def _block(
    name: bytes, *, prefix: bytes, mode: int, size: int, mtime: int, flag: bytes, target: bytes, tail: bytes
) -> bytes:
    name = _ascii(name)
    if len(name) > _NAME_SIZE and name[_NAME_SIZE - 1 : _NAME_SIZE] == b"/":
        # A cut name must not look like a directory.
        name = name[:_NAME_SIZE].rstrip(b"/")
    fields = (
        name[:_NAME_SIZE].ljust(_NAME_SIZE, b"\0"),
        b"%07o\0" % mode,
        b"0000000\0" * 2,
        b"%011o\0%011o\0" % (size, mtime),
        b"        ",
        flag,
        _ascii(target)[:_NAME_SIZE].ljust(_NAME_SIZE, b"\0"),
        b"ustar\x0000",
        tail,
        prefix.ljust(_PREFIX_SIZE + 12, b"\0"),
    )
    block = b"".join(fields)
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _ascii(text: bytes) -> bytes:
    return text if text.isascii() else text.translate(None, bytes(range(128, 256)))


def _common_rest(flag: bytes) -> tuple[bytes, int]:
    """Return what follows the checksum of a common header, and the sum of its bytes and of the checksum's blanks."""
    rest = _block(b"", prefix=b"", mode=0, size=0, mtime=0, flag=flag, target=b"", tail=bytes(64) + _NO_DEVICE)[156:]
    return rest, sum(rest) + 8 * ord(" ")


def _split(path: bytes) -> tuple[bytes, bytes] | None:
    """Split a path at a slash so that the parts fit into the fields prefix and name, or return None."""
    if not path.isascii():
        return None
    end = min(len(path), _PREFIX_SIZE + 1)
    if end == len(path) and path.endswith(b"/"):
        end -= 1
    cut = path.rfind(b"/", 0, end)
    prefix, base = path[:cut], path[cut + 1 :]
    return (prefix, base) if cut > 0 and base and len(base) <= _NAME_SIZE else None


_COMMON_NUMBERS: Final = b"%07o\0" + b"0000000\0" * 2 + b"%011o\0%011o\0"
_COMMON_RESTS: Final = {TYPE_FILE: _common_rest(b"0"), TYPE_DIR: _common_rest(b"5")}
