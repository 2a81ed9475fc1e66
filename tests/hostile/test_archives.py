"""What is hostile is refused with a clear error in every way that an archive is read, and changes nothing."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from orlop import errors
from orlop.cli.main import run
from orlop.streams.compression import Compression, detect
from tests.hostile import tars
from tests.hostile.corpus import HARMLESS, REFUSED
from tests.hostile.made import content, docker, many_folders
from tests.invariants import broken
from tests.unit.layouts import everything

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PIPE = 1 << 16


class Place:
    """A store with an image in it, and all that is in its directory."""

    def __init__(self, root: Path, archive: Path) -> None:
        self.root = root
        with orlop.open(root) as images:
            images.load(archive)
        self.before = self.state()

    def state(self) -> tuple[dict[str, bytes], list[str]]:
        return everything(self.root), sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*"))


@pytest.fixture(scope="module")
def place(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("hostile") / "root", data / "dockerd-29-overlay2" / "tiny.tar")


@pytest.fixture
def fed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bytes], None]]:
    """Put bytes into the standard input, as far as they fit into a pipe."""
    opened: list[Any] = []

    def feed(data: bytes) -> None:
        reader, writer = os.pipe()
        source = os.fdopen(reader, "rb")
        opened.append(source)
        os.set_blocking(writer, False)
        with os.fdopen(writer, "wb", buffering=0) as sink:
            assert (sink.write(data) if data else 0) == len(data)
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(source))

    yield feed
    for source in opened:
        source.close()


def unpack(files: dict[str, bytes], folder: Path) -> Path:
    for name, body in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    return folder


def ways(made: dict[str, bytes] | bytes, folder: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Every way in which an archive can be read, with what gives a source for it, any number of times."""
    data = content(made)
    (folder / "plain.tar").write_bytes(data)
    yield "a file", lambda: folder / "plain.tar"
    yield "a pipe", lambda: io.BytesIO(data)
    if isinstance(made, dict):
        unpack(made, folder / "unpacked")
        yield "a directory", lambda: folder / "unpacked"
    if len(data) >= 512 and detect(data) is Compression.NONE:
        (folder / "packed.tar").write_bytes(gzip.compress(data, 1))
        yield "a compressed file", lambda: folder / "packed.tar"


def read(source: Any) -> None:
    with orlop.Archive(source) as archive:
        archive.verify()


def check(error: orlop.OrlopError, kind: type[orlop.OrlopError], words: str, way: str) -> None:
    text = str(error)
    assert (isinstance(error, kind), words in text) == (True, True), f"{way}: {error!r}"
    assert text.isprintable(), way
    assert len(text) <= 600, way


@pytest.mark.sampled(24)
@pytest.mark.parametrize("name", REFUSED)
def test_a_hostile_archive_is_refused_in_the_same_way_wherever_it_comes_from(
    place: Place, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], name: str
) -> None:
    case = REFUSED[name]
    for way, source in ways(case.make(), tmp_path):
        with orlop.open(place.root) as images, pytest.raises(orlop.OrlopError) as caught:
            images.load(source())
        check(caught.value, case.kind, case.words, way)
        with pytest.raises(orlop.OrlopError) as caught:
            read(source())
        check(caught.value, case.kind, case.words, way)
        if way != "a pipe":
            status = run(["--root", str(tmp_path / "none"), "inspect", "--archive", str(source())])
            out, err = capfdbinary.readouterr()
            assert (status, err.startswith(b"Error: "), err.count(b"\n")) == (caught.value.exit_code, True, 1), way
            # What is wrong with a layer is told of its image; images that are right would be printed.
            assert out in {b"", b"[]\n"}, way
    assert place.state() == place.before
    assert not (tmp_path / "none").exists()


@pytest.mark.sampled(8)
@pytest.mark.parametrize("name", REFUSED)
def test_a_hostile_archive_is_refused_through_a_pipe_of_the_system(
    place: Place, fed, capfdbinary: pytest.CaptureFixture[bytes], name: str
) -> None:
    case = REFUSED[name]
    data = content(case.make())
    # More would need somebody who writes while the command reads.
    for words in (["load"], ["images", "--archive", "-"]) if len(data) < PIPE else ():
        fed(data)
        status = run(["--root", str(place.root), *words])
        out, err = capfdbinary.readouterr()
        assert (status in {case.kind.exit_code, 3}, out) == (True, b"")
        assert (err.startswith(b"Error: "), err.count(b"\n")) == (True, 1)
    assert place.state() == place.before


@pytest.mark.sampled(24)
@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_odd_is_loaded_and_nothing_else_happens(tmp_path: Path, name: str) -> None:
    for number, (_, source) in enumerate(ways(HARMLESS[name](), tmp_path)):
        around = tmp_path / f"around-{number}"
        around.mkdir()
        with orlop.open(around / "root") as images:
            images.load(source())
            ids = [str(image.id) for image in images.images()]
            out = io.BytesIO()
            images.save(ids, out)
            # What was loaded is saved, and loaded again, as the same.
            with orlop.open(tmp_path / f"again-{number}") as others:
                assert [str(one.id) for one in others.load(io.BytesIO(out.getvalue())).images] == ids
            for each in ids:
                images.history(each)
                images.inspect(each)
        read(source())
        assert [path.name for path in around.iterdir()] == ["root"]
        if name != "JSON that nests deep":  # deeper than Python's own reader of JSON goes
            assert broken(around / "root") == []


def test_the_archives_that_cases_change_are_good() -> None:
    from tests.hostile import made

    for files in (made.docker(), made.oci().files, made.skopeo(), made.version_1(), made.nested(5), made.nested(8)):
        read(io.BytesIO(content(files)))
    read(io.BytesIO(made.with_members(tars.member(b"more", b"x"))))
    read(io.BytesIO(content(made.both_lists(others=False))))


@pytest.mark.sampled(3)
def test_a_directory_that_is_too_deep_is_refused(place: Place, tmp_path: Path) -> None:
    folder = unpack(docker(), tmp_path / "deep")
    before = os.open(".", os.O_RDONLY)
    try:
        os.chdir(folder)
        for _ in range(1200):
            os.mkdir("d")  # noqa: PTH102 - from folder to folder
            os.chdir("d")
    finally:
        os.chdir(before)
        os.close(before)
    try:
        with orlop.open(place.root) as images, pytest.raises(errors.LimitExceeded, match="path-depth is 1000"):
            images.load(folder)
    finally:
        subprocess.run(["rm", "-rf", folder], check=True)  # deeper than Python removes
    assert place.state() == place.before


@pytest.mark.sampled(4)
def test_too_many_layers_in_version_1_are_refused(place: Place, tmp_path: Path) -> None:
    path = tmp_path / "archive.tar"
    path.write_bytes(content(many_folders(126)))
    with orlop.open(place.root) as images, pytest.raises(errors.LimitExceeded, match="126 layers or more"):
        images.load(path)
    assert place.state() == place.before
