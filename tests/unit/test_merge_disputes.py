"""Layers that programs read in different ways: what the view shows, with and without links, and what is told of it.

Each case was loaded into Docker Engine 20.10 and 28.5 and unpacked by umoci 0.4.7 and 0.6. Where the engine refuses the
image, or shows something else, the view has a finding. With ``resolve_links`` the view is what umoci unpacks, except
where umoci refuses it.
"""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

from tests.unit import merge_cases
from tests.unit.images_made import layer

if TYPE_CHECKING:
    from orlop.inside.merge import Merge

LETTERS: Final = {"dir": "/", "symlink": "@", "fifo": "|", "char": "%"}


class Case(NamedTuple):
    """Layers, the paths of the view, the kinds of its findings, and the paths with ``resolve_links`` if others."""

    layers: tuple[bytes, ...]
    paths: str
    findings: str = ""
    resolved: str | None = None


def of(name: str, kind: bytes = tarfile.DIRTYPE, **facts: object) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.mode = kind, 0o755
    for fact, value in facts.items():
        setattr(found, fact, value)
    return found


LETTERS_OF: Final = {
    tarfile.REGTYPE: "",
    tarfile.DIRTYPE: "/",
    tarfile.SYMTYPE: "@",
    tarfile.FIFOTYPE: "|",
    tarfile.CHRTYPE: "%",
}
REFUSED: Final = "attribute-refused"
ATTRIBUTES: Final = (
    (tarfile.REGTYPE, "", "1", REFUSED),
    (tarfile.REGTYPE, "user.", "1", REFUSED),
    (tarfile.REGTYPE, "user.a", "1", ""),
    (tarfile.REGTYPE, "none.such", "1", REFUSED),
    (tarfile.REGTYPE, "user." + "n" * 251, "1", REFUSED),
    (tarfile.REGTYPE, "user." + "n" * 250, "1", ""),
    (tarfile.REGTYPE, "user.a", "x" * 3900, ""),
    (tarfile.REGTYPE, "user.a", "x" * 4100, REFUSED),
    (tarfile.DIRTYPE, "user.a", "1", ""),
    (tarfile.SYMTYPE, "user.a", "1", REFUSED),
    (tarfile.FIFOTYPE, "user.a", "1", REFUSED),
    (tarfile.CHRTYPE, "user.a", "1", REFUSED),
    (tarfile.REGTYPE, "security.capability", "junk", REFUSED),
    (tarfile.REGTYPE, "security.capability", "\1", REFUSED),
    (tarfile.REGTYPE, "security.capability", "\1\0\0\2" + "\0" * 16, ""),
    (tarfile.REGTYPE, "security.capability", "\1\0\0\3" + "\0" * 20, ""),
    (tarfile.REGTYPE, "security.capability", "\1\0\0\2" + "\0" * 20, REFUSED),
    (tarfile.REGTYPE, "security.capability", "\1\0\0\1" + "\0" * 8, REFUSED),
    (tarfile.REGTYPE, "system.posix_acl_access", "junk", REFUSED),
    (tarfile.REGTYPE, "system.posix_acl_access", "\2\0\0\0" + "\0" * 5, REFUSED),
)
"""A type, an attribute with its value, and what must be told of it."""

ABOVE: Final = ["x" * 250 + "/" + ("y" * 250 + "/") * count for count in range(16)]
DEEP: Final = ABOVE[-1] + "z" * (4095 - 16 * 251)


def with_attribute(kind: bytes, name: str, value: str) -> tarfile.TarInfo:
    device = {"devmajor": 1, "devminor": 3} if kind == tarfile.CHRTYPE else {}
    linkname = "x" if kind == tarfile.SYMTYPE else ""
    return of("a", kind, linkname=linkname, pax_headers={f"SCHILY.xattr.{name}": value}, **device)


D: Final = layer("d/", ("d/one", b"1"), ("d/two", b"2"))
LINKED: Final = layer("c/", ("c/f", b"1"), "l->c")
FILE: Final = layer(("a", b"A"))

