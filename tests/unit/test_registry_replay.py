"""A registry answers what the specification's own program asks, step by step; see `tests.unit.replay`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import orlop
from tests.unit.hosted import hosting
from tests.unit.replay import KINDS, Replay, made
from tests.unit.replay_older import older

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def replay(images: orlop.ImageService, tmp_path: Path) -> Iterator[Replay]:
    with hosting(images, tmp_path) as client:
        yield Replay(client)
        images.gc()
        assert orlop.stores.fsck(images.root).problems == ()


def test_a_registry_that_has_nothing(replay):
    replay.nothing()


@pytest.mark.sampled(2)
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_blobs_in_every_way(replay, algorithm):
    replay.blobs(algorithm)


@pytest.mark.sampled(12)
@pytest.mark.parametrize("kind", KINDS)
def test_content_of_every_kind_is_pushed_found_read_and_deleted(replay, kind):
    replay.round(made(kind))


def test_what_is_wrong_or_not_there(replay):
    replay.errors()


@pytest.mark.sampled(2)
@pytest.mark.parametrize("blobs_first", [False, True])
def test_the_whole_sequence_of_1_1_on_one_repository(replay, blobs_first):
    older(replay, blobs_first=blobs_first)
