"""Where a user wants bytes to go: whole or not at all, and to what the name stands for."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from orlop.errors import NotFound, OrlopError, PermissionDenied, StorageError, WriteFailed
from orlop.streams.output import Output
from tests.open_files import open_below


def put(path: Path | str, data: bytes = b"data") -> None:
    with Output(path) as output:
        output.write(data)
        output.finish()


def test_a_new_file_has_the_mode_of_new_files(tmp_path):
    put(tmp_path / "new")
    (tmp_path / "other").touch()
    assert (tmp_path / "new").read_bytes() == b"data"
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_an_old_file_keeps_its_mode_and_a_link_its_target(tmp_path):
    (tmp_path / "secret").write_bytes(b"old")
    (tmp_path / "secret").chmod(0o600)
    (tmp_path / "link").symlink_to("secret")
    put(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "secret").read_bytes() == b"data"
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mode", [0o4755, 0o2777, 0o1666])
def test_a_new_file_does_not_run_with_the_rights_of_whoever_writes_it(tmp_path, mode):
    """The old one may be somebody else's, who knows what to write into the new one."""
    (tmp_path / "old").touch()
    (tmp_path / "old").chmod(mode)
    put(tmp_path / "old")
    assert stat.S_IMODE((tmp_path / "old").stat().st_mode) == mode & 0o777


def test_what_is_not_finished_leaves_nothing(tmp_path):
    (tmp_path / "old").write_bytes(b"old")
    for name in ("old", "new"):
        with Output(tmp_path / name) as output:
            output.write(b"half")
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert (tmp_path / "old").read_bytes() == b"old"


def test_what_a_killed_process_left_goes_and_what_a_living_one_writes_stays(tmp_path):
    (tmp_path / ".orlop-0123456789ab.part").write_bytes(b"left behind")
    (tmp_path / ".orlop-store-01.part").mkdir()
    (tmp_path / ".orlop-x.part").symlink_to("old")
    (tmp_path / "old").write_bytes(b"old")
    with Output(tmp_path / "one") as slow:
        slow.write(b"data")
        put(tmp_path / "two")
        slow.finish()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".orlop-store-01.part",
        ".orlop-x.part",
        "old",
        "one",
        "two",
    ]
    assert (tmp_path / "one").read_bytes() == b"data"


def test_a_name_may_be_as_long_as_names_can_be(tmp_path):
    put(tmp_path / ("x" * 255))
    assert (tmp_path / ("x" * 255)).read_bytes() == b"data"


@pytest.mark.parametrize("path", ["", ".", "nowhere/x", "x" * 300])
def test_what_cannot_be_written_is_a_clear_error(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((WriteFailed, NotFound, OrlopError), match="cannot write"):
        put(path)
    assert not list(tmp_path.iterdir())


def test_a_fifo_is_written_as_it_is(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    got = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "fifo").read_bytes()))
    reader.start()
    put(tmp_path / "fifo")
    reader.join()
    assert got == [b"data"]
    assert (tmp_path / "fifo").is_fifo()


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"])
def test_standard_output_by_name_is_the_descriptor(tmp_path, name):
    (tmp_path / "link").symlink_to("/dev/stdout")
    script = f"from orlop.streams.output import Output\nwith Output({name!r}) as o:\n o.write(b'data'); o.finish()"
    with (tmp_path / "log").open("ab") as log:
        log.write(b"header ")
        log.flush()
        subprocess.run([sys.executable, "-c", script], stdout=log, check=True, cwd=tmp_path)
    assert (tmp_path / "log").read_bytes() == b"header data"
    piped = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=True, cwd=tmp_path)
    assert piped.stdout == b"data"


def test_a_device_is_written_as_it_is():
    put("/dev/null")
    assert Path("/dev/null").is_char_device()
    with pytest.raises(OrlopError, match="no space left"):
        put("/dev/full")


def test_a_close_that_fails_does_not_hide_what_went_wrong_before(monkeypatch):
    def failing(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def interrupt() -> None:
        with Output("/dev/null"):
            monkeypatch.setattr("orlop.streams.output.os.close", failing)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()


@pytest.mark.needs("terminals")
def test_a_terminal_is_refused():
    controller, terminal = os.openpty()
    try:
        with pytest.raises(WriteFailed, match="terminal"):
            Output(os.ttyname(terminal))
    finally:
        os.close(controller)
        os.close(terminal)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EOPNOTSUPP])
def test_a_file_system_that_syncs_no_directory_takes_files_all_the_same(tmp_path, monkeypatch, number):
    fsync = os.fsync

    def unable(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    monkeypatch.setattr("orlop.streams.files.os.fsync", unable)
    put(tmp_path / "new")
    assert (tmp_path / "new").read_bytes() == b"data"


def test_a_directory_that_may_only_be_written_takes_files(tmp_path, monkeypatch):
    opened = os.open

    def refused(path: str, flags: int, mode: int = 0o777, **options: int) -> int:
        if flags & os.O_DIRECTORY:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return opened(path, flags, mode, **options)

    monkeypatch.setattr(os, "open", refused)
    put(tmp_path / "new")
    assert (tmp_path / "new").read_bytes() == b"data"


def test_a_file_that_cannot_get_its_mode_leaves_nothing(tmp_path, monkeypatch):
    def refused(_: int, __: int) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr("orlop.streams.files.os.fchmod", refused)
    with pytest.raises(PermissionDenied):
        put(tmp_path / "new")
    assert not list(tmp_path.iterdir())
    assert open_below(tmp_path) == []


def test_a_disk_is_written_to_the_end_before_that_is_success(tmp_path, monkeypatch):
    with (tmp_path / "disk").open("wb") as disk:
        monkeypatch.setattr("orlop.streams.output.stat.S_ISBLK", lambda _: True)

        def failing(_: int) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr("orlop.streams.output.os.fsync", failing)
        with pytest.raises(StorageError):
            put(f"/dev/fd/{disk.fileno()}")
