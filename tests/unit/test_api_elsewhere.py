"""What orlop does not do: true answers, and errors that say so, never a hang."""

from __future__ import annotations

import json

import pytest

import orlop
from tests.unit.served import served


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    with orlop.open(folder / "root") as images, served(images, folder) as client:
        yield client


EARLY = {
    1: """invalid value for filter 'dangling', must be "true" (or "1"), or "false" (or "0")""",
    2: 'got more than one value for filter key "dangling"',
}


@pytest.mark.parametrize(
    ("method", "path", "answer"),
    [
        ("GET", "/containers/json", []),
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
        ("POST", "/containers/x/kill", "cannot kill container: x: No such container: x"),
        ("POST", "/v1.41/containers/x/kill", "Cannot kill container: x: No such container: x"),
        ("GET", "/exec/x/json", "No such exec instance: x"),
        ("GET", "/networks/x", "network x not found"),
        ("GET", "/networks/x/y", "network x/y not found"),
        ("DELETE", "/volumes/x", "get x: no such volume"),
        ("GET", "/volumes/", "get: no such volume"),
        ("GET", "/plugins/x/json", 'plugin "x" not found'),
        ("GET", "/nosuch", "page not found"),
        ("PUT", "/images/json", "page not found"),
        ("GET", "/", "page not found"),
        ("DELETE", "/networks/x", "network x not found"),
        ("DELETE", "/containers/json", "No such container: json"),
        ("DELETE", "/containers/x/json", "No such container: x/json"),
    ],
)
def test_what_is_not_there_is_not_found(client, method, path, message):
    answer = client.ask(method, path)
    assert (answer.status, answer.message) == (404, message)


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/containers", ""),
        ("/containers/json", "GET DELETE"),
        ("/containers/create", "POST DELETE"),
        ("/containers/x", "DELETE"),
        ("/containers/x/json", "GET DELETE"),
        ("/containers/x/start", "POST DELETE"),
        ("/exec/x", ""),
        ("/exec/x/json", "GET"),
        ("/networks", "GET"),
        ("/networks/x/connect", "GET POST DELETE"),
        ("/plugins", "GET"),
        ("/plugins/pull", "POST DELETE"),
        ("/plugins/privileges", "GET DELETE"),
        ("/volumes", "GET"),
        ("/volumes/x", "GET PUT DELETE"),
        ("/swarm", "GET"),
        ("/swarm/leave", "POST"),
        ("/swarm/nosuch", ""),
        ("/nodes", "GET"),
        ("/nodes/x", "GET DELETE"),
        ("/services/x/logs", "GET"),
        ("/services/create", "POST GET DELETE"),
        ("/tasks/x", "GET"),
        ("/build", "POST"),
        ("/session", "POST"),
    ],
)
def test_a_page_that_engines_do_not_have_either_is_not_found(client, path, methods):
    tried = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "FOO")
    missing = [method for method in tried if client.ask(method, path).status == 404]
    answers = {method: client.ask(method, path) for method in missing if method != "HEAD"}
    assert {*methods.split()} == {*tried} - {
        *({"HEAD"} & {*missing}),
        *(method for method, answer in answers.items() if answer.message == "page not found"),
    }


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
    assert "upgrade" not in answer.headers


def test_a_swarm_that_was_not_joined_cannot_be_left(client):
    answer = client.post("/swarm/leave")
    assert (answer.status, answer.message) == (503, "This node is not part of a swarm")


@pytest.mark.parametrize("path", ["/swarm", "/nodes", "/services", "/tasks", "/secrets", "/configs/x"])
def test_there_is_no_swarm(client, path):
    answer = client.get(path)
    assert answer.status == 503
    assert answer.message.startswith("This node is not a swarm manager.")


