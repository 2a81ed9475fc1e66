"""Looking inside images whose layers are made to mislead: nothing leads out, ends in a traceback, or takes for ever."""

from __future__ import annotations

import gc
import io
import json
import tracemalloc
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop.cli.main import run
from orlop.errors import InvalidInput, PathNotFound, WrongFileType
from orlop.inside.extract import extract
from orlop.inside.merge import Merge
from orlop.page.columns import path_columns
from orlop.page.paths import record_paths
from orlop.streams.tar_read import TarReader
from tests.growing import growth, spent
from tests.hostile import tars
from tests.hostile.made import hardlink, symlink
from tests.unit.images_made import image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orlop.inside.view import ImageFiles

FINE = tars.member(b"fine", b"content")
LAYERS: dict[str, bytes] = {
    "names that lead out": tars.member(b"../../../tmp/orlop-out", b"1") + tars.member(b"/abs/../../x", b"2"),
    "names that are not UTF-8": tars.member(b"caf\xe8/\xff\xfe", b"4"),
    "escapes": tars.member(b"\x1b]0;title\x07\x1b[2J\r\n\t", b"5") + symlink(b"\x1b[1m", b"\x1b[31m"),
    "markup": tars.member(b"</script><script>alert(1)</script>", b"6") + tars.member(b"<!--", b"7"),
    "links in a circle": symlink(b"a", b"b") + symlink(b"b", b"a") + symlink(b"d", b".") + symlink(b"e", b"e/e"),
    "entries below links in a circle": symlink(b"a", b"b") + symlink(b"b", b"a") + tars.member(b"a/x", b"8"),
    "hard links in a circle": hardlink(b"h", b"i") + hardlink(b"i", b"h") + hardlink(b"self", b"self"),
    "a link out": symlink(b"out", b"../../../../etc/passwd") + symlink(b"abs", b"/etc/passwd"),
    "devices": tars.header(b"null", kind=b"3") + tars.header(b"disk", kind=b"4") + tars.header(b"pipe", kind=b"6"),
    "an unknown type": tars.header(b"odd", kind=b"Z"),
    "a path as deep as it may be": tars.member(b"/".join([b"d"] * 120), b"9"),
    "a path twice": tars.member(b"twice", b"1") + tars.member(b"twice", b"22") + tars.header(b"twice/", kind=b"5"),
    "a root that is a file": tars.member(b"./", b"") + tars.member(b".", b"x") + tars.member(b"/", b"y"),
    "empty names": tars.member(b"", b"z") + tars.member(b"//", b"z"),
    "marks of overlays": tars.pax({b"SCHILY.xattr.trusted.overlay.opaque": b"y"}) + tars.header(b"o/", kind=b"5"),
}
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("ls", "-R", "-l", "made:1"),
    ("ls", "-R", "--layers", "made:1"),
    ("ls", "--format", "json", "-R", "made:1"),
    ("find", "made:1", "--format", "json"),
    ("tree", "made:1"),
    ("stat", "made:1", "/"),
    ("diff", "made:1", "made:1", "--content"),
    ("audit", "made:1"),
    ("audit", "made:1", "--format", "json"),
    ("audit", "made:1", "--sarif"),
)


def load(root: Path, *layers: bytes, compressed: bool = False) -> None:
    with orlop.open(root) as images:
        images.load(io.BytesIO(image(*layers, compressed=compressed)))