CASES: Final = {
    # A whiteout, and what the same layer has.
    "whiteout after its directory": Case((D, layer("d/", ("d/new", b""), ".wh.d")), "d/ d/new", "directory-made-anew"),
    "whiteout of an implied directory": Case((D, layer(".wh.d", ("d/new", b""))), "d/ d/new", "hidden-and-there"),
    "whiteout after what is in it": Case((D, layer(("d/new", b""), ".wh.d")), "d/ d/new", "hidden-and-there"),
    "whiteout far above": Case((D, layer(("d/e/f/g", b""), ".wh.d")), "d/ d/e/ d/e/f/ d/e/f/g", "hidden-and-there"),
    "whiteout in what is hidden": Case((D, layer("d/.wh.one", ".wh.d")), "", "marker-in-hidden"),
    "opaque twice": Case((D, layer("d/.wh..wh..opq", ("d/a", b""), "d/.wh..wh..opq")), "d/ d/a", "hides-nothing twice"),
    "root opaque twice": Case((D, layer(".wh..wh..opq", "./.wh..wh..opq")), "", "opaque-root twice"),
    "whiteout twice": Case((FILE, layer(".wh.a", of(".wh.a"))), "", "hides-nothing twice"),
    "whiteout of a hidden link": Case((LINKED, layer(".wh.l", ("l/x", b""))), "c/ c/f l/ l/x", "hidden-and-there"),
    "opaque and whiteout": Case((D, layer("d/.wh..wh..opq", "d/.wh.one", ("d/new", b""))), "d/ d/new", "hides-nothing"),
    "opaque over a directory below": Case(
        (layer("d/", "d/e/", ("d/e/f", b"")), layer("d/.wh..wh..opq", ("d/e/g", b""))), "d/ d/e/ d/e/g"
    ),
    "opaque over a file": Case((FILE, layer("a/.wh..wh..opq")), "a/", "below-file", "a"),
    "opaque in what is not there": Case((FILE, layer("no/.wh..wh..opq")), "a", "marker-without-directory"),
    "whiteout of nothing": Case((D, layer("d/.wh.three")), "d/ d/one d/two", "hides-nothing"),
    "opaque over nothing": Case((layer("d/"), layer("d/.wh..wh..opq", ("d/a", b""))), "d/ d/a", "hides-nothing"),
    "whiteout in the lowest layer": Case((layer(".wh.a", ("b", b"")),), "b", "hides-nothing"),
    "whiteout of a file that becomes a directory": Case((FILE, layer(".wh.a", "a/")), "a/", "hidden-and-there"),
    "opaque in a directory of its own": Case((FILE, layer("d/", "d/.wh..wh..opq")), "a d/", "hides-nothing"),
    "whiteout in an implied directory of its own": Case(
        (FILE, layer("d/.wh.x", ("d/y", b""))), "a d/ d/y", "hides-nothing"
    ),
    "whiteout in a directory made anew": Case(
        (layer("d/", "d/e/", ("d/e/f", b"")), layer("d/.wh..wh..opq", "d/e/", "d/e/.wh.f")), "d/ d/e/", "hides-nothing"
    ),
    # Names of whiteouts.
    "whiteout without a name": Case((D, layer("d/.wh.")), "d/ d/one d/two", "whiteout-of-nothing"),
    "whiteout of a dot": Case((D, layer("d/.wh..")), "d/ d/one d/two", "whiteout-of-nothing"),
    "whiteout of the parent": Case((D, layer("d/.wh...")), "d/ d/one d/two", "whiteout-of-nothing"),
    "whiteout of three dots": Case((layer("d/", ("d/...", b"")), layer("d/.wh....")), "d/"),
    "whiteout that is a directory": Case((FILE, layer(of(".wh.a"), (".wh.a/x", b""))), "", "reserved-name"),
    "whiteout that is a hard link": Case((layer(("a", b""), ("b", b"")), layer(".wh.a=>b")), "b"),
    "whiteouts with odd paths": Case(
        (layer("d/", ("d/a", b""), ("b", b""), ("c", b"")), layer("d//.wh.a", "/.wh.b", "./.wh.c")), "d/"
    ),
    "whiteout beside a parent": Case((layer("d/", ("a", b"")), layer("d/../.wh.a")), "d/", "outside"),
    "aufs": Case((layer(".wh..wh.plnk/", (".wh..wh.plnk/1", b""), (".wh..wh.aufs", b"")),), "", "reserved-name"),
    # Markers and links: a reader of the tar has met what stands before them.
    "whiteout below a lower link": Case((LINKED, layer("l/.wh.f")), "c/ c/f l/", "below-link", "c/ l@"),
    "whiteout below a link of its own": Case(
        (layer("c/", ("c/f", b"")), layer("l->c", "l/.wh.f")), "c/ l@", "below-own-link"
    ),
    "whiteout before a link of its own": Case(
        (layer("c/", ("c/f", b""), "l/", ("l/f", b"")), layer("l/.wh.f", "l->c")), "c/ c/f l@"
    ),
    "whiteout after a file over a link": Case((LINKED, layer(("l", b""), "l/.wh.f")), "c/ c/f l", "below-link"),
    "opaque after a directory over a link": Case((LINKED, layer("l/", "l/.wh..wh..opq")), "c/ c/f l/", "below-link"),
    "opaque before a directory over a link": Case(
        (LINKED, layer("l/.wh..wh..opq", "l/")), "c/ c/f l/", "below-link", "c/ l/"
    ),
    "whiteout in a loop": Case((layer("l->l"), layer("l/.wh.f")), "l/", "below-link", "l@"),
    # Entries below links.
    "below a link to a link": Case(
        (layer("c/", "l->c", "k->l"), layer(("k/x", b""))), "c/ k/ k/x l@", "below-link", "c/ c/x k@ l@"
    ),
    "below a loop": Case((layer("l->m", "m->l"), layer(("l/x", b""))), "l/ l/x m@", "below-link", "l@ m@"),
    "below a loop of its own": Case((layer("l->l", ("l/x", b"")),), "l@", "below-file"),
    "below a link of its own": Case((layer("c/", "l->c", ("l/x", b"")),), "c/ c/x l@"),
    "below a link of its own to an implied directory": Case(
        (layer(("c/a", b""), "l->c", ("l/x", b"")),), "c/ c/a c/x l@"
    ),
    "below a link of its own to a lower directory": Case(
        (layer("c/"), layer("l->c", ("l/x", b""))), "c/ c/x l@", "below-own-link"
    ),
    "below a link of its own to what follows": Case(
        (layer("l->c", ("l/x", b""), "c/"),), "c/ c/x l@", "below-own-link"
    ),
    "below a link of its own to nothing": Case(
        (layer("l->no/way", ("l/x", b"")),), "l@ no/ no/way/ no/way/x", "below-own-link"
    ),
    "below a link that leads out": Case((layer("d/", "d/l->../../..", ("d/l/x", b"")),), "d/ d/l@ x"),
    "below a file of its own": Case((layer(("a", b""), ("a/x", b"")),), "a", "below-file", "a/ a/x"),
    "a directory over a link": Case((LINKED, layer("l/", ("l/x", b""))), "c/ c/f l/ l/x"),
    # Hard links.
    "link to what is hidden": Case((FILE, layer("b=>a", ".wh.a")), "b", "link-to-lower"),
    "link to what is hidden with its directory": Case((D, layer(".wh.d", "b=>d/one")), "b", "link-to-lower"),
    "link to what becomes a directory": Case((FILE, layer("b=>a", "a/")), "a/ b", "link-to-lower"),
    "link to what becomes a part of a file": Case((D, layer("b=>d/one", ("d", b""))), "b d", "link-to-lower"),
    "link before its target": Case((layer("b=>a", ("a", b"")),), "a b", "link-before-target"),
    "link to a whiteout": Case((FILE, layer(".wh.a", "b=>.wh.a")), "", "link-to-nothing"),
    "link to itself": Case((FILE, layer("b=>b")), "a", "link-to-nothing"),
    "link to itself over a file": Case((FILE, layer("a=>a")), "a", "link-to-lower"),
    "links in a circle": Case((FILE, layer("b=>c", "c=>b")), "a", "link-to-nothing"),
    "link to a link": Case((layer(("a", b""), "s->a", "h=>s"),), "a h@ s@"),
    "link to a directory": Case((layer("d/", "h=>d"),), "d/", "link-to-nothing"),
    "link with an absolute target": Case((layer(("a", b""), "h=>/a"),), "a h"),
    "link over a directory": Case((layer("d/", ("d/x", b""), ("a", b"")), layer("d=>a")), "a d", "link-to-lower"),
    "link to a link with the mode of another": Case(
        (layer("a", "s->a", of("h", tarfile.LNKTYPE, linkname="s", mode=0o600, mtime=1_600_000_000)),), "a h@ s@"
    ),
    "link to itself over its own file": Case((layer("a", "a=>a"),), "a", "twice"),
    "link twice": Case((layer("a", "b=>a", "b=>a"),), "a b", "twice"),
    "link to what lies outside": Case((layer("a", "b=>../a"),), "a b", "outside"),
    # Entries that no disk takes, or that are something else on it.
    "name of 256 bytes": Case((layer("d/" + "é" * 128),), "d/ d/" + "é" * 128, "not-for-a-disk"),
    "name of 255 bytes": Case(
        (layer("d/" + "x" * 255 + "/" + "x" * 255),), f"d/ d/{'x' * 255}/ d/{'x' * 255}/{'x' * 255}"
    ),
    "link to an empty path": Case((layer(of("l", tarfile.SYMTYPE)),), "l@", "not-for-a-disk"),
    "no owner": Case((layer(of("a", uid=2**32 - 1), of("b", uid=2**32 - 2)),), "a/ b/", "no-owner"),
    "no group": Case((layer(of("a", gid=2**32 - 1)),), "a/", "no-owner"),
    "owner below 0": Case(
        (layer(of("a", pax_headers={"uid": "-1"}), of("b", pax_headers={"uid": "0"})),), "a/ b/", "no-owner"
    ),
    "owner of 40 bits": Case((layer(of("a", pax_headers={"gid": str(1 << 40)})),), "a/", "no-owner"),
    "before 1970": Case((layer(of("a", mtime=-1), of("b", mtime=0)),), "a/ b/", "time-out-of-range"),
    "after 2262": Case((layer(of("a", mtime=9223372036), of("b", mtime=9223372035)),), "a/ b/", "time-out-of-range"),
    "unknown type": Case((layer(of("a", b"Z")),), "a", "unknown-type"),
    "device of a whiteout": Case((layer(of("a", tarfile.CHRTYPE)),), "a%", "whiteout-device"),
    "device with too many bits": Case(
        (layer(of("a", tarfile.CHRTYPE, devmajor=1 << 12, devminor=1 << 20)),), "a%", "whiteout-device"
    ),
    "other device": Case((layer(of("a", tarfile.CHRTYPE, devmajor=1 << 11, devminor=1 << 19)),), "a%"),
    "path of 4095 bytes": Case((layer((DEEP, b"")),), " ".join(sorted([*ABOVE, DEEP])), "not-for-a-disk"),
    **{
        f"attribute {number}: {name[:30]}": Case(
            (layer(with_attribute(kind, name, value)),), f"a{LETTERS_OF[kind]}", told
        )
        for number, (kind, name, value, told) in enumerate(ATTRIBUTES)
    },
    "empty attribute": Case(
        (layer(of("a", pax_headers={"SCHILY.xattr.trusted.overlay.metacopy": ""})),), "a/", "overlay-attribute"
    ),
    # Names, and what a layer has twice.
    "a file twice": Case((layer(("a", b"1"), ("a", b"2")),), "a", "twice"),
    "a link and a directory": Case((layer("l->c", "l/", ("l/x", b""), "c/"),), "c/ l/ l/x", "twice"),
    "a file with a slash": Case((layer(of("a/", tarfile.REGTYPE), ("a/b", b"")),), "a", "below-file", "a/ a/b"),
    "an old directory": Case((layer(of("a/", tarfile.AREGTYPE), ("a/b", b"")),), "a/ a/b"),
    "a root that is a file": Case((layer(of(".", tarfile.REGTYPE), ("a", b"")),), "a", "below-file"),
    "absolute and doubled slashes": Case((layer("/d/", ("/d/a", b"")), layer(("//d//b", b""), "/d/.wh.a")), "d/ d/b"),
    "below a file of its own, far": Case((layer("a", ("a/b/c", b"")),), "a", "below-file", "a/ a/b/ a/b/c"),
    # Directories whose entries are lost: engines set the times of directories last, and fail.
    "a directory lost with an implied one": Case((layer("b/x/", ("b", b"")),), "b", "lost-directory"),
    "a directory lost with a lower one": Case((D, layer("d/e/x/", ("d", b""))), "d", "lost-directory"),
    "a directory lost to a link": Case((D, layer("b/x/", "b->d")), "b@ d/ d/one d/two", "lost-directory"),
    "a directory lost to a hard link": Case((layer("a", "b/x/", "b=>a"),), "a b", "lost-directory"),
    "a directory lost to a link that waits": Case(
        (layer("b/x/", "b=>a", "a"),), "a b", "link-before-target lost-directory"
    ),
    "a directory lost with its parent": Case((layer("b/", "b/x/", ("b", b"")),), "b", "lost-directory twice"),
    "a lower directory lost with what is new in it": Case(
        (layer("d/", "d/e/"), layer(("d/e/x", b""), ("d", b""))), "d", ""
    ),
    "a file lost with an implied directory": Case((layer(("b/x", b""), ("b", b"")),), "b"),
    # Directories without an entry.
    "an implied directory that is special": Case(
        (layer(of("k", mode=0o700, uid=5)), layer(("k/f", b""))), "k/ k/f", "implied-attributes"
    ),
    "an implied directory far above": Case(
        (layer(of("k", mode=0o1777), "k/l/"), layer(("k/l/m/f", b""))), "k/ k/l/ k/l/m/ k/l/m/f", "implied-attributes"
    ),
    "a special directory of a whiteout": Case(
        (layer(of("k", mode=0o700), ("k/f", b"")), layer("k/.wh.f")), "k/", "implied-attributes"
    ),
    "a special directory with its entry": Case(
        (layer(of("k", mode=0o700)), layer(("k/f", b""), of("k", mode=0o711))), "k/ k/f"
    ),
    "an implied directory in a setgid one": Case(
        (layer(of("k", mode=0o2775), ("k/l/m/f", b"")),), "k/ k/l/ k/l/m/ k/l/m/f", "implied-setgid"
    ),
    "an implied directory in a setgid root": Case(
        (layer(of(".", mode=0o2755), ("k/f", b"")),), "k/ k/f", "implied-setgid"
    ),
    "an entry of its own after what is in it": Case(
        (layer(of("k", mode=0o2775), ("k/l/f", b""), "k/l/"),), "k/ k/l/ k/l/f"
    ),
    "an implied directory in one that is setgid below": Case(
        (layer(of("k", mode=0o2755)), layer(("k/l/f", b""))), "k/ k/l/ k/l/f", "implied-attributes"
    ),
    "a common implied directory": Case((layer("k/"), layer(("k/f", b""))), "k/ k/f"),
}