def test_a_test_framework_in_a_container_hears_of_the_default_network_and_that_it_has_no_gateway(client):
    (network,) = client.get("/networks").json
    assert (network["Name"], network["Driver"], network["IPAM"]["Config"]) == ("bridge", "bridge", [])
    for name in ("bridge", network["Id"], network["Id"][:12]):
        for version, has_ipv4 in (("/v1.41", False), ("/v1.47", False), ("/v1.48", True), ("", True)):
            shown = client.get(f"{version}/networks/{name}").json
            assert {key: value for key, value in shown.items() if key != "EnableIPv4"} | {"EnableIPv4": True} == network
            assert ("EnableIPv4" in shown) == has_ipv4
    assert client.get("/networks/").json == [network]
    for value, shown in (({"0": True}, [network]), (["false"], [network]), (["1"], []), (["true"], [])):
        assert client.get("/networks", {"filters": json.dumps({"dangling": value})}).json == shown
    for value, words in ((["x"], "x"), (["true", "false"], "false true")):
        refused = client.get("/networks", {"filters": json.dumps({"dangling": value})})
        assert (refused.status, refused.message) == (400, f"invalid filter 'dangling=[{words}]'")
        early = client.get("/v1.41/networks", {"filters": json.dumps({"dangling": value})})
        assert (early.status, early.message) == (400, EARLY[len(value)])
    refused = client.delete("/networks/bridge")
    assert (refused.status, refused.message) == (403, "bridge is a pre-defined network and cannot be removed")


@pytest.mark.parametrize(
    ("verb", "body", "status", "message"),
    [
        ("connect", b'{"Container":"x"}', 404, "No such container: x"),
        ("connect", b'{"container":"x","force":true}', 404, "No such container: x"),
        ("connect", b'{"Container":"x"} {', 404, "No such container: x"),
        ("connect", b"", 400, "got EOF while reading request body"),
        ("connect", b"{", 400, "the body cannot be read as JSON"),
        ("connect", b"[]", 400, "the body is not an object of JSON"),
        ("connect", b"{}", 400, 'invalid name or ID supplied: ""'),
        ("connect", b"null", 400, 'invalid name or ID supplied: ""'),
        ("connect", b'{"Container":5}', 400, "the Container that the body names is not a text"),
        ("disconnect", b'{"Container":"x"}', 404, "No such container: x"),
        ("disconnect", b'{"Container":"x","Force":true}', 404, "endpoint x not found"),
    ],
)
def test_no_container_is_connected_to_the_network(client, verb, body, status, message):
    answer = client.ask("POST", f"/networks/bridge/{verb}", body=body, headers={"Content-Type": "application/json"})
    assert (answer.status, answer.message) == (status, message)
    if "Force" in body.decode():
        answer = client.ask("POST", f"/networks/x/{verb}", body=body, headers={"Content-Type": "application/json"})
        assert (answer.status, answer.message) == (404, "network x not found")
    answer = client.ask("POST", f"/networks/bridge/{verb}", body=body, headers={"Content-Type": "text/plain"})
    assert answer.message == "Content-Type specified (text/plain) must be 'application/json'"


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ('{"name":["bri"]}', 1),
        ('{"name":["x","bri"]}', 1),
        ('{"name":["x"]}', 0),
        ('{"driver":["bridge"],"scope":["local"]}', 1),
        ('{"type":["custom"]}', 0),
        ('{"dangling":["true"]}', 0),
        ('{"label":["x"]}', 0),
        ('{"label":[]}', 1),
    ],
)
def test_networks_are_filtered(client, filters, count):
    assert len(client.get("/networks", {"filters": filters}).json) == count


@pytest.mark.parametrize(
    ("method", "path", "filters"),
    [
        ("GET", "/containers/json", '{"status":["x"],"label":["y"]}'),
        ("GET", "/volumes", '{"dangling":["1"]}'),
        ("GET", "/plugins", '{"enabled":["1"]}'),
        ("GET", "/networks", '{"id":["x"]}'),
        ("POST", "/containers/prune", '{"until":["24h"],"label!":["x"]}'),
        ("POST", "/networks/prune", '{"until":["24h"]}'),
        ("POST", "/volumes/prune", '{"all":["1"]}'),
        ("POST", "/build/prune", '{"unused-for":["24h"]}'),
    ],
)
def test_filters_of_what_is_not_here_are_checked(client, method, path, filters):
    assert client.ask(method, path, {"filters": filters}).status == 200
    for bad in ("{", "[]", '{"nosuch":["x"]}'):
        assert client.ask(method, path, {"filters": bad}).status == 400
    if "until" in filters:
        for bad in ('{"until":["x"]}', '{"until":["1h","2h"]}'):
            assert client.ask(method, path, {"filters": bad}).status == 400


