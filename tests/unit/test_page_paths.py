"""What a page knows of paths: the same as the merged view, as `trace` and as the audit."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from orlop.inside.audit import audit
from orlop.page.columns import path_columns
from orlop.page.paths import record_paths
from orlop.page.rows import Rows, front_coded, text_length
from tests.unit import merge_cases
from tests.unit.images_made import image, layer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orlop.inside.view import ImageFiles
    from orlop.page.paths import PathRecord


@contextmanager
def viewed(folder: Path, archive: bytes, **options: Any) -> Iterator[ImageFiles]:
    path = folder / "image.tar"
    path.write_bytes(archive)
    with orlop.ArchiveService(str(path)) as service, service.files(None, **options) as files:
        yield files


def all_paths(root: PathRecord) -> Iterator[tuple[str, PathRecord]]:
    stack = [("", root)]
    while stack:
        path, record = stack.pop()
        yield path or "/", record
        stack += [(f"{path}/{name}", child) for name, child in (record.children or {}).items()]


@pytest.mark.sampled(4)
@pytest.mark.parametrize("resolve_links", [False, True])
@pytest.mark.parametrize("case", merge_cases.names())
def test_paths_are_those_of_the_view_with_the_history_that_trace_tells(
    tmp_path: Path, case: str, *, resolve_links: bool
) -> None:
    with viewed(tmp_path, merge_cases.image_of(case), resolve_links=resolve_links) as files:
        found = dict(all_paths(record_paths(files)))
        seen = {path: files.info(path, record.node) for path, record in found.items() if record.node is not None}
        assert set(seen) == {*files}
        for path, info in seen.items():
            assert info._replace(inode=0) == files[path]._replace(inode=0)
        for path, record in found.items():
            if path == "/":
                continue
            told = [(one.layer.number, one.action) for one in files.trace(path)]
            assert [(event.layer, event.action) for event in record.events] == told, path
        assert sum(record.hidden for record in found.values()) == audit(files, contents=False).hidden


FOUR = (
    layer("d/", ("d/a", b"x" * 100), ("d/b", b"y" * 50), ("e/long", b"z" * 1000), "s->d/a", "d/h=>d/a"),
    layer(("d/a", b"x" * 40), ".wh.e", ("n", b"1")),
    layer("d/.wh.b", ("e/again", b"q" * 7), ("\udce9\u202e</script>", b"r")),
)


def told(columns: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Read columns again, as the page does."""
    names: list[str] = []
    for coded in columns["names"]:
        shared = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz".index(coded[0])
        names.append((names[-1][:shared] if names else "") + coded[1:])
    found: dict[str, dict[str, Any]] = {}
    above: list[list[Any]] = []
    for row, name in enumerate(names):
        while above and above[-1][1] == 0:
            above.pop()
        path = "/".join([*(one[0] for one in above), name]) or "/"
        if above:
            above[-1][1] -= 1
        if columns["children"][row] > 1:
            above.append([name, columns["children"][row] - 1])
        found[path] = {"row": row, **{key: columns[key][row] for key in ("sizes", "layers")}}
        for key in ("hidden", "events", "targets", "rest"):
            found[path][key] = next((one[1:] for one in columns[key] if one[0] == row), None)
        for key in ("gone", "again"):
            found[path][key] = row in columns[key]
    return found


def test_columns_hold_what_is_seen_hidden_and_gone(tmp_path: Path) -> None:
    with viewed(tmp_path, image(*FOUR)) as files:
        found = told(path_columns(record_paths(files)))
    assert (found["/d/a"]["sizes"], found["/d/a"]["layers"]) == (40, 2)
    # The old content of `a` has another name still: it is not hidden.
    assert found["/d/a"]["hidden"] is None
    assert found["/d/h"]["sizes"] == 100
    assert found["/d/a"]["events"] == [4, 100, 10, 40]
    assert (found["/d/b"]["gone"], found["/d/b"]["hidden"], found["/d/b"]["sizes"]) == (True, [50], 0)
    assert (found["/e/long"]["gone"], found["/e/long"]["hidden"]) == (True, [1000])
    assert found["/e/again"]["layers"] == 3
    assert found["/s"]["targets"] == ["d/a"]
    assert found["/\udce9\u202e</script>"]["sizes"] == 1


def test_small_paths_are_summed_up_where_there_are_too_many(tmp_path: Path) -> None:
    members = [(f"d{number % 3}/f{number:03}", b"x" * number) for number in range(300)]
    with viewed(tmp_path, image(layer(*members), layer(*members[:30]))) as files:
        whole = path_columns(record_paths(files))
        short = path_columns(record_paths(files), most=50)
    found = told(short)
    assert sum(short["sizes"]) == sum(whole["sizes"])
    assert sum(size for _, size in short["hidden"]) == sum(size for _, size in whole["hidden"])
    assert len(whole["names"]) == 304
    assert sum(count for _, count in short["rest"]) == 304 - 50
    assert len(short["names"]) <= 50 + 4
    assert found["/d2/f299"]["sizes"] == 299


def test_names_are_coded_by_what_they_share() -> None:
    assert front_coded(["", "usr", "usrlocal", "us", "x" * 70, "x" * 71]) == [
        *("0", "0usr", "3local", "2", "0" + "x" * 70, "z" + "x" * 10)
    ]


def test_rows_that_weigh_the_same_are_kept_with_what_is_above_them() -> None:
    rows = Rows(["", "a", "b", "c"], [-1, 0, 1, 2], [True, True, True, False], ([0, 0, 0, 0],))
    assert [(row, rest and (rest.count, rest.sums)) for row, rest in rows.shortened(2)] == [
        (0, None),
        (1, None),
        (1, (2, [0])),
    ]


def test_rows_are_kept_as_long_as_there_is_room_for_their_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orlop.page.rows._MOST_TEXT", 10)
    rows = Rows(["", "a" * 6, "b" * 4, "c"], [-1, 0, 0, 0], [True, False, False, False], ([0, 3, 2, 1],), [0, 0, 0, 0])
    assert [(row, rest and (rest.count, rest.sums)) for row, rest in rows.shortened(9)] == [
        (0, None),
        (0, (1, [1])),
        (1, None),
        (2, None),
    ]
    rows.texts[2] = 1
    assert [row for row, rest in rows.shortened(9) if rest is None] == [0, 1]


@pytest.mark.parametrize("text", ["plain", 'a"b\\c', "\x1b[31m", "caf\udce9", "\U000e0041", "line\n", ""])
def test_room_is_counted_in_what_is_sent(text: str) -> None:
    assert len(json.dumps(text)) == text_length(text) + 2