def shown(merge: Merge) -> str:
    found: list[str] = []
    stack = [("", merge.root)]
    while stack:
        folder, node = stack.pop()
        for name, child in (node.children or {}).items():
            found.append(f"{folder}{name}{LETTERS.get(child.type, '')}")
            stack.append((f"{folder}{name}/", child))
    return " ".join(sorted(found))


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", CASES)
def test_a_disputed_layer_is_shown_as_decided_and_told(name: str) -> None:
    case = CASES[name]
    merge = merge_cases.merged(case.layers)
    assert shown(merge) == case.paths
    assert " ".join(sorted({one.kind for one in merge.findings})) == case.findings
    resolved = merge_cases.merged(case.layers, resolve_links=True)
    assert shown(resolved) == (case.paths if case.resolved is None else case.resolved)


def test_a_hard_link_keeps_what_it_was_made_of() -> None:
    layers = [FILE, layer("b=>a", "a/")]
    merge = merge_cases.merged(layers)
    assert merge.root.children is not None
    node = merge.root.children["b"]
    assert (node.origin, node.size, node.names) == (0, 1, 1)


def test_findings_name_the_directory() -> None:
    layers = [layer(of("k", mode=0o1777), "k/l/"), layer(("k/l/m/f", b""))]
    assert [(one.layer, one.kind, one.path) for one in merge_cases.merged(layers).findings] == [
        (1, "implied-attributes", "k")
    ]


def test_an_implied_directory_in_a_setgid_one_is_named() -> None:
    layers = [layer(of("k", mode=0o2755), "k/d/", ("k/l/m/f", b""), of("k/s", mode=0o2755), ("k/s/n/o", b""))]
    layers.append(layer(of("k", mode=0o2755), "k/p->q/r", "k/q/", of("k/q/r", mode=0o2755), ("k/p/t/u", b"")))
    found = merge_cases.merged(layers).findings
    assert [(one.layer, one.path) for one in found if one.kind == "implied-setgid"] == [
        *((0, "k/l"), (0, "k/s/n"), (1, "k/p/t"))
    ]


def test_a_path_may_be_as_long_as_linux_takes_it() -> None:
    """No program unpacks it into a directory that has a path itself."""
    path = DEEP[:-1]
    assert len(path) == 4094
    merge = merge_cases.merged([layer((path, b""))])
    assert path in shown(merge).split(" ")
    assert merge.findings == []
