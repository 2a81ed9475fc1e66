"""The merged view of layers: what a container sees, from headers alone."""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING

import pytest

from orlop.inside.markers import _Hidden
from orlop.inside.merge import Merge
from tests.unit import merge_cases
from tests.unit.images_made import layer

if TYPE_CHECKING:
    from orlop.inside.node import Node


@pytest.mark.sampled(8)
@pytest.mark.parametrize("resolve_links", [False, True], ids=["engines", "resolve-links"])
@pytest.mark.parametrize("case", merge_cases.names())
def test_a_case_gives_the_listing_that_is_agreed_on(case: str, *, resolve_links: bool) -> None:
    layers = merge_cases.layers_of(case)
    merge = merge_cases.merged(layers, resolve_links=resolve_links)
    assert merge_cases.listing(layers, merge) == merge_cases.expected(case, resolve_links=resolve_links)


@pytest.mark.parametrize("fact", ["mode", "uid", "gid", "mtime"])
def test_a_hard_link_with_another_attribute_is_told(fact: str) -> None:
    def findings(change: int) -> list[str]:
        link = tarfile.TarInfo("b")
        link.type, link.linkname, link.mode, link.mtime = tarfile.LNKTYPE, "a", 0o644, 1_600_000_000
        setattr(link, fact, getattr(link, fact) + change)
        return [one.kind for one in merge_cases.merged([layer("a", link)]).findings]

    assert findings(0) == []
    assert findings(1) == ["link-with-attributes"]


def test_a_hard_link_with_other_extended_attributes_is_told_and_none_is_lost() -> None:
    def merged(*links: dict[str, str]) -> Merge:
        names = []
        for number, xattrs in enumerate(links):
            one = tarfile.TarInfo(f"l{number}")
            one.type, one.linkname, one.mode, one.mtime = tarfile.LNKTYPE, "a", 0o644, 1_600_000_000
            one.pax_headers = {f"SCHILY.xattr.{name}": value for name, value in xattrs.items()}
            names.append(one)
        file = tarfile.TarInfo("a")
        file.mtime, file.pax_headers = 1_600_000_000, {"SCHILY.xattr.user.a": "1"}
        return merge_cases.merged([layer(file, *names)])

    def attributes(merge: Merge) -> dict[str, bytes]:
        assert merge.root.children is not None
        return dict(merge.root.children["a"].xattrs)

    same = merged({}, {"user.a": "1"})
    assert ([*same.findings], attributes(same)) == ([], {"user.a": b"1"})
    for links in ([{"user.a": "2"}], [{"user.a": "1", "user.b": "3"}], [{"user.b": "3"}, {}]):
        told = merged(*links)
        assert [one.kind for one in told.findings] == ["link-with-attributes"]
        expected = {"user.a": "1"} | links[0]
        assert attributes(told) == {name: value.encode() for name, value in expected.items()}


def test_a_way_up_is_no_walk_from_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []
    real = Merge._at

    def counted(merge: Merge, path: str) -> Node | None:
        looks.append(path)
        return real(merge, path)

    monkeypatch.setattr(Merge, "_at", counted)
    deep = "x/" * 50
    lower, upper = layer(deep, "d/", ("d/f", b"1")), layer(f"l->{deep}{'../' * 60}d", "l/.wh.f")
    found = merge_cases.merged([lower, upper])
    assert [bool(node.children) for name, node in (found.root.children or {}).items() if name == "d"] == [False]
    assert len(looks) < 10


def test_what_is_hidden_is_looked_for_once_in_each_directory() -> None:
    """An image may have a million directories that are a thousand deep."""
    looks: list[object] = []

    class Counted(set[str]):
        def __contains__(self, path: object) -> bool:
            looks.append(path)
            return super().__contains__(path)

    deep = "/".join("d" * 200)
    lies_in = _Hidden(Counted({"x", "y/z"}))
    assert [lies_in[f"{deep}/{number}"] for number in range(200)] == [""] * 200
    assert len(looks) < 200 * 5
    assert [lies_in[path] for path in ("x/a/b", "x/a/c", "x", "y", "y/z/a", "y/a", "", "x/a")] == [
        *("x", "x", "x", "", "y/z", "", "", "x"),
    ]
