"""`orlop tags` and `orlop manifest`: looks into registries."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from orlop.testing.registry.fake import FakeRegistry
from orlop.transfer.places import Kind
from tests.unit.artifacts import chart
from tests.unit.layouts import Layout, sha256
from tests.unit.pulling import REPOSITORY, command, push

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.mark.sampled(3)
def test_looks_fetch_no_layer_and_need_no_store(tmp_path: Path):
    with FakeRegistry() as registry:
        layout = Layout()
        image = layout.image("one", architecture="s390x", platform=True)
        digest = push(registry, layout, layout.index(image), "1")
        name = f"docker://{registry.authority}/{REPOSITORY}"
        assert command(tmp_path, "tags", name).stdout == "1\n"
        index = command(tmp_path, "manifest", f"{name}:1").stdout.encode()
        assert index == layout.files[f"blobs/sha256/{digest[7:]}"]
        found = command(tmp_path, "manifest", "--platform", "linux/s390x", f"{name}:1").stdout.encode()
        assert found == layout.files["blobs/" + image["digest"].replace(":", "/")]
        assert command(tmp_path, "manifest", "--platform", "linux/arm64", f"{name}:1").returncode == 4
        assert sum("/blobs/" in one.path for one in registry.requests) == 1
        assert not (tmp_path / "root").exists()


@pytest.mark.sampled(3)
@pytest.mark.parametrize("verb", ["tags", "manifest", "pull"])
def test_a_place_that_is_not_a_registry_is_not_asked_for_there(tmp_path: Path, verb: str):
    places = [f"{kind.value}:x" for kind in Kind if kind is not Kind.REGISTRY]
    for place in (*places, "oci:./some/folder:1", "docker-daemon:x", "containers-storage:x"):
        result = command(tmp_path, verb, place)
        assert (result.returncode, result.stdout) == (3, "")
        assert f"{place!r} is not in a registry" in result.stderr
    assert not (tmp_path / "root").exists()


@pytest.mark.sampled(2)
def test_a_name_to_pull_may_say_that_it_is_in_a_registry(tmp_path: Path, shown: tuple[FakeRegistry, str, Layout]):
    _, name, _ = shown
    plain = name.removeprefix("docker://")
    assert command(tmp_path, "pull", "-q", "--platform", "linux/arm64", name).stdout == f"{plain}\n"
    assert plain in command(tmp_path, "images", "--format", "{{.Repository}}:{{.Tag}}").stdout


@pytest.fixture
def shown(tmp_path: Path) -> Iterator[tuple[FakeRegistry, str, Layout]]:
    with FakeRegistry() as registry:
        layout = Layout()
        children = [layout.image(arch, "more", architecture=arch, platform=True) for arch in ("amd64", "arm64")]
        push(registry, layout, layout.index(*children), "1")
        yield registry, f"docker://{registry.authority}/{REPOSITORY}:1", layout


def layers(registry: FakeRegistry) -> list[str]:
    """Return the requests for anything but manifests and configs, and which requests there were."""
    found = [one.path for one in registry.requests if "/blobs/" in one.path]
    blobs = registry.repository(REPOSITORY).blobs
    return [path for path in found if not blobs[path.rpartition("/")[2]].startswith(b"{")]


@pytest.mark.sampled(3)
def test_an_image_is_inspected_without_its_layers(tmp_path: Path, shown: tuple[FakeRegistry, str, Layout]):
    registry, name, _ = shown
    (details,) = json.loads(command(tmp_path, "inspect", "--platform", "linux/arm64", name).stdout)
    assert details["Architecture"] == "arm64"
    assert details["RepoTags"] == [name.removeprefix("docker://")]
    assert details["RepoDigests"][0].endswith(registry.repository(REPOSITORY).tags["1"])
    manifest = json.loads(command(tmp_path, "manifest", "--platform", "linux/arm64", name).stdout)
    assert details["Size"] == sum(one["size"] for one in manifest["layers"])
    assert details["Id"] == manifest["config"]["digest"]
    raw = command(tmp_path, "inspect", "--raw", "--platform", "linux/arm64", name).stdout.encode()
    assert sha256(raw) == manifest["config"]["digest"]
    line = command(tmp_path, "inspect", "-f", "{{.Os}}/{{.Architecture}}", "--platform", "linux/arm64", name).stdout
    assert line == "linux/arm64\n"
    assert layers(registry) == []
    registry.requests.clear()
    command(tmp_path, "inspect", "--platform", "linux/arm64", name)
    assert [one.method for one in registry.requests] == ["GET"] * 3
    assert not (tmp_path / "root").exists()


def test_a_history_is_shown_without_its_layers(tmp_path: Path, shown: tuple[FakeRegistry, str, Layout]):
    registry, name, _ = shown
    rows = command(tmp_path, "history", "--platform", "linux/arm64", "--format", "json", name)
    assert rows.returncode == 0
    assert layers(registry) == []
    assert len(registry.requests) == 3


@pytest.mark.sampled(2)
def test_all_platforms_of_an_index_are_listed_without_layers(tmp_path: Path, shown: tuple[FakeRegistry, str, Layout]):
    registry, name, _ = shown
    rows = [json.loads(line) for line in command(tmp_path, "images", "--format", "json", name).stdout.splitlines()]
    assert len({row["ID"] for row in rows}) == 2
    assert {row["Tag"] for row in rows} == {"1"}
    assert layers(registry) == []
    assert len(registry.requests) == 5
    one = command(tmp_path, "images", "-q", "--no-trunc", "--platform", "linux/arm64", name).stdout
    details = json.loads(command(tmp_path, "inspect", "--platform", "linux/arm64", name).stdout)
    assert one == details[0]["Id"] + "\n"
    assert not (tmp_path / "root").exists()


@pytest.mark.sampled(3)
def test_what_cannot_be_looked_at_is_one_sentence(tmp_path: Path, shown: tuple[FakeRegistry, str, Layout]):
    registry, name, layout = shown
    push(registry, layout, chart(layout), "chart")
    for words, status in {
        ("inspect", name + "0"): 4,
        ("inspect", name.replace(":1", ":chart")): 4,
        ("inspect", "--platform", "linux/s390x", name): 4,
        ("inspect", name, "alpine"): 2,
        ("history", "--archive", "x.tar", name): 2,
        ("images", "--platform", "linux/arm64", "alpine"): 2,
        ("images", "--filter", "dangling=true", name): 2,
    }.items():
        result = command(tmp_path, *words)
        assert result.returncode == status, (words, result.stderr)
        assert "Traceback" not in result.stderr
    assert not (tmp_path / "root").exists()
