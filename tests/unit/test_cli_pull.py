"""`orlop pull` as a command."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orlop.testing.registry.fake import FakeRegistry
from tests.unit.artifacts import chart, signature
from tests.unit.layouts import Layout
from tests.unit.pulling import REPOSITORY, command, push

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as found:
        yield found


@pytest.mark.sampled(2)
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


@pytest.mark.sampled(2)
def test_a_pull_that_fails_is_told_in_one_sentence(registry: FakeRegistry, tmp_path: Path):
    done = command(tmp_path, "pull", "-q", f"{registry.authority}/{REPOSITORY}:nosuch")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (4, "", 1)
    assert done.stderr.startswith("Error: ")
    for arguments in (["pull"], ["pull", "--platform", "linux/arm64", "--all-platforms", "x"]):
        assert command(tmp_path, *arguments).returncode == 2
    assert command(tmp_path, "pull", "sha256:" + "0" * 64).returncode == 3


@pytest.mark.sampled(3)
def test_referrers_and_artifacts_come_and_go_by_their_names(registry: FakeRegistry, tmp_path: Path):
    layout, charts = Layout(), Layout()
    image = layout.image("one")
    signed = signature(layout, image)
    digest, name = push(registry, layout, image, "1"), f"{registry.authority}/{REPOSITORY}"
    found = push(registry, charts, chart(charts), "1", "charts/one")
    done = command(tmp_path, "pull", "--referrers", f"{name}:1")
    assert "Pulled 1 artifact that refers to it" in done.stdout.splitlines()
    done = command(tmp_path, "pull", f"{registry.authority}/charts/one:1")
    assert f"Status: Downloaded newer artifact for {registry.authority}/charts/one:1" in done.stdout.splitlines()
    assert f"{registry.authority}/charts/one:1" in command(tmp_path, "images", "--tree").stdout
    registry.repository(REPOSITORY).manifests.clear()
    registry.repository("charts/one").manifests.clear()
    done = command(tmp_path, "push", "--referrers", f"{name}:1", f"{registry.authority}/charts/one:1")
    assert done.stdout.splitlines()[-1] == "Pushed 1 artifact that refers to them"
    assert registry.repository(REPOSITORY).manifests.keys() == {digest, signed["digest"]}
    assert registry.repository("charts/one").manifests.keys() == {found}
