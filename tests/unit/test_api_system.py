"""What a server says of itself: versions, the use of the disk, metrics."""

from __future__ import annotations

import re

import pytest

import orlop
from tests.unit.served import served


@pytest.fixture
def images(tmp_path, data):
    with orlop.open(tmp_path / "root") as images:
        images.load(data / "dockerd-20.10-overlay2" / "multi.tar")
        yield images


@pytest.fixture
def client(images, tmp_path):
    with served(images, tmp_path) as client:
        yield client


def test_the_versions_of_server_and_api_are_told(client):
    version = client.get("/version").json
    assert (version["Version"], version["ApiVersion"], version["MinAPIVersion"]) == (orlop.__version__, "1.55", "1.24")
    assert version["Os"] == "linux"


def test_the_server_says_what_it_holds_and_where(client, images):
    info = client.get("/info").json
    assert (info["Images"], info["DockerRootDir"], info["ServerVersion"]) == (3, images.root, orlop.__version__)
    assert (info["Containers"], info["NEventsListener"]) == (0, 0)
    assert ["Read-only", "false"] in info["DriverStatus"]


def test_the_use_of_the_disk_is_told(client):
    old, new = client.get("/v1.41/system/df").json, client.get("/system/df").json
    assert old["LayersSize"] == sum(image["Size"] - image["SharedSize"] for image in old["Images"]) + 3108
    assert len(old["Images"]) == new["ImageUsage"]["TotalCount"] == 3
    assert client.get("/v1.42/system/df", {"type": "container"}).json["Images"] is None
    assert client.get("/v1.42/system/df", {"type": "nosuch"}).status == 400


def test_nameless_images_are_pruned(client, images):
    assert client.post("/images/prune").json == {"ImagesDeleted": None, "SpaceReclaimed": 0}
    deleted = client.post("/images/prune", {"filters": '{"dangling":["false"],"label":["x=y"]}'}).json
    assert {"Untagged": "example/imported:latest"} in deleted["ImagesDeleted"]
    assert deleted["SpaceReclaimed"] == 106
    assert client.post("/images/prune", {"filters": '{"nosuch":["x"]}'}).status == 400


def samples(text: str) -> dict[str, float]:
    """Read the text format of Prometheus, and see that it is that."""
    found: dict[str, float] = {}
    kinds: dict[str, str] = {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in kinds
            kinds[name] = kind
        elif not line.startswith("# HELP "):
            match = re.fullmatch(r"([a-z_]+)(\{(?:[a-z]+=\"[^\"\\]*\",?)+\})? ([0-9.e+-]+)", line)
            assert match is not None, line
            assert re.sub("_(bucket|sum|count)$", "", match[1]) in kinds or match[1] in kinds
            found[match[1] + (match[2] or "")] = float(match[3])
    assert text.endswith("\n")
    return found


def test_requests_are_counted_by_what_they_asked_for(client):
    client.get("/images/example/tiny:1.0/json")
    client.get("/v1.41/images/example/imported/json")
    client.get("/images/nosuch/json")
    client.get("/anything/at/all")
    saved = client.get("/images/example/tiny:1.0/get").body
    answer = client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found = samples(answer.body.decode())
    labels = 'route="/images/{name}/json",method="GET"'
    assert found[f'orlop_http_requests_total{{{labels},status="200"}}'] == 2
    assert found[f'orlop_http_requests_total{{{labels},status="404"}}'] == 1
    assert found['orlop_http_requests_total{route="other",method="GET",status="404"}'] == 1
    assert found['orlop_http_request_seconds_count{route="/images/{name}/json"}'] == 3
    assert found['orlop_http_request_seconds_bucket{route="/images/{name}/json",le="+Inf"}'] == 3
    assert found["orlop_http_sent_bytes_total"] >= len(saved)
    assert found["orlop_http_requests_active"] == 1
    assert (found["orlop_store_images"], found["orlop_store_names"]) == (3, 3)
    assert found["process_resident_memory_bytes"] > 1 << 20
    assert found["process_open_fds"] > 3
