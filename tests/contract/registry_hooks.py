"""What schemathesis is told of the registry beside its description; loaded by schemathesis, in its own process."""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any
from urllib.request import Request, urlopen

import schemathesis
from hypothesis import strategies as st

REPOSITORY = "team/app"
#: What the repository has: its test has pushed it.
KNOWN = json.loads(os.environ["ORLOP_CONTRACT_KNOWN"])
OWN = b"some of a blob"


def documents() -> st.SearchStrategy[bytes]:
    """Make bodies of manifests: some that the repository can take, documents of some kind, and what is none."""
    known = st.sampled_from([one.encode() for one in KNOWN["documents"]])
    leaves = st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(KNOWN["digests"])
    values = st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=8
    )
    members = st.sampled_from(
        ["schemaVersion", "mediaType", "config", "layers", "manifests", "digest", "size", "subject", "annotations"]
    )
    made = st.dictionaries(members, values | st.just(2), max_size=6).map(lambda one: json.dumps(one).encode())
    return st.binary(max_size=400) | made | known


for kind in KNOWN["types"]:
    schemathesis.openapi.media_type(kind, documents())
schemathesis.openapi.media_type("application/octet-stream", st.binary(max_size=2000) | st.just(OWN))


def raw_body(ctx: Any, value: Any) -> bytes:
    """Send bytes as they are; whatever else there is for a body, as text."""
    return value if isinstance(value, bytes) else str(value).encode(errors="replace")


def text(ctx: Any, response: Any) -> str:
    """Read an answer that no schema says more of."""
    return str(response.content.decode("latin-1"))


for kind in (*KNOWN["types"], "application/octet-stream"):
    schemathesis.serializer(kind)(raw_body)
    schemathesis.deserializer(kind)(text)


@schemathesis.deserializer("application/vnd.oci.image.index.v1+json")
def index(ctx: Any, response: Any) -> Any:
    """Read an index."""
    return json.loads(response.content)


@schemathesis.check
def content_is_what_it_is_called(ctx: Any, response: Any, case: Any) -> None:
    """See that whole content has the digest that its header names."""
    digest = response.headers.get("docker-content-digest", [""])[0]
    if response.status_code == 200 and response.request.method == "GET" and digest:
        algorithm, _, expected = digest.partition(":")
        assert hashlib.new(algorithm, response.content).hexdigest() == expected


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Ask about what is there, half of the time: the repository, its digests and tags, and uploads of its own."""
    path = case.path_parameters or {}
    if not isinstance(path.get("name"), str) or len(path["name"]) % 2:
        return
    path["name"] = REPOSITORY
    if "digest" in path:
        path["digest"] = KNOWN["digests"][len(str(path["digest"])) % len(KNOWN["digests"])]
    if "reference" in path and len(str(path["reference"])) % 2:
        path["reference"] = (*KNOWN["tags"], *KNOWN["digests"])[len(str(path["reference"])) % 4]
    if "id" in path:
        request = Request(f"{os.environ['ORLOP_CONTRACT_URL']}/v2/{REPOSITORY}/blobs/uploads/", method="POST")
        with urlopen(request, timeout=60) as answer:
            path["id"] = answer.headers["Docker-Upload-UUID"]
    if case.query and "digest" in case.query and case.body == OWN:
        case.query["digest"] = f"sha256:{hashlib.sha256(OWN).hexdigest()}"
