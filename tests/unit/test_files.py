"""Files that are being written: errors of what goes on in the background, and a system that has no thread to give."""

from __future__ import annotations

import errno
import os
import threading

import pytest

from orlop.errors import StorageError
from orlop.streams.directory import outside
from orlop.streams.files import NewFile, allocate

MANY = b"x" * (9 << 20)


@pytest.fixture
def no_threads():
    """Prevent threads from starting: there is no room for a stack of that size."""
    usual = threading.stack_size(1 << 50)
    yield
    threading.stack_size(usual)


@pytest.mark.usefixtures("no_threads")
def test_a_file_is_written_without_a_thread_to_write_it_back(tmp_path):
    with NewFile(outside(str(tmp_path / "part"))) as file:
        file.write(MANY)
        file.write(MANY)
        file.sync()
        file.publish(outside(str(tmp_path / "file")))
    assert (tmp_path / "file").stat().st_size == 2 * len(MANY)


def test_a_file_is_written_in_pieces_for_which_memory_is_at_hand(tmp_path, monkeypatch):
    pieces: list[int] = []

    def write(descriptor: int, data: memoryview) -> int:
        pieces.append(len(data))
        return os_write(descriptor, data[: len(data) - len(pieces) % 2])

    os_write = os.write
    data = os.urandom((1 << 20) + 5)
    monkeypatch.setattr(os, "write", write)
    with NewFile(outside(str(tmp_path / "part"))) as file:
        assert file.write(data) == file.size == len(data)
        file.publish(outside(str(tmp_path / "file")))
    assert (tmp_path / "file").read_bytes() == data
    assert max(pieces) == 128 << 10


@pytest.mark.usefixtures("no_threads")
def test_a_file_rests_without_a_thread(tmp_path):
    with NewFile(outside(str(tmp_path / "part"))) as file:
        file.write(b"data")
        file.rest()
        file.wait()
        file.sync()
        file.publish(outside(str(tmp_path / "file")))
    assert (tmp_path / "file").read_bytes() == b"data"


@pytest.mark.usefixtures("no_threads")
def test_a_file_that_is_given_up_goes_without_a_thread(tmp_path):
    def give_up() -> None:
        with NewFile(outside(str(tmp_path / "part"))) as file:
            file.write(MANY)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        give_up()
    assert not list(tmp_path.iterdir())


def test_a_file_that_could_not_be_written_back_gets_no_name(tmp_path, monkeypatch):
    def failing(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with NewFile(outside(str(tmp_path / "part"))) as file:
        file.write(b"data")
        monkeypatch.setattr("orlop.streams.files.os.fsync", failing)
        file.rest()
        with pytest.raises(StorageError):
            file.publish(outside(str(tmp_path / "file")))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("rests", [False, True])
def test_a_signal_that_interrupts_a_close_is_not_an_error(tmp_path, monkeypatch, rests):
    close = os.close

    def interrupted(descriptor: int) -> None:
        close(descriptor)
        raise InterruptedError(errno.EINTR, "Interrupted system call")

    with NewFile(outside(str(tmp_path / "part"))) as file:
        file.write(b"all")
        monkeypatch.setattr("orlop.streams.files.os.close", interrupted)
        if rests:
            file.rest()
        file.sync()
        file.publish(outside(str(tmp_path / "whole")))
        monkeypatch.undo()
    assert (tmp_path / "whole").read_bytes() == b"all"


def test_a_reserve_that_a_signal_interrupts_is_made_once_more(tmp_path, monkeypatch):
    usual, left = os.posix_fallocate, [1, 2]

    def interrupted(*what):
        if left:
            left.pop()
            raise InterruptedError(errno.EINTR, os.strerror(errno.EINTR))
        usual(*what)

    monkeypatch.setattr(os, "posix_fallocate", interrupted)
    allocate(outside(str(tmp_path / "file")), 4096, 0o600)
    assert (tmp_path / "file").stat().st_size == 4096


def test_what_was_written_back_is_not_synced_again_and_what_came_after_it_is(tmp_path, monkeypatch):
    calls: list[str] = []

    def noting(name: str) -> None:
        sync = getattr(os, name)

        def call(descriptor: int) -> None:
            sync(descriptor)
            calls.append(name)

        monkeypatch.setattr(os, name, call)

    noting("fsync")
    noting("fdatasync")
    with NewFile(outside(str(tmp_path / "part"))) as file:
        file.write(b"some")
        file.start_sync()
        file.sync()
        assert calls == ["fdatasync"]
        file.write(b" more")
        file.sync()
        assert calls == ["fdatasync", "fsync"]
        file.start_sync()
        file.cut(4)
        file.sync()
        assert calls == ["fdatasync", "fsync", "fdatasync", "fsync"]
        file.publish(outside(str(tmp_path / "file")))
    assert (tmp_path / "file").read_bytes() == b"some"
