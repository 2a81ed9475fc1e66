"""What schemathesis is told of the registry beside its description; loaded by schemathesis, in its own process.

Where the registry asks who somebody is, each request is made by somebody else, and what may come of it is checked.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from functools import cache
from typing import Any
from urllib.parse import quote, unquote, urlsplit
from urllib.request import Request, urlopen
from zlib import crc32

import schemathesis
from hypothesis import strategies as st

REPOSITORY = "team/app"
#: What the repository has: its test has pushed it.
KNOWN = json.loads(os.environ["ORLOP_CONTRACT_KNOWN"])
OWN = b"some of a blob"
URL = os.environ["ORLOP_CONTRACT_URL"]
#: The users of a registry with a guard, and the header of each. The first may do everything in the repository.
USERS: dict[str, str | None] = json.loads(os.environ.get("ORLOP_CONTRACT_USERS", "{}"))
#: What anybody may be told: a request is not one, is too large, or is not made by somebody who is known.
UNTOLD = {400, 401, 413, 414, 431}


@cache
def token(user: str, scopes: tuple[str, ...]) -> str:
    """Return the header with a token for scopes: what a user may of them, it says itself."""
    query = "&".join(f"scope={quote(one)}" for one in scopes)
    asked = Request(f"{URL}/token?service=registry.test&{query}", headers={"Authorization": USERS[user] or ""})
    with urlopen(asked, timeout=60) as answer:
        return f"Bearer {json.load(answer)['token']}"


def credentials(user: str, name: Any) -> str | None:
    """Return by what header a user asks about a repository."""
    header = USERS[user]
    if "ORLOP_CONTRACT_TOKENS" not in os.environ or header is None or user == "stranger":
        return header
    asked = (f"repository:{name}:pull,push,delete",) if isinstance(name, str) and name == REPOSITORY else ()
    return token(user, (*asked, "registry:catalog:*"))


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


@schemathesis.check
def everybody_gets_what_they_may(ctx: Any, response: Any, case: Any) -> None:
    """See that nobody does, or hears of, what the rules do not allow, and that everybody can do what they allow."""
    user = response.request.headers.get("X-Asks", "")
    if user not in USERS:
        return
    status = response.status_code
    if user in {"nobody", "stranger"}:
        assert status in UNTOLD, f"{user} got {status}"
        assert status != 401 or response.headers.get("www-authenticate"), "nobody is told how to authenticate"
    elif urlsplit(response.request.url).path.startswith(f"/v2/{REPOSITORY}/"):
        has_all = user == next(iter(USERS))
        assert (status in {401, 403}) is not has_all or status in UNTOLD - {401}, f"{user} got {status}"
    elif re.match(r"/v2/([^_].*)/(manifests|blobs|tags|referrers)/", unquote(urlsplit(response.request.url).path)):
        assert status in UNTOLD | {403, 404, 405}, f"{user} got {status}"


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Ask about what is there, half of the time: the repository, its digests and tags, and uploads of its own."""
    path = case.path_parameters or {}
    number = crc32(repr((case.method, path, case.query, case.body)).encode(errors="replace"))
    choose(path, case)
    if USERS:
        # The first one, who can do something, asks as often as the others together.
        users = list(USERS)
        user = users[number // 2 % len(users)] if number % 2 else users[0]
        header = credentials(user, path.get("name"))
        case.headers["X-Asks"] = user
        case.headers.pop("Authorization", None)
        if header is not None:
            case.headers["Authorization"] = header


def choose(path: dict[str, Any], case: Any) -> None:
    """Put what is there into the place of what is asked about."""
    if not isinstance(path.get("name"), str) or len(path["name"]) % (4 if USERS else 2) == (2 if USERS else 1):
        return
    path["name"] = REPOSITORY
    if "digest" in path:
        path["digest"] = KNOWN["digests"][len(str(path["digest"])) % len(KNOWN["digests"])]
    if "reference" in path and len(str(path["reference"])) % 2:
        path["reference"] = (*KNOWN["tags"], *KNOWN["digests"])[len(str(path["reference"])) % 4]
    if "id" in path:
        request = Request(f"{URL}/v2/{REPOSITORY}/blobs/uploads/", method="POST")
        if USERS:
            request.add_header("Authorization", credentials(next(iter(USERS)), REPOSITORY) or "")
        with urlopen(request, timeout=60) as answer:
            path["id"] = answer.headers["Docker-Upload-UUID"]
    if case.query and "digest" in case.query and case.body == OWN:
        case.query["digest"] = f"sha256:{hashlib.sha256(OWN).hexdigest()}"
