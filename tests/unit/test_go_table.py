"""The table of Go names in docs/go-package.md is complete, and leads to what is there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

TOP = Path(__file__).parents[2]

#: Every name in the documentation of the Go package `image`, methods and fields with their type.
GO = """
TypeLayers DigestWalkFunc Exporter Exporter.Load Exporter.Save History History.Created History.Author History.CreatedBy
History.Comment History.EmptyLayer ID IDFromDigest ID.Digest ID.String Image Image.Parent Image.RootFS Image.History
Image.OSVersion Image.OSFeatures NewFromJSON Image.ID Image.ImageID Image.MarshalJSON Image.RawJSON Image.RunConfig
LayerGetReleaser LayerGetReleaser.Get LayerGetReleaser.Release RootFS RootFS.Type RootFS.DiffIDs NewRootFS RootFS.Append
RootFS.ChainID Store Store.Create Store.Get Store.Delete Store.Search Store.SetParent Store.GetParent Store.Children
Store.Map Store.Heads NewImageStore StoreBackend StoreBackend.Walk StoreBackend.Get StoreBackend.Set StoreBackend.Delete
StoreBackend.SetMetadata StoreBackend.GetMetadata StoreBackend.DeleteMetadata NewFSStoreBackend V1Image V1Image.ID
V1Image.Parent V1Image.Comment V1Image.Created V1Image.Container V1Image.ContainerConfig V1Image.DockerVersion
V1Image.Author V1Image.Config V1Image.Architecture V1Image.OS V1Image.Size
""".split()  # noqa: SIM905 - as the documentation lists them


@dataclass(frozen=True)
class Entry:
    """A name of orlop's, and the module that the table says it is in."""

    module: str
    name: str


def rows() -> list[tuple[str, str]]:
    text = (TOP / "docs" / "go-package.md").read_text()
    start = text.index("| Go | orlop |")
    lines = text[start:].rstrip().splitlines()[2:]
    found = []
    for line in lines:
        left, right = (cell.strip() for cell in line.strip("|").split(" | "))
        found.append((left, right))
    return found


def go_names() -> set[str]:
    """The Go names of the table; of "`T` with `A`, `B`" also `T.A` and `T.B`."""
    found = set()
    for left, _ in rows():
        for part in left.split(";"):
            owner, _, members = part.partition(" with ")
            names = re.findall(r"`([^`]+)`", owner)
            found |= {name.removeprefix("image.") for name in names}
            if members:
                found |= {f"{names[-1].removeprefix('image.')}.{name}" for name in re.findall(r"`([^`]+)`", members)}
    return found


def entries() -> Iterator[Entry]:
    for _, right in rows():
        module = ""
        for label, path, name in re.findall(r"\[`([^`]+)`\]\(([^)]+)\)|`([^`]+)`", right):
            if path:
                module = f"orlop.{label}"
                assert (TOP / "docs" / path).resolve() == TOP / "src" / Path(*module.split(".")).with_suffix(".py"), (
                    label
                )
            else:
                yield Entry(module, name)


@pytest.mark.parametrize("entry", sorted(set(entries()), key=str), ids=lambda entry: f"{entry.module}.{entry.name}")
def test_every_name_of_orlop_is_there(entry):
    found: Any = import_module(entry.module)
    for part in entry.name.split("."):
        found = getattr(found, part)


def test_every_name_of_go_has_its_counterpart():
    assert set(GO) - go_names() == set()


def test_every_row_says_something_on_both_sides():
    assert len(rows()) > 15
    for left, right in rows():
        assert "`" in left
        assert re.search(r"\)(: |, |$)", right), right
