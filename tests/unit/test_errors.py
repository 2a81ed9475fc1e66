"""Errors: each has facts of its own, and the reference lists them all."""

from __future__ import annotations

import ast
import copy
import errno
import pickle
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING

import click
import pytest

import orlop
from orlop import errors
from orlop.cli import commands, signals, statuses
from orlop.model.digest import Digest
from orlop.store.local import local_store
from orlop.store.rows.metadata import BlobRow
from orlop.streams.files import explaining

if TYPE_CHECKING:
    from collections.abc import Iterator


PARTS = {one.name: import_module(f"{errors.__name__}.{one.name}") for one in iter_modules(errors.__path__)}
"""The modules of errors that are imported only when one of their errors is named."""


def every(kind: type[errors.OrlopError] = errors.OrlopError) -> Iterator[type[errors.OrlopError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from every(below)


def test_every_error_has_a_code_of_its_own():
    # What is only Python's as well has the code of what it is.
    codes = [kind.code for kind in every() if kind is not errors.FileNotThere]
    assert len(codes) == len(set(codes))


def test_every_error_can_be_had_from_one_module():
    found = {
        part: {one.__name__ for one in every() if one.__module__ == module.__name__} for part, module in PARTS.items()
    }
    assert {part: {*names} for part, names in errors._HOMES.items()} == found, "name them in _HOMES"
    # Type checkers read these instead.
    tree = ast.parse(Path(errors.__file__).read_text())
    told = {
        (node.module, name.name, name.asname)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for name in node.names
    }
    assert {(f"{errors.__name__}.{part}", name, name) for part, names in found.items() for name in names} <= told, (
        "import them for type checkers"
    )
    for kind in every():
        assert getattr(errors, kind.__name__) is kind
        assert kind.__name__ in dir(errors)
    with pytest.raises(AttributeError, match="NoSuchError"):
        _ = errors.NoSuchError  # type: ignore[attr-defined]


def test_a_list_of_images_makes_no_errors_that_it_cannot_meet():
    run = "import sys, orlop.store.local, orlop.service.listing.images; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", run], capture_output=True, text=True, check=True)
    assert not {module.__name__ for module in PARTS.values()} & {*done.stdout.split()}


def test_the_reference_lists_every_error_as_it_is(data: Path):
    reference = (data.parents[1] / "docs" / "errors.md").read_text()
    lines = {f"`{kind.__name__}` | `{kind.code}` | {kind.exit_code} | {kind.http_status} |" for kind in every()}
    assert {line for line in lines if line not in reference} == set(), "docs/errors.md lacks these rows"
    rows = [line for line in reference.splitlines() if "| `" in line and line.count("|") == 6]
    assert len(rows) == len(lines)


def table_of_statuses(text: str) -> dict[int, str]:
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|$", text, re.MULTILINE)
    assert len(rows) == len({status for status, _ in rows}), "a status has one meaning"
    return {int(status): meaning for status, meaning in rows}


def test_the_reference_lists_every_exit_status_once(data: Path):
    listed = table_of_statuses((data.parents[1] / "docs" / "errors.md").read_text())
    ended = [signals.number_of(KeyboardInterrupt()), signals.number_of(BrokenPipeError()), *signals.ENDING]
    killed = [128 + one for one in ended if one is not None]
    answers = {status for name, status in vars(statuses).items() if name.isupper()}
    usage = click.UsageError.exit_code
    used = {0, usage, *(kind.exit_code for kind in every()), *answers, *killed}
    assert set(listed) == used, "the first table of docs/errors.md has other exit statuses than errors and commands"
    assert errors.IntegrityError.exit_code == statuses.DAMAGED
    # The module of errors explains those that errors have in the same words.
    for status, meaning in table_of_statuses(errors.__doc__).items():
        assert listed[status].startswith(meaning), status


def test_no_command_ends_with_a_status_that_has_no_name():
    for path in sorted(Path(commands.__path__[0]).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Return) or node.value is None:
                continue
            values: list[ast.expr] = [node.value]
            values += [one for value in values if isinstance(value, ast.IfExp) for one in (value.body, value.orelse)]
            named = [one.value for one in values if isinstance(one, ast.Constant) and type(one.value) is int]
            assert set(named) <= {0}, f"{path.name}:{node.lineno}"


