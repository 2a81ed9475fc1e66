"""Nothing is written below a root that is read, whatever is to be written, and however the root is mounted."""

from __future__ import annotations

import subprocess
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop.cli.main import run
from orlop.errors import InvalidInput
from orlop.service import rescue_places
from orlop.service.rescue import rescue_archive, rescue_into, rescue_store
from orlop.store.blobs.memory import MemoryBlobStore
from orlop.store.root import Store
from orlop.store.rows.sqlite.memory import MemoryMetadata
from orlop.store.scratch import Scratch
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


def test_a_store_in_memory_lies_nowhere(root, monkeypatch):
    monkeypatch.chdir(root)
    with orlop.ImageService(Store(MemoryMetadata(), MemoryBlobStore())) as images:
        images.copy(f"root:{root}:{NAME}", "store:a")
        assert images.inspect("a").image.rootfs.diff_ids


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


def test_a_rescue_into_a_store_beyond_this_machine_keeps_its_temporary_files_out_of_the_root(root, capsys, monkeypatch):
    # No server is asked: it is refused before.
    monkeypatch.setenv("TMPDIR", str(root / "overlay2"))
    url = "postgresql://nobody@127.0.0.1:1/images?blobs=s3://bucket/team"
    refused(capsys, "--root", url, "rescue", root, "--into", "store")


@pytest.fixture
def tried(monkeypatch):
    """Return what tells Python where to look for a place of temporary files, as a new process does."""
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", None)

    def here(*directories: Path) -> None:
        monkeypatch.setattr(rescue_places, "_TEMPORARY", tuple(map(str, directories)))
        monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [*map(str, directories)])

    return here


def test_temporary_files_do_not_get_into_a_root_that_has_their_usual_place(root, tmp_path, capsys, tried):
    tried(root / "overlay2")
    refused(capsys, "copy", f"root:{root}:{NAME}", f"oci:{tmp_path}/layout")
    url = "postgresql://nobody@127.0.0.1:1/images?blobs=s3://bucket/team"
    refused(capsys, "--root", url, "rescue", root, "--into", "store")
    refused(capsys, "--root", url, "copy", f"root:{root}:{NAME}", "a")
    # A place that cannot be written is passed over, and the next one taken.
    tried(tmp_path / "none", root / "overlay2")
    refused(capsys, "copy", f"root:{root}:{NAME}", f"oci:{tmp_path}/layout")
    (tmp_path / "elsewhere").mkdir()
    tried(tmp_path / "elsewhere", root / "overlay2")
    assert run(["copy", f"root:{root}:{NAME}", f"oci:{tmp_path}/layout"]) == 0


@pytest.mark.parametrize(
    ("target", "store", "temporary"),
    [
        ("oci:{root}/overlay2/new", "{top}/store", "{top}"),
        ("store:a/b", "{root}/image/x", "{top}"),
        ("oci:{top}/layout", "{top}/store", "{root}/overlay2"),
    ],
)
def test_a_sync_from_a_root_writes_nothing_into_it(root, tmp_path, capsys, monkeypatch, target, store, temporary):
    place = {"root": root, "top": tmp_path}
    monkeypatch.setenv("TMPDIR", temporary.format(**place))
    plan = tmp_path / "plan.toml"
    plan.write_text(f'[[sync]]\nsource = "root:{root}:made/image"\ntarget = "{target.format(**place)}"\n')
    words = ["--root", store.format(**place), "sync", "--state", str(tmp_path / "state"), str(plan)]
    assert run(words) == 3
    assert "where orlop writes nothing" in capsys.readouterr().err
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    plan.write_text(f'[[sync]]\nsource = "root:{root}:made/image"\ntarget = "oci:{tmp_path}/layout"\n')
    assert run(["--root", str(tmp_path / "store"), *words[2:]]) == 0


def test_a_store_in_the_root_takes_no_sync_from_it(tmp_path):
    make_root(tmp_path / "docker", 1, {"a": b"b"})
    plan = tmp_path / "plan.toml"
    plan.write_text(f'[[sync]]\nsource = "root:{tmp_path / "docker"}:made/image"\ntarget = "store:a/b"\n')
    with orlop.open(tmp_path / "docker" / "store") as images:
        assert "where orlop writes nothing" in str(images.sync(plan).error)
    with orlop.open(tmp_path / "elsewhere") as images:
        assert images.sync(plan).error is None
        assert images.inspect("a/b:0").image.rootfs.diff_ids


@pytest.mark.parametrize("variable", ["ORLOP_SPOOL", "ORLOP_CACHE"])
def test_what_a_store_beyond_this_machine_keeps_here_does_not_get_into_the_root(root, capsys, monkeypatch, variable):
    monkeypatch.setenv(variable, str(root / "overlay2"))
    url = "postgresql://nobody@127.0.0.1:1/images?blobs=s3://bucket/team"
    refused(capsys, "--root", url, "rescue", root, "--into", "store")
    refused(capsys, "--root", url, "copy", f"root:{root}:{NAME}", "a")


def test_a_store_that_was_opened_before_has_its_scratch_outside_of_the_root(root):
    store = Store(MemoryMetadata(), MemoryBlobStore(), scratch=Scratch(str(root / "overlay2")))
    with pytest.raises(InvalidInput, match="lies in"):
        rescue_into(store, root)
    assert rescue_into(Store(MemoryMetadata(), MemoryBlobStore()), root).images[0].state == "rescued"
