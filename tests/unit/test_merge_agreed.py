"""Layers that all programs read alike: what the view shows, with modes, owners, times, contents and links.

Each case was loaded into Docker Engine 20.10 (overlay2 and vfs) and unpacked by umoci 0.4.7, which showed the same.
"""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING, Final

import pytest

from tests.unit import merge_cases
from tests.unit.images_made import layer
from tests.unit.test_merge_disputes import of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orlop.inside.node import Node

FILE, LINK, HARD, FIFO = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE
CHAR, BLOCK = tarfile.CHRTYPE, tarfile.BLKTYPE
LETTERS: Final = {"file": "", "dir": "/", "symlink": "@", "fifo": "|", "char": "%", "block": "#"}
TIME: Final = 1_600_000_000
LONG: Final = "d" * 150 + "/" + "f" * 150


def gnu(*members: tarfile.TarInfo) -> bytes:
    """Make a layer as GNU's tar does, with its own long names and numbers."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for member in members:
            archive.addfile(member)
    return out.getvalue()


def with_xattrs(name: str, kind: bytes = tarfile.DIRTYPE, **xattrs: str) -> tarfile.TarInfo:
    return of(name, kind, mtime=TIME, pax_headers={f"SCHILY.xattr.user.{key}": value for key, value in xattrs.items()})


D: Final = layer("d/", ("d/one", b"1"), ("d/two", b"2"))

CASES: Final[dict[str, tuple[Sequence[bytes], str]]] = {
    "a file lost with a lower directory": ((D, layer(("d/x", b"1"), ("d", b"f"))), "d =f"),
    "a file lost to a link": ((D, layer(("b/x", b"1"), "b->d")), "b@ ->d, d/, d/one =1, d/two =2"),
    "a directory, a link, a directory": ((D, layer("d->e"), layer("d/", ("d/n", b"n"))), "d/, d/n =n"),
    "a directory, a link, nothing, a directory": (
        (D, layer("d->e"), layer(".wh.d"), layer(("d/n", b"n"))),
        "d/, d/n =n",
    ),
    "links of several layers": (
        (layer(("a", b"A")), layer(("x", b"x"), "y=>x"), layer(".wh.x"), layer(("x", b"n"), "z=>x"), layer(".wh.y")),
        "a =A, x =n, z =n is x",
    ),
    "names of a file that go one by one": (
        (layer(("a", b"A"), "b=>a", "c=>a"), layer(("a", b"N")), layer(".wh.b"), layer(of("c", FILE, mode=0o600))),
        "a =N, c 600",
    ),
    "opaque, and a link in its place": (
        (layer("d/", ("d/o", b"1"), "c/"), layer("d/.wh..wh..opq", "d->c")),
        "c/, d@ ->c",
    ),
    "opaque, and a file in its place": ((D, layer("d/.wh..wh..opq", ("d", b"f"))), "d =f"),
    "opaque after a file in its place": ((D, layer(("d", b"f"), "d/.wh..wh..opq")), "d =f"),
    "opaque after a whiteout": (
        (D, layer("d/.wh.one"), layer("d/", "d/.wh..wh..opq", ("d/one", b"3")), layer(("d/two", b"4"))),
        "d/, d/one =3, d/two =4",
    ),
    "opaque without anything": (
        (
            layer("d/", ("d/a", b"1")),
            layer("d/", ("d/b", b"2")),
            layer("d/", "d/.wh..wh..opq"),
            layer("d/", ("d/c", b"3")),
        ),
        "d/, d/c =3",
    ),
    "a hidden directory is implied later": (
        (layer(of("d", mode=0o700, uid=5, gid=6), ("d/a", b"1")), layer(".wh.d"), layer(("d/x", b"x"))),
        "d/, d/x =x",
    ),
    "below a link of its own that leads up": (
        (layer("c/", "e/", "e/l->../c", ("e/l/x", b"x")),),
        "c/, c/x =x, e/, e/l@ ->../c",
    ),
    "below links of its own": ((layer("c/", "l->c", "k->l", ("k/x", b"x")),), "c/, c/x =x, k@ ->l, l@ ->c"),
    "a link in place of what was below": ((layer("c/", ("l/x", b"x"), "l->c", ("l/y", b"y")),), "c/, c/y =y, l@ ->c"),
    "below a link to the root": ((layer("l->/", ("l/x", b"x")),), "l@ ->/, x =x"),
    "below a link to where it is": ((layer("l->.", ("l/x", b"x")),), "l@ ->., x =x"),
    "a directory below a link of its own": (
        (layer("c/", "l->c", "l/d/", ("l/d/x", b"x")),),
        "c/, c/d/, c/d/x =x, l@ ->c",
    ),
    "a directory in place of a lower link": (
        (layer("c/", ("c/f", b"f"), "l->c"), layer(of("l", mode=0o700))),
        "c/, c/f =f, l/ 700",
    ),
    "a hard link through a link of its own": (
        (layer("c/", ("c/f", b"f"), "l->c", "h=>l/f"),),
        "c/, c/f =f, h =f is c/f, l@ ->c",
    ),
    "a hard link below a link of its own": (
        (layer("c/", ("c/f", b"f"), "l->c", "l/h=>c/f"),),
        "c/, c/f =f, c/h =f is c/f, l@ ->c",
    ),
    "hard links to devices": (
        (
            layer(
                of("n", CHAR, devmajor=1, devminor=3),
                of("m", HARD, linkname="n"),
                of("o", BLOCK, devmajor=7),
                of("p", HARD, linkname="o"),
            ),
        ),
        "m% 1:3, n% 1:3 is m, o# 7:0, p# 7:0 is o",
    ),
    "the root's own entry": (
        (layer(of("./", mode=0o700, uid=3), ("a", b"a")), layer("./.wh.a", ("./b", b"b"))),
        "b =b",
    ),
    "a long whiteout": ((layer("n" * 120, "k"), gnu(of(".wh." + "n" * 120, FILE))), "k"),
    "long names": (
        (
            gnu(
                of("d" * 150),
                of(LONG, FILE),
                of("l", LINK, linkname="t" * 200),
                of("h", HARD, linkname=LONG),
            ),
            layer("d" * 150 + "/.wh." + "f" * 150),
        ),
        f"{'d' * 150}/, h, l@ ->{'t' * 200}",
    ),
    "large numbers of GNU": (
        (gnu(of("a", FILE, uid=3_000_000, gid=2**31 + 5, mtime=2**33 + 1), of("b", FILE, uid=2**32 - 2)),),
        "a by 3000000:2147483653 at 8589934593.000000000, b by 4294967294:0",
    ),
    "large numbers of PAX": (
        (
            layer(
                of("a", FILE, pax_headers={"uid": "4000000000", "gid": "2147483648", "mtime": "1600000000.000000001"})
            ),
        ),
        "a by 4000000000:2147483648 at 1600000000.000000001",
    ),
    "more digits than nanoseconds": (
        (
            layer(
                of("a", FILE, pax_headers={"mtime": "1600000000.123456789987"}),
                of("b", FILE, pax_headers={"mtime": "1600000000."}),
            ),
        ),
        "a at 1600000000.123456789, b",
    ),
    "names that are not UTF-8": (
        (layer("d\udcff/", ("d\udcff/a", b"a"), ("d\udcff/b", b"b")), layer("d\udcff/.wh.a")),
        "d\udcff/, d\udcff/b =b",
    ),
    "names that differ in case": (
        (layer("D/", "d/", ("D/a", b"1"), ("d/A", b"2"), ("d/a", b"3")), layer("D/.wh.a", "d/.wh.A")),
        "D/, d/, d/a =3",
    ),
    "two forms of a letter": ((layer(("e\u0301", b"1"), ("\u00e9", b"2")), layer(".wh.\u00e9")), "e\u0301 =1"),
    "devices that are replaced": (
        (
            layer(of("n", CHAR, devmajor=1, devminor=3), of("m", BLOCK, devmajor=7), of("p", FIFO)),
            layer(("n", b"f"), "m/", "p->n"),
        ),
        "m/, n =f, p@ ->n",
    ),
    "devices that replace": (
        (
            layer(("n", b"f"), "m/", ("m/x", b"1"), "p->n"),
            layer(of("n", BLOCK, devmajor=7, devminor=1), of("m", FIFO), of("p", CHAR, devmajor=1, devminor=5)),
        ),
        "m|, n# 7:1, p% 1:5",
    ),
    "numbers of devices": (
        (layer(of("n", CHAR, devmajor=259, devminor=70000), of("m", BLOCK, devmajor=8, devminor=256)),),
        "m# 8:256, n% 259:70000",
    ),
    "attributes of a directory": (
        (layer(with_xattrs("d", a="1", b="2")), layer(with_xattrs("d", b="3"), ("d/f", b"f"))),
        "d/ user.b=3, d/f =f",
    ),
    "special modes": (
        (
            layer(
                of("a", FILE, mode=0o7777),
                of("d", mode=0o7000),
                of("l", LINK, linkname="a", mode=0o600),
                of("p", FIFO, mode=0o4644),
            ),
            layer(of("d", mode=0)),
        ),
        "a 7777, d/ 0, l@ ->a, p| 4644",
    ),
    "the same layers again": (
        (layer(("a", b"a")), layer(), layer(("a", b"a")), layer(), layer(".wh.a", ".wh.a.wh.a"), layer(("b", b"b"))),
        "b =b",
    ),
    "odd names": (
        (
            layer((" ", b"1"), ("a b", b"2"), ("*", b"3"), ("\\", b"4"), ("-", b"5"), ("~", b"6"), "k"),
            layer(".wh. ", ".wh.a b", ".wh.*", ".wh.\\", ".wh.-", ".wh.~"),
        ),
        "k",
    ),
    "names that look like whiteouts": (
        (
            layer((".wha", b"1"), ("wh.a", b"2"), (".w", b"3"), ("..wh.a", b"4"), ("a.wh.b", b"5"), ("k.wh.", b"6")),
            layer(".wh..wha", ".wh.wh.a", ".wh..w", ".wh...wh.a", ".wh.a.wh.b"),
        ),
        "k.wh. =6",
    ),
}


def walked(node: Node, folder: str = "") -> Iterator[tuple[str, Node]]:
    for name, child in (node.children or {}).items():
        yield f"{folder}{name}", child
        yield from walked(child, f"{folder}{name}/")


def facts(path: str, node: Node, first: str, layers: Sequence[bytes]) -> str:
    """Return what there is to tell of a path, as far as it is not what it mostly is."""
    content, attributes = node.content, node.attributes
    words = [f"{path}{LETTERS[node.type]}"]
    if node.type == "file" and node.size:
        words.append(f"={layers[node.origin][content.offset :][: content.size].decode()}")
    words += [f"->{content.linkname}"] if node.type == "symlink" else []
    words += [f"{content.devmajor}:{content.devminor}"] if node.type in {"char", "block"} else []
    words += [f"{node.mode:o}"] if node.mode not in {0o644, 0o755, 0o777} else []
    words += [f"by {attributes.uid}:{attributes.gid}"] if attributes.uid or attributes.gid else []
    if node.type != "dir" and attributes.mtime not in {(0, 0), (TIME, 0)}:
        words.append("at {}.{:09}".format(*attributes.mtime))
    words += [f"is {first}"] if first != path else []
    words += [f"{name}={value.decode()}" for name, value in sorted(node.xattrs.items())]
    return " ".join(words)


def told(layers: Sequence[bytes]) -> str:
    merge = merge_cases.merged(layers)
    firsts: dict[int, str] = {}
    found = sorted(walked(merge.root))
    for path, node in found:
        firsts.setdefault(id(node), path)
    return ", ".join(facts(path, node, firsts[id(node)], layers) for path, node in found)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", CASES)
def test_a_layer_is_shown_as_all_programs_show_it(name: str) -> None:
    layers, expected = CASES[name]
    assert told(layers) == expected
    assert {one.kind for one in merge_cases.merged(layers).findings} <= {"hides-nothing"}
    with_links = merge_cases.merged(layers, resolve_links=True)
    assert merge_cases.listing(layers, with_links) == merge_cases.listing(layers, merge_cases.merged(layers))