@pytest.fixture(params=LAYERS)
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A store with an image of a layer, or of that twice."""
    made = FINE + LAYERS[request.param] + tars.END
    load(tmp_path / "root", made, made)
    return tmp_path / "root"


@pytest.mark.sampled(6)
def test_every_command_ends_well(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.setenv("ORLOP_ROOT", str(root))
    monkeypatch.setattr("orlop.cli.show.output.is_terminal", lambda: True)
    for words in COMMANDS:
        status = run([*words])
        out, err = capsysbinary.readouterr()
        assert status in {0, 8}, (words, err)
        assert err == b"" or b"Traceback" not in err
        assert b"\x1b]" not in out
        assert b"\x1b[2J" not in out
        assert b"\0" not in out
        if "json" in words or "--sarif" in words:
            text = out.decode()
            documents = [json.loads(text)] if "--sarif" in words else [json.loads(line) for line in text.splitlines()]
            assert documents


@pytest.mark.sampled(2)
def test_nothing_leads_out_and_every_path_can_be_asked_for(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    with orlop.open(root) as images, images.files("made:1") as files:
        for path in files:
            assert files[path].path == path
            try:
                files.read(path)
            except (PathNotFound, WrongFileType):
                continue
        assert files.read("/fine") == b"content"
        (outside / "copy").mkdir()
        extract(files, "/", str(outside / "copy"))
    assert [one.name for one in outside.iterdir()] == ["copy"]
    assert (outside / "copy" / "fine").read_bytes() == b"content"
    for one in (outside / "copy").rglob("*"):
        assert one.is_symlink() or one.is_dir() or one.is_file() or one.name == "pipe"


def test_a_name_with_a_nul_is_refused_wherever_the_layer_comes_from(tmp_path: Path) -> None:
    archive = image(tars.pax({b"path": b"a\0b"}) + tars.member(b"x", b"3") + tars.END)
    with orlop.open(tmp_path / "root") as images, pytest.raises(InvalidInput):
        images.load(io.BytesIO(archive))
    (tmp_path / "image.tar").write_bytes(archive)
    with orlop.ArchiveService(tmp_path / "image.tar") as looked_into, pytest.raises(InvalidInput):
        list(looked_into.files().walk("/"))


# Tables of contents that are missing, cut or partial.


def listing(files: ImageFiles) -> list[object]:
    return [one._replace(inode=0) for one in files.walk()]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("cut", [None, 0, 5, 20, 40, -5, -1])
def test_a_table_that_is_missing_or_cut_changes_nothing(cut: int | None, tmp_path: Path) -> None:
    content = b"".join(tars.member(b"d/%d" % number, b"%d" % number * 50) for number in range(40)) + tars.END
    load(tmp_path / "root", content, compressed=True)
    with orlop.open(tmp_path / "root") as images:
        with images.files("made:1") as files:
            expected = listing(files)
        assert len(expected) == 42
        (table,) = (tmp_path / "root" / "toc" / "sha256").iterdir()
        if cut is None:
            table.unlink()
        else:
            table.write_bytes(table.read_bytes()[:cut])
        with images.files("made:1") as files:
            assert listing(files) == expected
            assert files.read("/d/7") == b"7" * 50


def test_a_partial_table_shows_what_the_layer_has(tmp_path: Path) -> None:
    twice = tars.member(b"a", b"1") + tars.member(b"a", b"22") + tars.member(b"b\xff", b"3") + tars.END + b"rest"
    load(tmp_path / "root", twice)
    with orlop.open(tmp_path / "root") as images, images.files("made:1") as files:
        shown = listing(files)
        assert (files.read("/a"), files.read("/b\udcff")) == (b"22", b"3")
        (table,) = (tmp_path / "root" / "toc" / "sha256").iterdir()
        table.unlink()
        with images.files("made:1") as again:
            assert listing(again) == shown


# Growth.


def many(count: int) -> bytes:
    return b"".join(tars.header(b"d/%07d" % number) for number in range(count)) + tars.END


@pytest.fixture
def collected() -> Iterator[None]:
    """Begin with little garbage, so that runs can be compared."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.sampled(3)
@pytest.mark.usefixtures("collected")
def test_twice_the_names_in_one_directory_take_about_twice_the_work() -> None:
    layers = {count: many(count) for count in (10_000, 40_000)}

    def merged(count: int) -> None:
        merge = Merge()
        for _ in range(2):
            merge.apply(TarReader(io.BytesIO(layers[count])))

    def worked(count: int) -> float:
        return spent(lambda: merged(count))

    assert growth(worked, *layers, below=12) < 12


@pytest.mark.sampled(3)
def test_a_name_takes_less_than_a_kilobyte(tmp_path: Path) -> None:
    count = 20_000
    load(tmp_path / "root", many(count))
    with orlop.open(tmp_path / "root") as images:
        images.files("made:1").close()
        tracemalloc.start()
        try:
            with images.files("made:1") as files:
                assert "/d/0019999" in files
                _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 1000 * count


@pytest.mark.sampled(3)
def test_a_path_of_a_page_takes_less_than_a_kilobyte_with_the_view(tmp_path: Path) -> None:
    count = 20_000
    load(tmp_path / "root", many(count))
    with orlop.open(tmp_path / "root") as images, images.files("made:1") as files:
        assert len(files) == count + 2
        tracemalloc.start()
        try:
            columns = path_columns(record_paths(files), most=1000)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert sum(number for _, number in columns["rest"]) == count + 2 - 1000
    # The view, which is made once more meanwhile, takes most of it.
    assert peak < 950 * count
