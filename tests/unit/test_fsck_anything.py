"""Stores in which anything is damaged: a repair ends well, loses nothing, says the truth. `ORLOP_LONG=1` tries more."""

from __future__ import annotations

import io
import os
import shutil
from collections import Counter
from random import Random
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop import errors, stores
from orlop.model.digest import ImageID
from tests.unit.damage import PACKED, PLAIN, anything, copied, found, layout

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

SEEDS = 2_000 if os.environ.get("ORLOP_LONG") else 10


def archives(data: Path) -> list[Path | BinaryIO]:
    names = ["dockerd-20.10-overlay2/parent-child.tar", "dockerd-29-overlay2/multi.tar"]
    packed = [layout(PLAIN, "both", compress=False), layout(PACKED, "both", "only", compress=True)]
    files = [*names, "other-tools/skopeo-oci-archive-zstd.tar"]
    return [*(data / name for name in files), *map(io.BytesIO, packed)]


def saved(root: Path) -> dict[ImageID, bytes]:
    """Every image that has an ID and can be saved, as it is saved from a copy."""
    copy, images = copied(root, root.with_name("copy")), dict[ImageID, bytes]()
    try:
        with orlop.open(copy) as service:
            for image in [one for one in service.image_store.ids() if one.is_valid]:
                out = io.BytesIO()
                try:
                    service.save([str(image)], out)
                except errors.OrlopError:
                    continue
                images[image] = out.getvalue()
    except errors.StoreDamaged:
        pass  # the rows hold something that keeps everybody from letting go of a layer
    shutil.rmtree(copy)
    return images


@pytest.mark.sampled(8)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_repair_loses_nothing_and_says_the_truth(data, whole, tmp_path, seed):
    chance = Random(seed)
    root = copied(whole, tmp_path / "root")
    damage = [anything(root, chance) for _ in range(chance.randint(1, 6))]
    print(*damage, sep="\n")
    before = saved(root)
    report = stores.fsck(root, repair=True, sources=archives(data) if seed % 2 else ())
    after = saved(root)
    assert {image: after.get(image) for image in before} == before
    assert max(Counter(found(report.found)).values(), default=0) <= 1
    again = stores.fsck(root, repair=True)
    assert (again.repairs, found(again.damage)) == ((), found(report.damage))
    if not report.damage:
        assert saved(root).keys() >= before.keys()
