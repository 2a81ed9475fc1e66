"""The description of the registry: it is complete, up to date, and true of a server's answers."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator, ValidationError

import orlop
from docs.generate_registry_openapi import described, document, served
from orlop.api.registry.routes import Kind, route_of
from tests.unit.guarded import RULES, TOKENS, basic, guarded
from tests.unit.hosted import RegistryClient, digest_of, hosting, index_of
from tests.unit.hosted import described as descriptor
from tests.unit.layouts import MANIFEST

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.unit.guarded import Answer as Refusal
    from tests.unit.served import Answer

TOP = Path(__file__).parents[2]
DESCRIBED = json.loads((TOP / "docs" / "registry-openapi.json").read_text())
NAME = "team/app"
ABSENT = "sha256:" + "0" * 64
BLOB = b"0123456789"


def validator(schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator({**schema, "components": DESCRIBED["components"]})


def check(answer: Answer | Refusal, method: str, kind: Kind) -> None:
    """See that an answer is one of those that are described: its status, its headers, its body."""
    response = DESCRIBED["paths"][kind][method.lower()]["responses"].get(str(answer.status))
    assert response is not None, (method, kind, answer)
    if "$ref" in response:
        response = DESCRIBED["components"]["responses"][response["$ref"].rpartition("/")[2]]
    for name, header in response.get("headers", {}).items():
        value = answer.headers.get(name.lower())
        assert value is not None or not header.get("required"), (name, answer)
        if value is not None:
            validator(header["schema"]).validate(value)
    if method == "HEAD" or not response.get("content"):
        assert answer.body == b"", answer
        return
    media_type = answer.headers["content-type"]
    assert media_type in response["content"], (media_type, answer)
    if media_type.endswith("json") and (schema := response["content"][media_type]["schema"]):
        validator(schema).validate(answer.json)


@dataclass(frozen=True)
class Checked(RegistryClient):
    """A client that judges every answer, and notes which it got."""

    seen: set[tuple[str, Kind, int]] = field(default_factory=set)

    def ask(self, method: str, target: str, query: Any = None, **options: Any) -> Answer:
        answer = super().ask(method, target, query, **options)
        kind = route_of(method, target.partition("?")[0]).kind
        check(answer, method, kind)
        self.seen.add((method, kind, answer.status))
        return answer


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Checked]:
    with orlop.open(tmp_path / "store") as images, hosting(images, tmp_path) as found:
        yield Checked(found.port)


def test_the_description_is_up_to_date():
    arguments = [sys.executable, "-m", "docs.generate_registry_openapi", "--check"]
    done = subprocess.run(arguments, check=False, cwd=TOP)
    assert done.returncode == 0, "run `python -m docs.generate_registry_openapi`"


def test_all_that_is_served_is_described_and_nothing_else():
    assert set(served()) == set(described())
    assert list(document()["paths"]) == [str(kind) for kind in Kind]
    for schema in DESCRIBED["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_what_is_read_is_as_described(client: Checked):
    manifest = client.push_image(NAME, "1")
    client.push_manifest(NAME, index_of(manifest), "all", json.loads(index_of(manifest))["mediaType"])
    client.push_artifact(NAME, descriptor(manifest, MANIFEST))
    blob = client.push_blob(NAME, BLOB)
    known = {"If-None-Match": f'"{digest_of(manifest)}"'}
    for ask in (client.get, client.head):
        for target in (
            "/v2/",
            "/v2/_catalog",
            "/v2/_catalog?n=x",
            f"/v2/{NAME}/tags/list",
            f"/v2/{NAME}/tags/list?n=1",
        ):
            ask(target)
        ask("/v2/nosuch/tags/list")
        for reference in ("1", "all", "nosuch", digest_of(manifest), ABSENT, "sha256:0"):
            ask(f"/v2/{NAME}/manifests/{reference}")
        ask(f"/v2/{NAME}/manifests/1", headers=known)
        for span in ("bytes=2-4", "bytes=20-", "lines=1"):
            ask(f"/v2/{NAME}/blobs/{blob}", headers={"Range": span})
        ask(f"/v2/{NAME}/blobs/{blob}", headers={"If-None-Match": f'"{blob}"'})
        ask(f"/v2/{NAME}/blobs/{ABSENT}")
        ask(f"/v2/{NAME}/blobs/sha256:0")
        ask(f"/v2/{NAME}/referrers/{digest_of(manifest)}")
        ask(f"/v2/{NAME}/referrers/{digest_of(manifest)}?artifactType=application/vnd.example.signature")
        ask(f"/v2/{NAME}/referrers/{ABSENT}")
        ask(f"/v2/{NAME}/blobs/uploads/{'0' * 32}")
        ask(client.begin(NAME).headers["location"])


def test_what_is_changed_is_as_described(client: Checked):
    client.push_blob(NAME, BLOB)
    mounted = client.ask("POST", "/v2/other/blobs/uploads/", {"mount": digest_of(BLOB), "from": NAME})
    whole = client.ask("POST", f"/v2/{NAME}/blobs/uploads/", {"digest": digest_of(b"whole")}, body=b"whole")
    assert (mounted.status, whole.status) == (201, 201)
    client.ask("POST", f"/v2/{NAME}/blobs/uploads/", {"digest-algorithm": "md5"})
    session = client.begin(NAME)
    client.patch(session, BLOB, "0-9")
    client.patch(session, BLOB, "0-9")
    client.patch(session, BLOB, "ten")
    client.finish(session, ABSENT)
    client.finish(session, ABSENT)
    cancelled = client.begin(NAME)
    client.delete(cancelled.headers["location"])
    client.delete(cancelled.headers["location"])
    manifest = client.push_image(NAME, "1")
    index = index_of(manifest)
    client.push_manifest(NAME, index, "all", json.loads(index)["mediaType"])
    client.put(f"/v2/{NAME}/manifests/2", manifest, tag=["3", "4"])
    client.put(f"/v2/{NAME}/manifests/2", b"{}")
    client.put(f"/v2/{NAME}/manifests/2", b"x" * (4 << 20) + b"x")
    client.put("/v2/empty/manifests/1", manifest)
    for target in (
        "manifests/nosuch",
        "manifests/1",
        f"manifests/{digest_of(manifest)}",
        f"manifests/{digest_of(index)}",
    ):
        client.delete(f"/v2/{NAME}/{target}")
    client.delete(f"/v2/{NAME}/blobs/{json.loads(manifest)['config']['digest']}")
    client.delete(f"/v2/{NAME}/blobs/{digest_of(BLOB)}")
    client.delete(f"/v2/{NAME}/blobs/{digest_of(BLOB)}")
    # Nobody takes a conversation about nothing for a proof.
    assert {status for method, _, status in client.seen if method != "GET"} >= {
        201, 202, 204, 400, 404, 405, 413, 416,
    }  # fmt: skip


def test_a_schema_refuses_what_is_not_described():
    errors = validator(DESCRIBED["components"]["schemas"]["Errors"])
    errors.validate({"errors": [{"code": "DENIED", "message": "no"}]})
    for wrong in ([], [{"code": "denied", "message": "no"}], [{"code": "DENIED"}]):
        with pytest.raises(ValidationError):
            errors.validate({"errors": wrong})


@pytest.mark.parametrize(("rules", "statuses"), [(RULES, {401, 403}), (RULES + TOKENS, {401})])
def test_the_refusals_of_who_may_not_are_as_they_are_described(tmp_path, rules, statuses):
    seen = set()
    values = {"name": NAME, "digest": ABSENT, "reference": "1", "id": "0" * 32}
    with guarded(tmp_path, rules) as door:
        for kind, methods in DESCRIBED["paths"].items():
            for method in sorted({"get", "head", "post", "put", "patch", "delete"} & set(methods)):
                # Nobody, and one who is known and has no right to this.
                for who in (None, basic("ben")):
                    answer = door.ask(method.upper(), kind.format_map(values), who)
                    if answer.status >= 400:
                        check(answer, method.upper(), Kind(kind))
                        seen.add(answer.status)
    assert seen == statuses
