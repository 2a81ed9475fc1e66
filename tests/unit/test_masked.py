"""Secrets in the texts of a config are left out in a time that grows with the texts."""

from __future__ import annotations

import json

import pytest

from orlop.inside.masked import Mask
from orlop.model.image import Image
from tests.growing import growth, spent


def masked(text: str) -> str:
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}
    image = Image.from_json(json.dumps(config | {"history": [{"created_by": text, "empty_layer": True}]}).encode())
    return Mask(image)(text)


@pytest.mark.parametrize(
    "piece",
    ["a", "A", "_", "0", "a=", "=", "a ", "://", "a://", "http://a:b", ";Password=", "PASSWORD=", "AKIA", "eyJ"],
)
def test_a_long_text_of_one_kind_takes_as_long_as_it_is(piece: str) -> None:
    def worked(size: int) -> float:
        text = (piece * size)[:size]
        return spent(lambda: masked(text))

    assert growth(worked, 1 << 12, 1 << 15, below=24, least=0.001) < 24


def test_a_variable_in_the_middle_of_a_line_is_masked() -> None:
    assert masked("RUN MY_PASSWORD=hunter2hunter2 make") == "RUN MY_PASSWORD=hunt…(14 characters) make"
