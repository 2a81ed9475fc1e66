"""Whatever a layout holds goes to a registry, and from there every way to another repository, with all its digests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orlop.errors import OrlopError
from tests.unit.layouts import Layout, unpacked
from tests.unit.odd_layouts import CASES
from tests.unit.pushed import placed
from tests.unit.synced import sync

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.unit.pushed import Place

REFUSED = {
    "a_platform_that_is_elsewhere": "lacks the manifest sha256:[0-9a-f]+ for linux/arm64, which its index names",
    "data_without_a_blob": "lacks the blob sha256:[0-9a-f]+, which a manifest in it names; copy from",
    "a_blob_alone": "which a registry keeps for manifests only",
    "buildkit_cache": "MANIFEST_BLOB_UNKNOWN",
}
"""What does not get into this registry, and why: it lacks something, or the registry takes no index of blobs."""
LEFT_OUT = {
    "layers_that_are_elsewhere": "its layers are at another host",
    "foreign_layers_that_are_here": "the same: such layers are not pushed",
    "a_withdrawn_manifest": "registries are asked for types that they still know",
    "a_manifest_of_a_type_to_come": "the same",
    "manifests_of_schema_1": "the same",
}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with placed(tmp_path / "root") as found:
        yield found


def copied(place: Place, source: str, target: str) -> None:
    place.images.copy(source, target, place.registries, all_platforms=True, referrers=True)


def through_a_store(place: Place, source: str, target: str, folder: Path) -> None:
    place.images.pull(source, place.registries, platform="all", exact=True, referrers=True)
    place.images.copy(f"store:{source}", f"store:{target}", place.registries, all_platforms=True, referrers=True)
    place.images.push([target], place.registries, platform="all", referrers=True)


def by(form: str) -> Callable[[Place, str, str, Path], None]:
    def way(place: Place, source: str, target: str, folder: Path) -> None:
        between = form.format(folder=folder, source=source)
        copied(place, f"docker://{source}", between)
        copied(place, between, f"docker://{target}")

    return way


def by_sync(place: Place, source: str, target: str, folder: Path) -> None:
    (at, tag), (to, _) = source.rsplit(":", 1), target.rsplit(":", 1)
    plan = f'[[sync]]\nsource = "docker://{at}"\ntarget = "docker://{to}"\ntags = ["{tag}"]\nreferrers = true\n'
    for one in sync(place, plan).tags:
        if one.error is not None:
            raise one.error


def straight(place: Place, source: str, target: str, folder: Path) -> None:
    copied(place, f"docker://{source}", f"docker://{target}")


WAYS = {
    "store": through_a_store,
    "layout": by("oci:{folder}/between:{source}"),
    "archive": by("oci-archive:{folder}/between.tar:{source}"),
    "registry": straight,
    "sync": by_sync,
}


def held(place: Place, repository: str) -> tuple[dict[str, str], set[str], dict[str, str]]:
    """Return all manifests with their types, the blobs, and the tags."""
    there = place.there.repository(repository)
    return {digest: kind for digest, (kind, _) in there.manifests.items()}, set(there.blobs), there.tags


@pytest.mark.sampled(36)
@pytest.mark.parametrize("name", [name for name in CASES if name not in REFUSED | LEFT_OUT])
def test_it_goes_every_way(place: Place, tmp_path: Path, name: str):
    layout = Layout()
    tops = CASES[name](layout)
    unpacked(layout.top(*tops).files, tmp_path / "in")
    for number in range(len(tops)):
        source = place.name(f"from{number}:{number}")
        copied(place, f"oci:{tmp_path}/in:@{number}", f"docker://{source}")
        wanted = held(place, f"from{number}")
        assert wanted[0]
        for way, carry in WAYS.items():
            folder = tmp_path / f"{way}{number}"
            folder.mkdir()
            carry(place, source, place.name(f"{way}{number}:{number}"), folder)
            assert held(place, f"{way}{number}") == wanted, way


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_go_is_refused_before_there_is_a_tag(place: Place, tmp_path: Path, name: str):
    layout = Layout()
    unpacked(layout.top(*CASES[name](layout)).files, tmp_path / "in")
    with pytest.raises(OrlopError, match=REFUSED[name]) as caught:
        copied(place, f"oci:{tmp_path}/in:@0", f"docker://{place.name('app:1')}")
    assert caught.value.exit_code == (4 if "lacks" in REFUSED[name] else 3 if name == "a_blob_alone" else 1)
    assert place.there.repository("app").tags == {}
