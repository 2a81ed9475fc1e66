"""Nothing is written below a root that is read, whatever is to be written, and however the root is mounted."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop.cli.main import run
from orlop.errors import InvalidInput
from orlop.service.rescue import rescue_archive, rescue_store
from orlop.streams.filesystems import place_on_disk
from tests.foreign_roots import make_root, snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME = "made/image:0"


@pytest.fixture
def root(tmp_path):
    make_root(tmp_path / "docker", 1, {"a": b"b"})
    before = snapshot(tmp_path / "docker")
    yield tmp_path / "docker"
    assert snapshot(tmp_path / "docker") == before


@contextmanager
def mounted(what: Path, where: Path) -> Iterator[Path]:
    where.mkdir()
    subprocess.run(["mount", "--bind", what, where], check=True)
    try:
        yield where
    finally:
        subprocess.run(["umount", "-l", where], check=True)


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> None:
    assert run([str(word) for word in words]) == 3
    assert "where orlop writes nothing" in capsys.readouterr().err


def test_a_copy_makes_no_store_in_the_root(root, capsys):
    refused(capsys, "--root", root / "x", "copy", f"root:{root}:{NAME}", "store:a")
    refused(capsys, "--root", root / "image" / "x", "copy", f"root:{root}", "a")
    refused(capsys, "--root", root / "x", "rescue", root, "--into", "store")


def test_a_store_that_lies_in_the_root_is_not_written(tmp_path, capsys):
    make_root(tmp_path / "docker", 1, {"a": b"b"})
    with orlop.open(tmp_path / "docker" / "store") as images, pytest.raises(InvalidInput, match="lies in"):
        images.copy(f"root:{tmp_path / 'docker'}:{NAME}", "store:a")
    refused(capsys, "--root", tmp_path / "docker" / "store", "copy", f"root:{tmp_path / 'docker'}:{NAME}", "store:a")


def test_a_copy_to_elsewhere_does_not_mind_where_the_store_would_be(root, tmp_path):
    assert run(["--root", str(root / "x"), "copy", f"root:{root}:{NAME}", f"oci:{tmp_path}/layout"]) == 0


@pytest.mark.parametrize("variable", ["TMPDIR", "TEMP", "TMP"])
def test_temporary_files_do_not_get_into_the_root(root, tmp_path, capsys, monkeypatch, variable):
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(root))
    refused(capsys, "copy", f"root:{root}:{NAME}", f"oci:{tmp_path}/layout")


@pytest.mark.parametrize("kind", ["oci", "oci-archive", "docker-archive", "dir"])
def test_a_copy_writes_no_target_through_a_link_into_the_root(root, tmp_path, capsys, kind):
    (tmp_path / "link").symlink_to(root / "image")
    for target in (tmp_path / "link" / "new", root / "overlay2" / ".." / "new"):
        refused(capsys, "copy", f"root:{root}:{NAME}", f"{kind}:{target}")


@pytest.mark.needs("mounts")
def test_what_is_mounted_of_the_root_is_in_it(root, tmp_path, capsys):
    with mounted(root / "image", tmp_path / "part") as part:
        with pytest.raises(InvalidInput, match="lies in"):
            rescue_archive(part / "new.tar", root)
        with pytest.raises(InvalidInput, match="lies in"):
            rescue_store(part / "overlay2" / "new", root)
        refused(capsys, "rescue", root, "--parts", part / "new")
        refused(capsys, "--root", part / "x", "copy", f"root:{root}", "store:a")
    with mounted(tmp_path, tmp_path / "more") as more, pytest.raises(InvalidInput, match="lies in"):
        rescue_archive(more / "docker" / "image" / "new.tar", root)


@pytest.mark.needs("mounts")
def test_a_path_has_one_place_on_its_disk_however_it_is_mounted(tmp_path):
    (tmp_path / "a b" / "c").mkdir(parents=True)
    whole = place_on_disk(str(tmp_path / "a b" / "c" / "new"))
    with mounted(tmp_path / "a b", tmp_path / "elsewhere") as elsewhere:
        assert place_on_disk(str(elsewhere / "c" / "new")) == whole
        assert place_on_disk(str(elsewhere)) == place_on_disk(str(tmp_path / "a b"))


def test_where_a_path_is_may_be_unknown(tmp_path):
    assert place_on_disk(str(tmp_path), proc=str(tmp_path)) is None
