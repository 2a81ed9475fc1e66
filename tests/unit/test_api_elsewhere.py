"""What orlop does not do: true answers, and errors that say so, never a hang."""

from __future__ import annotations

import pytest

import orlop
from tests.unit.served import served


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    with orlop.open(folder / "root") as images, served(images, folder) as client:
        yield client


@pytest.mark.parametrize(
    ("method", "path", "answer"),
    [
        ("GET", "/containers/json", []),
        ("GET", "/networks", []),
        ("GET", "/volumes", {"Volumes": [], "Warnings": None}),
        ("GET", "/plugins", []),
        ("POST", "/containers/prune", {"ContainersDeleted": None, "SpaceReclaimed": 0}),
        ("POST", "/networks/prune", {"NetworksDeleted": None}),
        ("POST", "/volumes/prune", {"VolumesDeleted": [], "SpaceReclaimed": 0}),
        ("POST", "/build/prune", {"CachesDeleted": None, "SpaceReclaimed": 0}),
    ],
)
def test_there_is_nothing_of_what_only_engines_have(client, method, path, answer):
    for prefix in ("", "/v1.24", "/v1.41"):
        found = client.ask(method, f"{prefix}{path}")
        assert (found.status, found.json) == (200, answer)


@pytest.mark.parametrize(
    ("method", "path", "message"),
    [
        ("GET", "/containers/x/json", "No such container: x"),
        ("POST", "/containers/x/start", "No such container: x"),
        ("POST", "/containers/x/exec", "No such container: x"),
        ("DELETE", "/containers/x", "No such container: x"),
        ("POST", "/commit?container=x", "No such container: x"),
        ("GET", "/exec/x/json", "No such exec instance: x"),
        ("GET", "/networks/x", "network x not found"),
        ("DELETE", "/volumes/x", "get x: no such volume"),
        ("GET", "/plugins/x/json", 'plugin "x" not found'),
        ("GET", "/nosuch", "page not found"),
        ("PUT", "/images/json", "page not found"),
        ("GET", "/", "page not found"),
        ("GET", "*", "page not found"),
    ],
)
def test_what_is_not_there_is_not_found(client, method, path, message):
    answer = client.ask(method, path)
    assert (answer.status, answer.message) == (404, message)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/containers/create"),
        ("POST", "/networks/create"),
        ("POST", "/volumes/create"),
        ("POST", "/plugins/pull"),
        ("POST", "/swarm/init"),
        ("POST", "/build"),
        ("POST", "/session"),
        ("POST", "/grpc"),
        ("POST", "/auth"),
        ("POST", "/images/some/name/push"),
        ("GET", "/images/search?term=x"),
        ("POST", "/images/create?fromImage=alpine&tag=latest"),
    ],
)
def test_what_only_engines_do_is_refused_with_a_sentence(client, method, path):
    answer = client.ask(method, path, body=b"{}" if method == "POST" else None)
    assert answer.status == 501
    assert "orlop" in answer.message


def test_a_connection_is_not_upgraded(client):
    headers = {"Connection": "Upgrade", "Upgrade": "h2c"}
    answer = client.post("/session", headers=headers)
    assert answer.status == 501
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("path", ["/swarm", "/nodes", "/services", "/tasks", "/secrets", "/configs/x"])
def test_there_is_no_swarm(client, path):
    answer = client.get(path)
    assert answer.status == 503
    assert answer.message.startswith("This node is not a swarm manager.")