def test_the_text_of_an_error_is_one_short_line_that_controls_no_terminal():
    hostile = "no \x1b]0;title\x07 \u202etxt.exe\nLoaded image: a:1 \x9b2J \udcff"
    assert str(errors.InvalidReference(hostile)) == (
        "no \\x1b]0;title\\x07 \\u202etxt.exe\\nLoaded image: a:1 \\x9b2J \\udcff"
    )
    long = str(errors.InvalidReference("begin " + "x" * 4_000_000 + " end"))
    assert long.startswith("begin ")
    assert long.endswith(" end")
    assert len(long) == 600
    assert str(errors.InvalidReference("größe 好")) == "größe 好"


def test_a_file_that_cannot_be_read_is_an_error_of_orlops_own(tmp_path):
    with orlop.open(tmp_path / "root") as images, pytest.raises(errors.StorageError):
        images.load("/proc/self/mem")  # a regular file, whose beginning cannot be read


def test_a_place_that_cannot_be_swept_is_an_error_of_orlops_own(tmp_path, data):
    with orlop.open(tmp_path / "root") as images:
        (tmp_path / "root" / "ingest").rmdir()
        (tmp_path / "root" / "ingest").touch()
        with pytest.raises(errors.StorageError):
            images.load(data / "dockerd-29-overlay2" / "tiny.tar")


def test_a_blob_that_cannot_be_looked_at_is_an_error_of_orlops_own(tmp_path):
    blob = BlobRow(Digest.of(b"content"), 7, "none")
    with local_store(tmp_path / "root") as store:
        folder = tmp_path / "root" / "blobs" / "sha256"
        folder.rmdir()
        folder.symlink_to("sha256")  # to itself
        with pytest.raises(errors.StorageError):
            store.blobs.has(blob)


PYTHONS: dict[type[Exception], type[Exception]] = {
    errors.InvalidInput: ValueError,
    errors.WrongType: TypeError,
    errors.NotFound: LookupError,
    errors.FileNotThere: FileNotFoundError,
    errors.StorageError: OSError,
    errors.PermissionDenied: PermissionError,
    errors.StoreClosed: ValueError,
}
"""The second table of the reference."""


@pytest.mark.parametrize("kind", list(every()), ids=lambda kind: kind.__name__)
def test_an_error_is_also_pythons_own(kind: type[Exception]):
    expected = {python for ours, python in PYTHONS.items() if issubclass(kind, ours)}
    if FileNotFoundError in expected:
        expected.add(OSError)
    assert {python for python in {*PYTHONS.values()} if issubclass(kind, python)} == expected


@pytest.mark.parametrize("kind", list(every()), ids=lambda kind: kind.__name__)
def test_an_error_can_be_copied_and_sent_to_another_process(kind: type[errors.OrlopError]):
    error = kind("cannot do it: no")
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is kind
        assert (str(again), again.args) == ("cannot do it: no", ("cannot do it: no",))


@pytest.mark.parametrize(
    ("number", "kind", "python"),
    [
        (errno.ENOENT, errors.FileNotThere, FileNotFoundError),
        (errno.EACCES, errors.PermissionDenied, PermissionError),
        (errno.ENOSPC, errors.NoSpace, OSError),
        (errno.EROFS, errors.ReadOnlyStore, OSError),
        (errno.EIO, errors.StorageError, OSError),
    ],
)
def test_an_error_of_the_system_keeps_its_number_and_its_file(
    number: int, kind: type[Exception], python: type[OSError]
):
    with pytest.raises(python) as raised, explaining("read", "a/file"):
        raise OSError(number, "words of the system")
    assert raised.type is kind
    assert (raised.value.errno, raised.value.filename) == (number, "a/file")
    assert str(raised.value).startswith("cannot read a/file: ")


def test_an_error_that_is_explained_already_stays_as_it_is():
    first = errors.NoSpace("no space is left")
    with pytest.raises(errors.NoSpace) as raised, explaining("read", "a/file"):
        raise first
    assert raised.value is first
    assert first.errno == errno.ENOSPC


def test_a_program_catches_what_python_raises(tmp_path):
    with orlop.open(tmp_path / "root") as images:
        with pytest.raises(LookupError):
            images.inspect("nothing")
        with pytest.raises(ValueError, match="UPPER"):
            images.inspect("UPPER")
        with pytest.raises(FileNotFoundError) as raised:
            images.load(tmp_path / "nothing.tar")
    assert raised.value.filename == str(tmp_path / "nothing.tar")
