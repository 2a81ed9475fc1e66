"""Directories that are held: one name at a time, no link, nothing but regular files."""

from __future__ import annotations

import errno
import os
import threading

import pytest

from orlop.errors import StoreDamaged
from orlop.streams.directory import Directory, ForeignFile, outside
from orlop.streams.files import explained
from tests.open_files import open_below


@pytest.fixture
def held(tmp_path):
    (tmp_path / "root" / "inner" / "deep").mkdir(parents=True)
    (tmp_path / "root" / "file").write_bytes(b"data")
    with Directory(str(tmp_path / "root")) as directory:
        yield directory


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc"])
def test_a_name_is_one_name(held, name):
    with pytest.raises(ValueError, match="not one name"):
        held.at(name)
    with pytest.raises(ValueError, match="not one name"):
        held / name


@pytest.mark.parametrize("path", ["inner", "inner/deep"])
def test_a_link_is_no_directory(held, tmp_path, path):
    folder = tmp_path / "root" / path
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ForeignFile, match="is a symbolic link, not a directory"):
        held.room(path)
    with pytest.raises(ForeignFile):
        held.place(f"{path}/x").state()
    with pytest.raises(ForeignFile):
        held.place(f"{path}/x").open(os.O_WRONLY | os.O_CREAT)
    assert list((tmp_path / "elsewhere").glob("x")) == []


def test_a_link_that_comes_while_a_directory_is_held_is_seen(held, tmp_path):
    inner = held / "inner"
    (tmp_path / "root" / "inner").rename(tmp_path / "elsewhere")
    (tmp_path / "root" / "inner").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ForeignFile):
        held / "inner"
    # Who has it goes on in the same directory.
    assert inner.names() == ["deep"]


def test_another_directory_of_the_name_is_opened(held, tmp_path):
    first = held / "inner"
    assert held / "inner" is first
    (tmp_path / "root" / "inner").rename(tmp_path / "elsewhere")
    (tmp_path / "root" / "inner").mkdir()
    assert held.room("inner").names() == []
    assert first.names() == ["deep"]


def test_descriptors_are_few_and_go_with_their_directory(tmp_path):
    (tmp_path / "inner").mkdir()
    before = open_below(tmp_path)
    directory = Directory(str(tmp_path))
    assert open_below(tmp_path) == before
    for number in range(10):
        directory.place(f"inner/{number}").state()
    assert len(open_below(tmp_path)) == len(before) + 2
    directory.close()
    assert open_below(tmp_path) == before


@pytest.mark.parametrize("kind", ["link", "pipe", "directory"])
@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDWR, os.O_WRONLY | os.O_CREAT])
def test_only_a_regular_file_is_opened(held, tmp_path, kind, flags):
    path = tmp_path / "root" / "odd"
    if kind == "link":
        path.symlink_to(tmp_path / "root" / "file")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(ForeignFile) as caught:
        held.at("odd").open(flags)
    told = explained(caught.value, "read", "x")
    assert isinstance(told, StoreDamaged)
    assert str(path) in str(told)


@pytest.mark.parametrize("kind", ["link", "pipe", "directory"])
def test_what_comes_after_the_look_is_not_opened(held, tmp_path, monkeypatch, kind):
    path = tmp_path / "root" / "file"
    opened = os.open

    def swapped(name: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        path.unlink()
        if kind == "link":
            path.symlink_to(tmp_path / "elsewhere")
        elif kind == "pipe":
            os.mkfifo(path)
        else:
            path.mkdir()
        return opened(name, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", swapped)
    with pytest.raises(ForeignFile):
        held.at("file").open(os.O_WRONLY | os.O_CREAT)
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_with_another_name_is_read_and_neither_written_nor_given_a_mode(held, tmp_path):
    os.link(tmp_path / "root" / "file", tmp_path / "other")
    os.close(held.at("file").open())
    mode = (tmp_path / "other").stat().st_mode
    with pytest.raises(ForeignFile, match="another name"):
        held.at("file").open(os.O_RDWR)
    with pytest.raises(ForeignFile, match="another name"):
        held.at("file").set_mode(0o777)
    assert (tmp_path / "other").stat().st_mode == mode


def test_a_link_gets_no_mode(held, tmp_path):
    (tmp_path / "root" / "odd").symlink_to(tmp_path / "root" / "file")
    mode = (tmp_path / "root" / "file").stat().st_mode
    with pytest.raises(ForeignFile):
        held.at("odd").set_mode(0o777)
    assert (tmp_path / "root" / "file").stat().st_mode == mode


def test_a_file_that_its_owner_may_not_open_gets_a_mode(held, tmp_path):
    (tmp_path / "root" / "file").chmod(0)
    held.at("file").set_mode(0o640)
    assert (tmp_path / "root" / "file").stat().st_mode & 0o777 == 0o640


def test_threads_list_one_directory_at_once(held, tmp_path):
    for number in range(500):
        (tmp_path / "root" / "inner" / str(number)).touch()
    inner = held / "inner"
    wrong: list[int] = []

    def look() -> None:
        wrong.extend(1 for _ in range(50) if len(inner.names()) != 501)

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_an_error_names_the_whole_path(held):
    with pytest.raises(FileNotFoundError) as caught:
        held.place("inner/none").unlink()
    assert caught.value.filename == f"{held.path}/inner/none"


def test_a_path_that_the_user_named_may_lead_through_links(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    os.close(outside(str(tmp_path / "link" / "new")).open(os.O_WRONLY | os.O_CREAT))
    assert (tmp_path / "new").exists()
    assert Directory(str(tmp_path / "link")).names() == ["link", "new"]


def test_a_directory_without_sync_is_no_error(held, monkeypatch):
    def unable(_: int) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "fsync", unable)
    held.sync()


def test_a_directory_in_the_way_of_a_file_is_named(held, tmp_path):
    with pytest.raises(ForeignFile, match=r"inner is a directory, not a file of the store, and is left alone"):
        held.at("file").rename(held.at("inner"))
    assert (tmp_path / "root" / "file").read_bytes() == b"data"
    assert (tmp_path / "root" / "inner" / "deep").is_dir()
