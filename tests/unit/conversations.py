"""What six clients asked Debian's registry, and what it answered, replayed with content that is made for it.

Each line of `tests/data/registry/conversations.jsonl` is one run of a client: ``HEAD+ r1 blob 2 > 404`` is a look with
authorization at the second content of the first repository, which was not there. Contents are numbered in the order in
which they come up, and so are repositories (``r1``), tags (``t1``) and uploads (``u1``).
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from orlop.model.manifest import OCI_MANIFEST
from tests.conftest import DATA

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

EMPTY = "application/vnd.oci.empty.v1+json"
USERS = {"u": "p"}


@dataclass(frozen=True)
class Step:
    """One request, and what it was answered."""

    method: str
    is_authorized: bool
    words: tuple[str, ...]
    status: int
    more: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> Step:
        asked, _, answered = text.partition(" > ")
        method, *words = asked.split()
        status, *more = answered.split()
        return cls(method.rstrip("+"), method.endswith("+"), tuple(words), int(status), tuple(more))

    @property
    def repository(self) -> str:
        return self.words[0] if self.words[0].startswith("r") else ""

    @property
    def kind(self) -> str:
        """What is asked for: ``base``, ``token``, ``tag``, ``manifest``, ``blob``, ``upload``, ``tags``, ``u``…"""
        word = self.words[1] if self.repository else self.words[0]
        return "session" if word[0] == "u" and word[1:].isdigit() else word

    def option(self, name: str) -> str | None:
        return next((one.partition("=")[2] for one in self.words if one.startswith(f"{name}=")), None)


@dataclass(frozen=True)
class Conversation:
    """One run of a client."""

    name: str
    by: str
    exit: int
    steps: tuple[Step, ...]

    @property
    def auth(self) -> str:
        """How the registry asked who it is."""
        said = [step.more[0] for step in self.steps if step.status == 401 and step.more]
        return said[0].lower() if said else "none"


def conversations() -> list[Conversation]:
    lines = (DATA / "registry" / "conversations.jsonl").read_text().splitlines()
    documents = [json.loads(line) for line in lines]
    return [Conversation(one["name"], one["by"], one["exit"], tuple(map(Step.of, one["steps"]))) for one in documents]


def content(number: str, *, is_manifest: bool) -> bytes:
    """Return the content of a number."""
    if not is_manifest:
        return f"content {number}".encode() * 50
    empty = {"mediaType": EMPTY, "digest": f"sha256:{hashlib.sha256(b'{}').hexdigest()}", "size": 2}
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": "application/vnd.example",
        "config": empty,
        "layers": [empty],
        "annotations": {"number": number},
    }
    return json.dumps(document).encode()


class Replayed:
    """A conversation with a registry that has what the first one had.

    Args:
        told: the conversation.
        authority: of the registry.
        token: what authorizes every request that was; empty for Basic.
    """

    def __init__(self, told: Conversation, authority: str, token: str = "") -> None:
        self._told = told
        self._authority = authority
        self._token = token
        self._locations: dict[str, str] = {}
        manifests = {step.words[2] for step in told.steps if step.kind in {"manifest", "referrers"}}
        manifests |= {step.more[-1] for step in told.steps if step.kind == "tag" and step.more}
        self._is_manifest = manifests

    def had(self) -> Iterable[tuple[str, str, str | None, bytes]]:
        """Yield what was there before: repository, kind, tag, content."""
        homes = [one for step in self._told.steps for one in (step.repository, step.option("from")) if one]
        for repository in dict.fromkeys(homes):
            yield repository, "blob", None, b"{}"
        seen: set[tuple[str, ...]] = set()
        for step in self._told.steps:
            mounted = step.option("mount")
            if mounted and step.status == 201:
                yield step.option("from") or step.repository, "blob", None, self.bytes_of(mounted)
            if step.kind not in {"tag", "manifest", "blob"}:
                digest = step.option("digest") or mounted
                seen |= {(step.repository, "blob", digest)} if digest else set()
                continue
            key = (step.repository, step.kind, step.words[2])
            if step.method == "DELETE" and step.status >= 400:
                continue
            is_first = key not in seen
            seen.add(key)
            if is_first and step.method != "PUT" and step.status < 300:
                is_tag = step.kind == "tag"
                number = step.more[-1] if is_tag else step.words[2]
                kind = "blob" if step.kind == "blob" else "manifest"
                yield step.repository, kind, step.words[2] if is_tag else None, self.bytes_of(number)
            if step.kind == "tag" and step.more:
                seen.add((step.repository, "manifest", step.more[-1]))

    def bytes_of(self, number: str) -> bytes:
        return content(number, is_manifest=number in self._is_manifest)

    def digest(self, number: str) -> str:
        return f"sha256:{hashlib.sha256(self.bytes_of(number)).hexdigest()}"

    def answer(self, step: Step) -> tuple[int, Mapping[str, str], bytes]:
        """Ask what was asked, and return the status, headers and body of the answer."""
        target, headers, body = self._request(step)
        headers |= self._authorization(step)
        connection = http.client.HTTPConnection(self._authority, timeout=60)
        try:
            connection.request(step.method, target, body=body, headers=headers)
            found = connection.getresponse()
            said = {name.lower(): value for name, value in found.getheaders()}
            for name in (*step.more, *(word for word in step.words if word[0] == "u")):
                if name[0] == "u" and "location" in said:
                    place = urlsplit(said["location"])
                    self._locations[name] = f"{place.path}?{place.query}" if place.query else place.path
            return found.status, said, found.read()
        finally:
            connection.close()

    def _request(self, step: Step) -> tuple[str, dict[str, str], bytes | None]:
        plain = {"base": "/v2/", "catalog": "/v2/_catalog", "search": "/v1/search?q=x"}
        if not step.repository:
            return plain[step.kind], {}, None
        below = f"/v2/{step.repository}"
        if step.kind == "upload":
            query = {"mount": self.digest(number)} if (number := step.option("mount")) else {}
            query |= {"from": home} if (home := step.option("from")) else {}
            return f"{below}/blobs/uploads/?{urlencode(query)}" if query else f"{below}/blobs/uploads/", {}, b""
        if step.kind == "session":
            return self._sent(step)
        if step.kind in {"tag", "manifest"}:
            reference = step.words[2] if step.kind == "tag" else self.digest(step.words[2])
            number = step.more[-1] if step.kind == "tag" and step.more else step.words[2]
            where = f"{below}/manifests/{reference}"
            if step.method == "PUT":
                return where, {"Content-Type": OCI_MANIFEST}, self.bytes_of(number)
            return where, {"Accept": OCI_MANIFEST}, None
        if step.kind == "tags":
            return f"{below}/tags/list", {}, None
        return f"{below}/{'referrers' if step.kind == 'referrers' else 'blobs'}/{self.digest(step.words[2])}", {}, None

    def _sent(self, step: Step) -> tuple[str, dict[str, str], bytes]:
        """Return a chunk, or the end of an upload, with what a later one commits."""
        upload = step.words[1]
        where, number = self._locations[upload], step.option("digest")
        ends = [one for one in self._told.steps if one.kind == "session" and one.words[1] == upload]
        if number is None:
            (number,) = {found for one in ends if (found := one.option("digest"))}
            return where, {"Content-Type": "application/octet-stream"}, self.bytes_of(number)
        is_whole = all(one.method != "PATCH" for one in ends)
        joint = "&" if "?" in where else "?"
        digest = urlencode({"digest": self.digest(number)})
        return f"{where}{joint}{digest}", {}, self.bytes_of(number) if is_whole else b""

    def _authorization(self, step: Step) -> dict[str, str]:
        if not step.is_authorized:
            return {}
        if self._token and step.status != 401:
            return {"Authorization": f"Bearer {self._token}"}
        pair = "u:p" if step.status != 401 else "u:wrong"
        return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def comes_with(step: Step) -> dict[str, Any]:
    """Return the headers that an answer must have, each with what it must say, or None where that differs."""
    if step.status == 401:
        return {"www-authenticate": step.more[0]} if step.more else {}
    if step.status == 202 and step.kind in {"upload", "session"}:
        return {"location": None, "range": "0-"}
    if step.status == 201:
        return {"location": None, "docker-content-digest": "sha256:"}
    if step.status == 200 and step.kind in {"tag", "manifest"} and step.method != "DELETE":
        return {"docker-content-digest": "sha256:", "content-type": OCI_MANIFEST}
    return {}