def test_numbers_are_checked(client):
    for path in ("/containers/json", "/images/search"):
        assert client.get(path, {"limit": "x"}).message == 'strconv.Atoi: parsing "x": invalid syntax'
    assert client.get("/containers/json", {"limit": "-1"}).json == []


@pytest.mark.parametrize("bad", ["x", "1.5", " 1", "0x10", "9" * 30, "-" + "9" * 30])
def test_sizes_of_a_cache_of_builds_are_numbers(client, bad):
    """Engines before version 1.48 know ``keep-storage`` alone."""
    for size in ("", "0", "-1", "0" * 30 + "1"):
        assert client.ask("POST", "/build/prune", {"keep-storage": size}).status == 200
    for version, name, status in [
        ("1.41", "keep-storage", 400),
        ("1.48", "reserved-space", 400),
        ("1.48", "min-free-space", 400),
        ("1.47", "max-used-space", 200),
    ]:
        answer = client.ask("POST", f"/v{version}/build/prune", {name: bad})
        assert answer.status == status
        if status == 400:
            assert answer.message.startswith(f"{name} is in bytes and expects an integer, got {bad}: strconv.Atoi: ")


def test_a_number_of_containers_is_in_the_range_of_go(client):
    for limit, status in [(str((1 << 63) - 1), 200), (str(-1 << 63), 200), (str(1 << 63), 400), ("9" * 5000, 400)]:
        assert client.ask("GET", "/containers/json", {"limit": limit}).status == status


@pytest.mark.parametrize("path", ["/networks/x/connect", "/networks/x/disconnect", "/commit"])
@pytest.mark.parametrize(
    ("kind", "is_json"),
    [
        ("application/json", True),
        ("application/JSON; charset=utf-8", True),
        ('application/json ; a="b;c";', True),
        ("application/json;;", False),
        ("application/json; x", False),
        ("text/plain", False),
        ("application/x-www-form-urlencoded", False),
        (None, False),
    ],
)
def test_a_body_must_be_said_to_be_json(client, path, kind, is_json):
    answer = client.ask("POST", path, body=b"{}", headers={} if kind is None else {"Content-Type": kind})
    refusal = f"Content-Type specified ({kind or ''}) must be 'application/json'"
    assert (answer.status, answer.message) == (400, 'invalid name or ID supplied: ""' if is_json else refusal)


def test_a_commit_reads_its_body_before_it_looks_for_its_container(client):
    headers = {"Content-Type": "application/json"}
    assert client.ask("POST", "/commit?container=x", body=b"[]", headers=headers).status == 400
    assert client.ask("POST", "/commit?container=x", body=b"{}", headers=headers).status == 404


def test_a_volume_is_gone_for_a_client_that_insists(client):
    for path in ("/volumes/x", "/volumes/a/b", "/volumes/"):
        assert client.delete(f"{path}?force=1").status == 204
        assert client.delete(f"{path}?force=0").status == 404


def test_volumes_are_updated_since_they_can_be_in_a_cluster(client):
    assert client.ask("PUT", "/v1.41/volumes/x").message == "page not found"
    assert client.ask("PUT", "/v1.42/volumes/x").status == 503


@pytest.mark.parametrize("value", ["no", "maybe", "2", " true"])
def test_whether_a_network_is_told_at_length_is_true_or_false(client, value):
    answer = client.get("/networks/bridge", {"verbose": value})
    assert (answer.status, answer.message.partition(":")[0]) == (400, "invalid value for verbose")
    assert client.get("/networks/bridge", {"verbose": "T"}).status == 200
