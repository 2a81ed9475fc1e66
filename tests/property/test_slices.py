"""Single paths, looked up in path tables, compared with the merge of whole layers."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orlop.errors import PathNotFound
from orlop.inside.lookup import NotCovered, find_path
from orlop.inside.merge import Merge
from orlop.inside.slices import Slice, path_table
from orlop.inside.trail import Allowance
from orlop.streams import path_table as module
from orlop.streams.path_table import read_path_table
from orlop.streams.tar_read import TarReader
from tests.crash import pace
from tests.unit import merge_cases

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from orlop.inside.node import Node
    from orlop.streams.path_table import PathTable

Member = tuple[str, str, str, int]
"""A kind, a path, a target, and a mode."""

PATHS = st.lists(st.sampled_from(["a", "b", "c", "é\udcff"]), min_size=1, max_size=3).map("/".join)
TARGETS = st.one_of(PATHS, PATHS.map("/{}".format), PATHS.map("../{}".format))
MEMBERS = st.tuples(
    st.sampled_from(["dir", "dir", "file", "file", "symlink", "hardlink", "whiteout", "opaque"]),
    *(PATHS, TARGETS, st.integers(0o600, 0o777)),
)
LAYERS = st.lists(st.lists(MEMBERS, max_size=6), min_size=1, max_size=4)
ALL = sorted({"/".join(parts) for a in "abc" for b in "abc" for parts in ([a], [a, b], [a, b, "a"], [a, b, "c"])})


def tar(members: Sequence[Member]) -> bytes:
    out = io.BytesIO()
    types = {"dir": tarfile.DIRTYPE, "symlink": tarfile.SYMTYPE, "hardlink": tarfile.LNKTYPE}
    with tarfile.open(fileobj=out, mode="w") as archive:
        for kind, path, target, mode in members:
            folder, _, name = path.rpartition("/")
            shown = {"whiteout": f"{folder}/.wh.{name}", "opaque": f"{path}/.wh..wh..opq"}.get(kind, path)
            info = tarfile.TarInfo(shown.lstrip("/"))
            info.type, info.mode = types.get(kind, tarfile.REGTYPE), mode
            info.linkname = target if kind in {"symlink", "hardlink"} else ""
            info.pax_headers = {"SCHILY.xattr.user.mode": str(mode)} if mode % 7 == 0 else {}
            content = b"x" * (mode % 50) if kind == "file" else b""
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def tables_of(tars: Iterable[bytes]) -> list[PathTable] | None:
    """Return the path tables of layers; nothing if one of them is not plain."""
    tables: list[PathTable] = []
    for data in tars:
        table = read_path_table(io.BytesIO(path_table(TarReader(io.BytesIO(data)))))
        assert table is not None
        table.check()
        tables.append(table)
    return tables if all(table.plain for table in tables) else None


def facts(found: tuple[str, Node]) -> tuple[object, ...]:
    path, node = found
    kind = node.children is not None
    return path, kind, node.content, node.attributes, node.origin, node.layer, node.names, node.xattrs


def look(root: Node, path: str, *, follow: bool) -> tuple[object, ...]:
    try:
        return facts(find_path(root, path, Allowance(), follow=follow))
    except PathNotFound as error:
        return (str(error),)


def look_sliced(part: Slice, path: str, *, follow: bool) -> tuple[object, ...]:
    while True:
        try:
            return facts(find_path(part.root, path, Allowance(), follow=follow, covered=part.covered))
        except PathNotFound as error:
            return (str(error),)
        except NotCovered as error:
            missing = error.path
        assert part.add(missing)


def compare(tars: Sequence[bytes], paths: Iterable[str]) -> bool:
    """Compare single paths in new slices and in one that grows; return whether the layers are plain."""
    tables = tables_of(tars)
    if tables is None:
        return False
    merge = Merge()
    for data in tars:
        merge.apply(TarReader(io.BytesIO(data)))
    grown = Slice(tables)
    for path in paths:
        for follow in (False, True):
            whole = look(merge.root, path, follow=follow)
            assert look_sliced(Slice(tables), path, follow=follow) == whole
            assert look_sliced(grown, path, follow=follow) == whole
    return True


def paths_of(tars: Iterable[bytes]) -> list[str]:
    names = [entry.name for data in tars for entry in TarReader(io.BytesIO(data))]
    return [
        *names,
        *(name.replace(".wh.", "") for name in names),
        "",
        "nowhere/at/all",
        *(f"{name}/x" for name in names),
    ]


@pytest.mark.sampled(3)
@given(layers=LAYERS)
@example(layers=[[("file", "a", "", 0o600), ("hardlink", "b/c", "a", 0o700)], [("whiteout", "b/c", "", 0o600)]])
@example(layers=[[("dir", "a/b", "", 0o700)], [("hardlink", "a", "nothing", 0o600)], [("file", "a/b/c", "", 0o600)]])
@example(layers=[[("symlink", "a", "b", 0o777)], [("whiteout", "a/c", "", 0o600)]])
@example(layers=[[("file", "a", "", 0o600)], [("opaque", "a/b", "", 0o600)], [("file", "a/c", "", 0o600)]])
@example(layers=[[("file", "a", "", 0o640)], [("whiteout", "a", "", 0o600), ("hardlink", "b", "a", 0o600)]])
@settings(deadline=None, max_examples=pace.examples(60))
def test_a_single_path_is_as_in_the_merge_of_whole_layers(layers: list[list[Member]]) -> None:
    # Each layer with only such members as leave it plain is compared too, since few layers are plain by chance.
    compare([tar(members) for members in layers], ALL)
    kept: list[bytes] = []
    for members in layers:
        plain: list[Member] = []
        for member in members:
            if tables_of([tar([*plain, member])]) is not None:
                plain.append(member)
        kept.append(tar(plain))
    assert compare(kept, ALL)


@pytest.mark.sampled(2)
def test_a_single_path_of_each_case_is_as_in_the_merge_of_whole_layers() -> None:
    plain = 0
    for case in merge_cases.names():
        tars = merge_cases.layers_of(case)
        plain += compare(tars, paths_of(tars))
    assert plain >= 25


@pytest.mark.parametrize(
    "members",
    [
        [("symlink", "a", "b", 0o777), ("file", "a/c", "", 0o600)],
        [("file", "a", "", 0o600), ("dir", "a", "", 0o700)],
        [("whiteout", "a", "", 0o600), ("whiteout", "a/b", "", 0o600)],
        [("symlink", "a", "b", 0o777), ("hardlink", "c", "a/b", 0o600)],
        [("file", "/".join("a" * 200), "", 0o600)],
    ],
)
def test_a_layer_whose_order_matters_is_not_plain(members: list[Member]) -> None:
    assert tables_of([tar(members)]) is None


@pytest.mark.sampled(3)
def test_looking_up_a_path_reads_a_few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[int] = []
    real = module._parsed_block

    def counted(text: bytes) -> list[list[object]]:
        rows = real(text)
        parsed.append(len(rows))
        return rows

    monkeypatch.setattr(module, "_parsed_block", counted)
    for count in (2_000, 4_000):
        parsed.clear()
        tables = tables_of([tar([("file", f"d{number // 100}/f{number}", "", 0o644) for number in range(count)])])
        assert tables is not None
        parsed.clear()
        assert look_sliced(Slice(tables), "/d15/f1500", follow=True)[0] == "/d15/f1500"
        assert sum(parsed) <= 600
