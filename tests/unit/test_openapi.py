"""The description of what is served: it is complete, up to date, and true of a server's answers."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator, ValidationError

import orlop
from docs.generate_openapi import document, operations, served
from docs.generate_registry_openapi import document as registry
from tests.language import Text, faults
from tests.unit.layouts import Layout, named
from tests.unit.served import served as serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.unit.served import Answer, Client

TOP = Path(__file__).parents[2]
DESCRIBED = json.loads((TOP / "docs" / "openapi.json").read_text())
DATA = TOP / "tests" / "data"
OTHER = "registry.example.com/app:1"


def validator(schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator({**schema, "components": DESCRIBED["components"]})


def check(answer: Answer, method: str, path: str) -> None:
    """See that an answer is one of those that are described."""
    responses = DESCRIBED["paths"][path][method.lower()]["responses"]
    response = responses.get(str(answer.status))
    assert response is not None, (method, path, answer)
    media_type = answer.headers.get("content-type", "").partition(";")[0]
    content = response.get("content", {})
    if not content:
        assert answer.body == b""
        return
    assert media_type in content
    schema = content[media_type]["schema"]
    if "x-itemSchema" in schema and answer.status == 200:
        for line in answer.lines:
            validator(schema["x-itemSchema"]).validate(line)
    elif media_type == "application/json":
        validator(schema).validate(answer.json)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    layout = Layout()
    first = layout.image("a", platform=True)
    second = layout.image("a", architecture="arm64", variant="v8", platform=True)
    layout.top(layout.index(first, second) | named(OTHER))
    folder = tmp_path_factory.mktemp("described")
    with orlop.open(folder / "store") as images, serving(images, folder) as asked:
        for archive in (DATA / "dockerd-20.10-overlay2" / "multi.tar", DATA / "dockerd-29-overlay2" / "multi.tar"):
            images.load(archive)
        images.load(io.BytesIO(layout.pack()), platform="linux/amd64")
        yield asked


def test_the_description_is_up_to_date() -> None:
    arguments = [sys.executable, "-m", "docs.generate_openapi", "--check"]
    done = subprocess.run(arguments, check=False, cwd=TOP)
    assert done.returncode == 0, "run `python -m docs.generate_openapi`"


def test_all_that_is_served_is_described_and_nothing_else() -> None:
    assert set(served()) == set(operations())
    assert document()["info"]["version"] == orlop.__version__


@pytest.mark.parametrize("described", [document, registry], ids=["engine", "registry"])
def test_summaries_and_descriptions_are_plain_english(described: Callable[[], dict[str, Any]]) -> None:
    def texts(value: object) -> Iterator[str]:
        if isinstance(value, dict):
            yield from (text for key in ("summary", "description") if isinstance(text := value.get(key), str))
        for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            yield from texts(one)

    found = {*texts(described())}
    assert len(found) > 40
    assert [fault for text in sorted(found) for fault in faults([Text(1, text, acts=True)])] == []


def test_every_schema_is_one_and_is_used() -> None:
    text = json.dumps(DESCRIBED)
    for name, schema in DESCRIBED["components"]["schemas"].items():
        Draft202012Validator.check_schema(schema)
        assert f'"#/components/schemas/{name}"' in text


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("path", "name", "query"),
    [
        ("/_ping", "", {}),
        ("/version", "", {}),
        ("/info", "", {}),
        ("/metrics", "", {}),
        ("/system/df", "", {}),
        ("/system/df", "", {"verbose": "1", "type": ["image", "volume"]}),
        ("/system/df", "", {"verbose": "maybe"}),
        ("/images/json", "", {}),
        ("/images/json", "", {"all": "1", "shared-size": "1", "manifests": "1"}),
        ("/images/json", "", {"filters": '{"label":["x"],"until":["24h"]}'}),
        ("/images/json", "", {"filters": "{"}),
        ("/images/json", "", {"filters": '{"before":["nosuch"]}'}),
        ("/images/{name}/json", "example/tiny:1.0", {}),
        ("/images/{name}/json", "example/imported", {}),
        ("/images/{name}/json", "registry.example.com:5000/team/committed:2.0", {}),
        ("/images/{name}/json", OTHER, {"manifests": "1"}),
        ("/images/{name}/json", OTHER, {"platform": '{"os":"linux","architecture":"s390x"}'}),
        ("/images/{name}/json", "UPPER", {}),
        ("/images/{name}/history", "example/tiny:1.0", {}),
        ("/images/{name}/get", "example/tiny:1.0", {}),
        ("/images/{name}/get", "nosuch", {}),
        ("/images/get", "", {"names": ["example/tiny:1.0"]}),
        ("/distribution/{name}/json", OTHER, {}),
        ("/distribution/{name}/json", "example/tiny:1.0", {}),
        ("/images/search", "", {"term": "127.0.0.1:1/x"}),
        ("/images/search", "", {"term": "x", "limit": "0"}),
        ("/containers/json", "", {}),
        ("/networks", "", {}),
        ("/networks/{name}", "bridge", {}),
        ("/networks/{name}", "nosuch", {}),
        ("/volumes", "", {}),
        ("/plugins", "", {}),
    ],
)
def test_what_is_shown_is_as_described(client: Client, path: str, name: str, query: dict[str, Any]) -> None:
    check(client.get(path.replace("{name}", name), query), "GET", path)


def test_what_is_done_is_as_described(client: Client) -> None:
    def asked(
        method: str, path: str, query: dict[str, Any] | None = None, *, name: str = "", body: Any = None
    ) -> Answer:
        answer = client.ask(method, path.replace("{name}", name), query, body=body)
        check(answer, method, path)
        return answer

    archive = (DATA / "dockerd-20.10-overlay2" / "dup.tar").read_bytes()
    assert len(asked("POST", "/images/load", {"quiet": "0"}, body=archive).lines) > 1
    asked("POST", "/images/load", body=b"junk")
    asked("POST", "/images/create", {"fromSrc": "-", "repo": "made"}, body=bytes(1024))
    asked("POST", "/images/{name}/tag", {"repo": "again"}, name="made")
    asked("POST", "/images/{name}/tag", {"repo": "AGAIN"}, name="made")
    identifier = asked("GET", "/images/{name}/json", name="made").json["Id"]
    asked("DELETE", "/images/{name}", name=identifier)
    asked("DELETE", "/images/{name}", name="again")
    asked("DELETE", "/images/{name}", name="made")
    asked("DELETE", "/images/{name}", name="made")
    asked("POST", "/images/prune")
    asked("POST", "/images/prune", {"filters": '{"nosuch":[]}'})
    asked("POST", "/images/create", {"fromImage": "made"})
    asked("POST", "/images/{name}/push", name="made")
    asked("POST", "/commit", {"container": "x"}, body=b"{}")
    for family in ("containers", "networks", "volumes", "build"):
        asked("POST", f"/{family}/prune")
    asked("HEAD", "/_ping")
    happened = asked("GET", "/events", {"since": "1", "until": f"{time.time():.3f}"}).lines
    assert {line["Action"] for line in happened} >= {"load", "import", "tag", "untag", "delete", "prune"}


def test_a_schema_refuses_what_is_not_described(client: Client) -> None:
    shown = client.get("/images/example/tiny:1.0/json").json
    schema = validator(DESCRIBED["components"]["schemas"]["Image"])
    for change in ({"VirtualSize": 1}, {"Id": "8126e24b2462"}, {"Size": -1}, {"Config": {"Hostname": ""}}):
        with pytest.raises(ValidationError):
            schema.validate(shown | change)
