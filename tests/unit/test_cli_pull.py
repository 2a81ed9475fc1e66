"""`orlop pull` as a command."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orlop.testing.registry.fake import FakeRegistry
from tests.unit.layouts import Layout
from tests.unit.pulling import REPOSITORY, command, push

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as found:
        yield found


def test_a_pull_ends_with_dockers_words(registry: FakeRegistry, tmp_path: Path):
    layout = Layout()
    digest = push(registry, layout, layout.image("one"), "latest")
    name = f"{registry.authority}/{REPOSITORY}"
    done = command(tmp_path, "pull", name)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "Using default tag: latest",
        f"latest: Pulling from {REPOSITORY}",
        f"Digest: {digest}",
        f"Status: Downloaded newer image for {name}:latest",
        f"{name}:latest",
    ]
    assert command(tmp_path, "pull", "-q", f"{name}@{digest}").stdout == f"{name}@{digest}\n"
    assert command(tmp_path, "images", "-q").stdout


def test_a_pull_that_fails_is_told_in_one_sentence(registry: FakeRegistry, tmp_path: Path):
    done = command(tmp_path, "pull", "-q", f"{registry.authority}/{REPOSITORY}:nosuch")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (4, "", 1)
    assert done.stderr.startswith("Error: ")
    for arguments in (["pull"], ["pull", "--platform", "linux/arm64", "--all-platforms", "x"]):
        assert command(tmp_path, *arguments).returncode == 2
    assert command(tmp_path, "pull", "sha256:" + "0" * 64).returncode == 3
