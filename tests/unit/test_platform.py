"""Platforms."""

from __future__ import annotations

import pytest

from orlop.errors import InvalidPlatform
from orlop.model.platform import Platform


@pytest.mark.parametrize(
    ("text", "platform"),
    [
        ("linux/amd64", Platform("linux", "amd64")),
        ("Linux/ARM64/v8", Platform("linux", "arm64", "v8")),
    ],
)
def test_platforms_are_read_and_written(text, platform):
    assert Platform.parse(text) == platform
    assert str(platform) == text.lower()


@pytest.mark.parametrize("text", ["", "linux", "linux/", "/amd64", "a/b/c/d", "linux/a b", "linux/amd64\n"])
def test_what_is_no_platform_is_refused(text):
    with pytest.raises(InvalidPlatform):
        Platform.parse(text)
