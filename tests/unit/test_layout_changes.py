"""Layouts in a directory that another program changes while they are read: what was read first counts, or nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from orlop import errors
from orlop.archive import oci
from tests.unit.artifacts import chart
from tests.unit.layouts import Layout, named, unpacked

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def two(folder: Path) -> tuple[Layout, dict[str, Any]]:
    """Write a layout of an image and a chart into a folder, and make another image that is not in its index yet."""
    layout = Layout()
    layout.top(layout.image("first", **named("app:1")), chart(layout) | named("chart:1"))
    other = layout.image("other", **named("app:1"))
    unpacked(layout.files, folder)
    return layout, other


def after_a_look(monkeypatch: pytest.MonkeyPatch, change: Callable[[], object]) -> None:
    """Change something as soon as it is known what a layout holds."""
    read = oci.read_images

    def changed(*given: Any, **options: Any) -> Any:
        offer = read(*given, **options)
        change()
        return offer

    monkeypatch.setattr(oci, "read_images", changed)


def path_of(folder: Path, descriptor: dict[str, Any]) -> Path:
    return folder / "blobs" / str(descriptor["digest"]).replace(":", "/")


def parts(folder: Path, number: int) -> list[Path]:
    """Return the files of the layers of an entry."""
    entry = json.loads((folder / "index.json").read_bytes())["manifests"][number]
    return [path_of(folder, layer) for layer in json.loads(path_of(folder, entry).read_bytes())["layers"]]


def test_another_index_does_not_count_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout, other = two(tmp_path / "in")
    first = json.loads(layout.files["index.json"])["manifests"][0]
    index = json.dumps({"schemaVersion": 2, "manifests": [other]}).encode()
    after_a_look(monkeypatch, lambda: (tmp_path / "in/index.json").write_bytes(index))
    with orlop.open(tmp_path / "root") as images:
        images.load(tmp_path / "in")
        [loaded] = images.images()
        assert first["digest"] in images.inspect(str(loaded.id)).manifests


@pytest.mark.parametrize("number", [0, 1], ids=["image", "chart"])
@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes() + b"x"),
        lambda path: path.write_bytes(bytes(len(path.read_bytes()))),
        lambda path: (path.unlink(), path.mkdir()),
        lambda path: (path.unlink(), path.symlink_to("/dev/zero")),
    ],
    ids=["gone", "cut", "grown", "other", "folder", "link"],
)
def test_what_is_not_as_it_was_is_refused_and_nothing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], object], number: int
) -> None:
    two(tmp_path / "in")
    [blob] = parts(tmp_path / "in", number)
    after_a_look(monkeypatch, lambda: change(blob))
    with orlop.open(tmp_path / "root") as images:
        with pytest.raises(errors.OrlopError) as raised:
            images.load(tmp_path / "in")
        assert len(str(raised.value).splitlines()) == 1
        assert (images.images(all=True), images.tree()) == ([], ())
        images.gc()
    kept = [path for name in ("blobs", "toc", "ingest") for path in (tmp_path / "root" / name).rglob("*")]
    assert [path for path in kept if path.is_file()] == []


def test_the_same_content_again_makes_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two(tmp_path / "in")
    [blob] = parts(tmp_path / "in", 0)

    def replace() -> None:
        new = blob.with_name("new")
        new.write_bytes(blob.read_bytes())
        new.replace(blob)

    after_a_look(monkeypatch, replace)
    with orlop.open(tmp_path / "root") as images:
        assert len(images.load(tmp_path / "in").images) == 1
