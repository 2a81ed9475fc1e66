"""`POST /images/create` with `fromImage`: docker's lines, and credentials that the client presents."""

from __future__ import annotations

import base64
import json
import time
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.layouts import Layout
from tests.unit.pulling import REPOSITORY, pulling, push
from tests.unit.served import Client, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.unit.pulling import Pulled

ME = {"username": "me", "password": "secret"}


@contextmanager
def served(folder: Path, **options: Any) -> Iterator[tuple[Pulled, Client]]:
    with pulling(folder, **options) as there:
        there.images.network = lambda keychain: nullcontext(there.registries.as_user(keychain))
        socket = folder / "s"
        with serving(there.images, f"unix://{socket}"):
            yield there, Client(str(socket))


def auth(document: object) -> dict[str, str]:
    return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(document).encode()).decode()}


def test_a_pull_is_told_as_engines_tell_it(tmp_path: Path):
    layout = Layout()
    with served(tmp_path) as (there, client):
        digest = push(there.registry, layout, layout.image("one", "two"), "1")
        image = there.name().rpartition(":")[0]
        answer = client.post("/images/create", {"fromImage": image, "tag": "1"})
        assert answer.status == 200
        lines = answer.lines
        assert lines[0] == {"status": f"Pulling from {REPOSITORY}", "id": "1"}
        # Layers are called as the registry calls them.
        manifest = json.loads(layout.files["blobs/" + digest.replace(":", "/")])
        blobs = [layer["digest"].removeprefix("sha256:")[:12] for layer in manifest["layers"]]
        assert sorted(line["id"] for line in lines if line["status"] == "Pull complete") == sorted(blobs)
        assert lines[-2:] == [
            {"status": f"Digest: {digest}"},
            {"status": f"Status: Downloaded newer image for {there.name()}"},
        ]
        told = client.get("/events", {"since": "1", "until": str(time.time()), "filters": '{"event":["pull"]}'}).lines
        assert [one["Actor"] for one in told] == [{"ID": there.name(), "Attributes": {"name": image}}]
        again = client.post("/images/create", {"fromImage": image, "tag": digest}).lines
        # Of an image that is there nothing is told but that.
        assert [line["status"].partition(" ")[0] for line in again] == ["Pulling", "Digest:", "Status:"]
        assert again[-1]["status"].startswith("Status: Image is up to date for")
        assert client.get(f"/images/{there.name()}/json").json["RepoDigests"] == [f"{image}@{digest}"]


def test_layers_that_are_there_are_told_of_a_new_image(tmp_path: Path):
    layout = Layout()
    with served(tmp_path) as (there, client):
        push(there.registry, layout, layout.image("one", "two"), "1")
        push(there.registry, layout, layout.image("one"), "part")
        push(there.registry, layout, layout.image("one", "three"), "other")
        statuses = {}
        for tag in ("1", "part", "other"):
            lines = client.post("/images/create", {"fromImage": there.name(tag)}).lines
            statuses[tag] = sorted(line["status"].partition(":")[0] for line in lines if "progress" not in line)
        assert "Already exists" not in statuses["1"]
        assert [statuses[tag].count("Already exists") for tag in ("part", "other")] == [1, 1]
        assert [statuses[tag].count("Pull complete") for tag in ("part", "other")] == [0, 1]


def test_without_a_tag_all_tags_are_pulled(tmp_path: Path):
    layout = Layout()
    with served(tmp_path) as (there, client):
        for tag in ("1", "2"):
            push(there.registry, layout, layout.image(tag), tag)
        client.post("/images/create", {"fromImage": there.name().rpartition(":")[0]})
        tags = {name for image in client.get("/images/json").json for name in image["RepoTags"]}
        assert tags == {there.name("1"), there.name("2")}


@pytest.mark.parametrize("kind", ["basic", "bearer"])
def test_credentials_are_those_of_the_client(tmp_path: Path, kind: str):
    layout = Layout()
    with served(tmp_path, users={"me": "secret"}, auth=kind) as (there, client):
        push(there.registry, layout, layout.image("one"), "1")
        image = there.name()
        refused = client.post("/images/create", {"fromImage": image})
        assert refused.status in {401, 403, 404}
        assert "secret" not in refused.message
        for header in ({"X-Registry-Auth": "not base64!"}, auth([1]), auth({"username": "me", "password": "wr0ng"})):
            assert client.post("/images/create", {"fromImage": image}, headers=header).status in {401, 403, 404}
        answer = client.post("/images/create", {"fromImage": image}, headers=auth(ME))
        assert answer.status == 200
        assert "Digest" in answer.lines[-2]["status"]


def test_what_fails_in_the_middle_is_told_in_the_last_line(tmp_path: Path):
    layout = Layout()
    with served(tmp_path, tries=1) as (there, client):
        push(there.registry, layout, layout.image("one"), "1")
        there.images.pull(there.name(), registries=there.registries)
        push(there.registry, layout, layout.image("one", "two"), "1")
        there.quirks(corrupt=True)
        answer = client.post("/images/create", {"fromImage": there.name()})
        assert answer.status in {200, 400, 500, 502}
        there.quirks()
        missing = client.post("/images/create", {"fromImage": there.name(), "tag": "nosuch"})
        assert missing.status == 404
