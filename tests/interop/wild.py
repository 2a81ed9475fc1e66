"""Layers of entries that no builder writes: of odd names, kinds, times and owners, in any order, below anything.

A layer with all kinds at once is refused by every program. So each mix has a few kinds, and most of its layers can be
unpacked.
"""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

__all__ = ["MIXES", "wild_layer"]

MIXES: Final = (
    *("dir file long", "dir file symlink any", "dir file hide opaque", "dir file link lower", "dir sparse file"),
    *("dir device file overlay", "dir any below file", "dir symlink file hide", "dir file long any opaque"),
)
_CAPABILITY: Final = (b"\1\0\0\2\0\4" + bytes(14)).decode()
_TIMES: Final = (1_600_000_000, 1_600_000_000, -5, -1.5, 0, 1.25, 4_102_444_800, 1 << 33)
_OWNERS: Final = (0, 0, 1, 1 << 21, 3_000_000, 1 << 31, (1 << 32) - 2)
_ATTRIBUTES: Final[tuple[dict[str, str], ...]] = (
    *({}, {}, {}, {"SCHILY.xattr.user.a": "v"}, {"SCHILY.xattr.security.capability": _CAPABILITY}),
)
_TARGETS: Final = ("d0", "d1/f0", "../..", "/d1", "s", "nowhere", "../../d0", "f0")
_LOWER: Final = ("d0/f0", "f0", "f1", "d1/f1", "/f0", "./f1")
_ENTRIES: Final = 5


def wild_layer(choose: Random, mix: str) -> bytes:
    """Make a layer of a mix of kinds."""
    made: list[str] = []
    return b"".join(
        _MAKERS[choose.choice(mix.split())](choose, _folder(choose), made) for _ in range(_ENTRIES)
    ) + bytes(1024)


def _folder(choose: Random) -> str:
    """Return what a name begins with: mostly a directory, through a link or out of the root, in one of many forms."""
    names = ["d0", "d1", "s"] if choose.random() < 0.1 else ["d0", "d1"]
    folder = "".join(f"{choose.choice(names)}/" for _ in range(choose.randrange(3)))
    return choose.choice(
        [*[folder] * 16, *[f"./{folder}"] * 2, f"/{folder}", folder.replace("/", "//"), f"../{folder}"]
    )


def _member(choose: Random, name: str, content: bytes = b"", **facts: Any) -> bytes:
    info = tarfile.TarInfo(name)
    info.mtime = 1_600_000_000
    for fact, value in {"size": len(content), **facts}.items():
        setattr(info, fact, value)
    is_pax = info.pax_headers or info.mtime < 0 or choose.random() < 0.5
    header = info.tobuf(tarfile.PAX_FORMAT) if is_pax else info.tobuf(tarfile.GNU_FORMAT)
    return header + content + bytes(-len(content) % 512)


def _directory(choose: Random, base: str, made: list[str]) -> bytes:
    del made
    name = f"{base}d{choose.randrange(2)}{choose.choice(['', '/'])}"
    mode, uid = choose.choice([0o755, 0o700, 0o1777]), choose.choice(_OWNERS)
    return _member(choose, name, type=tarfile.DIRTYPE, mode=mode, uid=uid)


def _file(choose: Random, base: str, made: list[str]) -> bytes:
    made.append(f"{base}f{choose.randrange(2)}")
    facts = {"mtime": choose.choice(_TIMES), "uid": choose.choice(_OWNERS), "pax_headers": choose.choice(_ATTRIBUTES)}
    return _member(choose, made[-1], str(choose.random()).encode(), **facts)


def _any(choose: Random, base: str, made: list[str]) -> bytes:
    """Make one thing of many kinds at one path, so that they replace each other."""
    del made
    kind = choose.choice([tarfile.DIRTYPE, tarfile.REGTYPE, tarfile.FIFOTYPE, tarfile.SYMTYPE])
    return _member(choose, f"{base}x", type=kind, linkname="d0" if kind == tarfile.SYMTYPE else "", mode=0o640)


def _link(choose: Random, base: str, made: list[str]) -> bytes:
    target = choose.choice(made or ["f0"])
    return _member(choose, f"{base}h", type=tarfile.LNKTYPE, linkname=target)


def _device(choose: Random, base: str, made: list[str]) -> bytes:
    del made
    kind = choose.choice([tarfile.CHRTYPE, tarfile.BLKTYPE])
    return _member(choose, f"{base}v", type=kind, devmajor=choose.choice([0, 1]), devminor=choose.choice([0, 3]))


def _overlay(choose: Random, base: str, made: list[str]) -> bytes:
    del made
    name = f"SCHILY.xattr.trusted.overlay.{choose.choice(['opaque', 'redirect'])}"
    return _member(choose, f"{base}d{choose.randrange(2)}", type=tarfile.DIRTYPE, mode=0o755, pax_headers={name: "y"})


def _sparse(choose: Random, base: str, made: list[str]) -> bytes:
    """Make a file of 10,240 bytes with holes, in the form 1.0 of PAX."""
    del made
    body = b"2\n4096\n512\n10240\n0\n".ljust(512, b"\0") + b"Y" * 512
    facts = {"major": "1", "minor": "0", "name": f"{base}sp", "realsize": "10240"}
    return _member(choose, "GNUSparseFile.1/sp", body, pax_headers={f"GNU.sparse.{key}": facts[key] for key in facts})


def _named(*names: str, **facts: Any) -> Callable[[Random, str, list[str]], bytes]:
    """Return what makes an entry of one of some names."""

    def make(choose: Random, base: str, made: list[str]) -> bytes:
        del made
        return _member(choose, f"{base}{choose.choice(names)}", **facts)

    return make


def _linked(name: str, targets: tuple[str, ...], kind: bytes) -> Callable[[Random, str, list[str]], bytes]:
    def make(choose: Random, base: str, made: list[str]) -> bytes:
        del made
        return _member(choose, f"{base}{name}", type=kind, linkname=choose.choice(targets))

    return make


_MAKERS: Final[dict[str, Callable[[Random, str, list[str]], bytes]]] = {
    "dir": _directory,
    "file": _file,
    "any": _any,
    "below": _named("x/y", content=b"y"),
    "symlink": _linked("s", _TARGETS, tarfile.SYMTYPE),
    "link": _link,
    "lower": _linked("h2", _LOWER, tarfile.LNKTYPE),
    "hide": _named(*(f".wh.{name}" for name in ("d0", "d1", "f0", "f1", "s", "x", "h"))),
    "opaque": _named(".wh..wh..opq"),
    "long": _named(*("L" * size for size in (99, 100, 101, 150, 250)), content=b"l"),
    "sparse": _sparse,
    "device": _device,
    "overlay": _overlay,
}
