"""The short way to small files: it gives what is there, and nothing where anything is not as it must be."""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from orlop.foreign import ahead, small_files
from orlop.foreign.ahead import Ahead
from orlop.foreign.disk import Folder, Walker
from orlop.foreign.small_files import Reader
from orlop.foreign.tarsplit import Run, Segment
from orlop.service.rescue import look
from tests.foreign_roots import make_root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from orlop.foreign.tarsplit import Content

ALL = [(b"a/b/f%d" % number, 8) for number in range(8)]
CONTENTS = [b"%08d" % number for number in range(8)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    (folder / "a" / "b").mkdir(parents=True)
    for (path, _), content in zip(ALL, CONTENTS, strict=True):
        (folder / os.fsdecode(path)).write_bytes(content)
    (folder / "top").write_bytes(b"top")
    (tmp_path / "outside").write_bytes(b"outside!")
    return folder


@pytest.fixture(params=["here", "another process"])
def files(root: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ahead]:
    with Folder.open(str(root)) as folder, Walker(folder) as walker, helping(walker, monkeypatch) as found:
        if request.param == "here":
            found.close()
        yield found


def helping(walker: Walker, monkeypatch: pytest.MonkeyPatch) -> Ahead:
    """Return what has another process at once, however few processors and files there are."""
    monkeypatch.setattr(ahead, "_may_have_helper", lambda: True)
    monkeypatch.setattr(ahead, "_MANY", 0)
    found = Ahead(walker)
    assert contents(found, (b"top", 3)) == [b"top"]
    assert process(found).poll() is None
    return found


def process(files: Ahead) -> subprocess.Popen[bytes]:
    assert files._helper is not None
    return files._helper._process


def run(*wanted: tuple[bytes, int]) -> Run:
    names, sizes = [name for name, _ in wanted], [size for _, size in wanted]
    return Run([b"header"] * len(names), names, sizes, sizes, [b"AAAAAAAAAAE="] * len(names))


def contents(files: Ahead, *wanted: tuple[bytes, int]) -> list[bytes | None]:
    [(_, found)] = files.filled([run(*wanted)])
    return found


def test_files_of_any_directory_are_read_in_any_order(files: Ahead) -> None:
    wanted = dict(zip([path for path, _ in ALL], CONTENTS, strict=True)) | {b"top": b"top", b"./a/b/f1": CONTENTS[1]}
    paths = [*wanted, *reversed(wanted)]
    assert contents(files, *((path, len(wanted[path])) for path in paths)) == [wanted[path] for path in paths]


def test_every_part_comes_in_its_place(files: Ahead) -> None:
    empty = run((b"a/b/f1", 0), (b"large", ahead.SMALL + 1))
    parts: list[Run | Segment | Content] = [Segment(b"x"), run(*ALL[:3]), run(*ALL[3:]), empty, run(*ALL[:1])]
    found = list(files.filled(parts))
    assert [part for part, _ in found] == parts
    assert [data for _, data in found] == [[], CONTENTS[:3], CONTENTS[3:], [], CONTENTS[:1]]


def test_few_bytes_are_held_at_a_time(files: Ahead, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "_HELD", 20)
    found = list(files.filled([run(*ALL, (b"top", ahead.SMALL + 1))]))
    assert [data for _, data in found] == [CONTENTS[at : at + 2] for at in range(0, 8, 2)]
    assert sum(len(part.names) for part, _ in found if isinstance(part, Run)) == len(ALL) + 1


def test_more_directories_than_go_into_one_request(files: Ahead, root: Path) -> None:
    wanted = []
    for number in range(2 * ahead._DIRECTORIES + 1):
        (root / f"d{number}").mkdir()
        (root / f"d{number}" / "file").write_bytes(b"%08d" % number)
        wanted.append((b"d%d/file" % number, 8))
    assert contents(files, *wanted) == [b"%08d" % number for number in range(len(wanted))]


@pytest.mark.parametrize("listed", [False, True], ids=["asked for one by one", "listed"])
def test_what_is_not_a_file_of_this_size_in_its_place_gives_nothing(files: Ahead, root: Path, *, listed: bool) -> None:
    folder = root / "a" / "b"
    os.mkfifo(folder / "pipe")
    (folder / "link").symlink_to("../../../outside")
    (folder / "loop").symlink_to("loop")
    (folder / "directory").mkdir()
    (root / "away").symlink_to("..")
    if listed:
        assert contents(files, *ALL) == CONTENTS
    for name in (b"f1x", b"pipe", b"link", b"loop", b"directory", b"", b".", b"..", b"f1\0", b"gone"):
        assert contents(files, (b"a/b/" + name, 8)) == [None]
    for path in (b"away/outside", b"../outside", b"a/../../outside", b"/../outside", b"a/b/link/x", b"\0/f1"):
        assert contents(files, (path, 8)) == [None]
    for size in (7, 9):
        assert contents(files, (b"a/b/f1", size)) == [None]
    assert contents(files, (b"a/b/f1", 8)) == [b"00000001"]


def test_what_stands_before_a_directory_that_is_lost_is_read(files: Ahead) -> None:
    assert contents(files, ALL[0], (b"lost/file", 8), ALL[1]) == [CONTENTS[0], None, None]
    assert contents(files, *ALL) == CONTENTS


def test_a_directory_is_asked_once_for_many_files(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def counting(name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def counted(*given: Any, **more: Any) -> Any:
            calls.append(name)
            return real(*given, **more)

        return counted

    for name in ("stat", "scandir"):
        monkeypatch.setattr(os, name, counting(name))
    reader = Reader()
    with Folder.open(str(root / "a" / "b")) as folder:
        for _ in range(10):
            for number in range(8):
                assert reader.contents(folder.descriptor, (b"a/b", [b"f%d" % number], [8])) == [CONTENTS[number]]
    assert calls.count("scandir") == 1
    assert calls.count("stat") <= 3


def test_large_directories_are_listed_seldom(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("large", "largest"):
        (root / name).mkdir()
        for number in range(30):
            (root / name / f"f{number}").write_bytes(b"%02d" % number)
    monkeypatch.setattr(small_files, "_NAMES", 29)
    listed: list[int] = []
    real = os.scandir

    def scandir(folder: int) -> Any:
        listed.append(folder)
        return real(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    reader = Reader()
    names, sizes = [b"f%d" % number for number in range(3)], [2, 2, 2]
    with Folder.open(str(root / "large")) as one, Folder.open(str(root / "largest")) as other:
        for _ in range(100):
            assert reader.contents(one.descriptor, (b"large", names, sizes)) == [b"00", b"01", b"02"]
        assert len(listed) == 1
        listed.clear()
        monkeypatch.setattr(small_files, "_NAMES", 100)
        monkeypatch.setattr(small_files, "_PAID", 0)
        reader = Reader()
        for _ in range(100):
            assert reader.contents(one.descriptor, (b"large", names, sizes)) == [b"00", b"01", b"02"]
            assert reader.contents(other.descriptor, (b"largest", names, sizes)) == [b"00", b"01", b"02"]
        assert len(listed) <= 4


def test_access_times_stay(files: Ahead, root: Path) -> None:
    paths = [root / "a", root / "a" / "b", *(root / "a" / "b").iterdir()]
    for path in paths:
        os.utime(path, ns=(1, 2))
    assert contents(files, *ALL) == CONTENTS
    assert {path.stat().st_atime_ns for path in paths} == {1}


def test_the_other_process_is_not_needed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Folder.open(str(root)) as folder, Walker(folder) as walker, helping(walker, monkeypatch) as files:
        process(files).kill()
        process(files).wait()
        assert contents(files, *ALL) in ([None] * 8, CONTENTS)
        assert contents(files, *ALL) == CONTENTS


def test_a_process_that_does_not_answer_is_ended(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Folder.open(str(root)) as folder, Walker(folder) as walker, helping(walker, monkeypatch) as files:
        begun = process(files)
        begun.send_signal(signal.SIGSTOP)
        assert files._helper is not None
        assert files._helper._connection.gettimeout() == ahead._PATIENCE
        files._helper._connection.settimeout(0.1)
        assert contents(files, *ALL) == [None] * len(ALL)
        assert begun.returncode == -signal.SIGKILL
        assert contents(files, *ALL) == CONTENTS


def test_where_no_process_can_be_begun_files_are_read_here(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "_MANY", 0)
    monkeypatch.setattr(sys, "executable", str(root / "python-that-is-not-there"))
    with Folder.open(str(root)) as folder, Walker(folder) as walker, Ahead(walker) as files:
        assert contents(files, *ALL) == CONTENTS


def test_where_no_socket_can_be_opened_files_are_read_here(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> Any:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(ahead, "_may_have_helper", lambda: True)
    monkeypatch.setattr(ahead, "_MANY", 0)
    monkeypatch.setattr(socket, "socketpair", full)
    with Folder.open(str(root)) as folder, Walker(folder) as walker, Ahead(walker) as files:
        assert contents(files, *ALL) == CONTENTS


@pytest.mark.parametrize("program", ["", "/usr/bin/orlop"])
def test_a_program_that_is_not_python_is_not_run(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", program)
    assert not ahead._may_have_helper()


def test_no_process_is_left(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Folder.open(str(root)) as folder, Walker(folder) as walker, helping(walker, monkeypatch) as files:
        begun = process(files)
    assert begun.returncode is not None


def test_the_other_process_ends_with_this_one(root: Path) -> None:
    code = (
        "import os, sys; from orlop.foreign import ahead; from orlop.foreign.disk import Folder, Walker;"
        "from orlop.foreign.tarsplit import Run; ahead._MANY = 0; ahead._may_have_helper = lambda: True;"
        "files = ahead.Ahead(Walker(Folder.open(sys.argv[1])));"
        "list(files.filled([Run([b''], [b'top'], [3], [3], [b''])]));"
        "print(files._helper._process.pid, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, root], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as one:
        assert one.stdout is not None
        watched = os.pidfd_open(int(one.stdout.readline()))
        try:
            assert not select.select([watched], [], [], 0)[0]
            one.send_signal(signal.SIGKILL)
            assert select.select([watched], [], [], 60)[0]
        finally:
            os.close(watched)


@pytest.mark.sampled(2)
def test_a_layer_of_very_many_files_is_rebuilt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[object] = []
    real = ahead._begun

    def begin() -> Any:
        begun.append(real())
        return begun[-1]

    monkeypatch.setattr(ahead, "_may_have_helper", lambda: True)
    monkeypatch.setattr(ahead, "_MANY", 200)
    monkeypatch.setattr(ahead, "_begun", begin)
    members = {f"{number // 7}/{number}": b"%d" % number for number in range(3000)} | {"7/large": bytes(300_000)}
    make_root(tmp_path / "disk", 1, members)
    assert [image.state for image in look(tmp_path / "disk", verify=True).images] == ["whole"]
    assert len(begun) == 1
