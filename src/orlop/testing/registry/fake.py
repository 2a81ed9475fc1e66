"""A registry in this process, with its token server and the store to which it redirects.

    with FakeRegistry(Quirks(auth="bearer"), users={"me": "secret"}) as registry:
        registry.authority          # 127.0.0.1:PORT
        registry.requests           # every request that came, to any of the three
        registry.quirks = …         # other quirks from now on

It holds everything in memory, and believes what it is told unless a digest is wrong.
"""

from __future__ import annotations

import gzip
import json
import re
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, Self

from orlop.testing.registry.content import Repository, digest_of
from orlop.testing.registry.quirks import Quirks
from orlop.testing.registry.sessions import Sessions
from orlop.testing.registry.site import HangUp, Reply, Site
from orlop.testing.registry.tokens import Tokens

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from orlop.testing.registry.content import Session
    from orlop.testing.registry.quirks import Failure
    from orlop.testing.registry.site import Asked, Recorded

OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
_PATH: Final = re.compile(r"/v2/(?P<name>.+?)/(?P<kind>manifests|blobs|tags|referrers)/(?P<rest>(?:uploads/)?[^/]*)\Z")
_UPLOAD: Final = re.compile(r"/(?:v2/(?P<name>.+)/blobs/uploads|elsewhere/uploads)/(?P<id>[0-9a-f]+)\Z")


class FakeRegistry:
    """A registry, a token server and a store, each at a port of its own, until a ``with`` block ends.

    Args:
        quirks: how it differs; see `Quirks`. They may be changed between requests.
        users: names and passwords.
        tls: encrypts the connections to all three.
        names: hosts that it calls ``registry``, ``auth`` and ``store`` in what it answers, instead of 127.0.0.1.
    """

    def __init__(
        self,
        quirks: Quirks | None = None,
        *,
        users: Mapping[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
        names: Mapping[str, str] | None = None,
    ) -> None:
        self._turn = threading.RLock()
        self._repositories: dict[str, Repository] = {}
        self._failures: list[Failure] = []
        self._left: dict[str, int] = {}
        self._refused: set[str] = set()
        self._users = dict(users or {})
        self.requests: list[Recorded] = []
        hosts = {"registry": "127.0.0.1", "auth": "127.0.0.1", "store": "127.0.0.1"} | dict(names or {})
        self.registry = Site("registry", self._registry, self.requests, tls=tls, host=hosts["registry"])
        self.auth = Site("auth", self._auth, self.requests, tls=tls, host=hosts["auth"])
        self.store = Site("store", self._store, self.requests, tls=tls, host=hosts["store"])
        self.quirks = quirks or Quirks()
        self._sessions = Sessions(self)
        self._stack = ExitStack()

    @property
    def quirks(self) -> Quirks:
        """How it differs."""
        return self._quirks

    @quirks.setter
    def quirks(self, quirks: Quirks) -> None:
        self._quirks = quirks
        self._failures = list(quirks.failures)
        self._left = {"cut": quirks.cuts, "expired": quirks.redirect_expired, "commit": 1, "upload": 1, "cutcommit": 1}
        self.tokens = Tokens(quirks, self._users)
        for site in (self.registry, self.auth, self.store):
            site.is_old = quirks.http == "1.0"

    @property
    def authority(self) -> str:
        """Its host and port."""
        return self.registry.authority

    def __enter__(self) -> Self:
        """Start it."""
        for site in (self.registry, self.auth, self.store):
            self._stack.enter_context(site)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        self._stack.close()

    def repository(self, name: str) -> Repository:
        """Return a repository, which is made where it is not there."""
        with self._turn:
            return self._repositories.setdefault(name, Repository())

    def add_blob(self, repository: str, content: bytes) -> str:
        """Put a blob into a repository, and return its digest."""
        digest = digest_of(content)
        self.repository(repository).blobs[digest] = content
        return digest

    def add_manifest(self, repository: str, raw: bytes, media_type: str, *, tag: str | None = None) -> str:
        """Put a manifest into a repository, under a tag too, and return its digest."""
        digest = digest_of(raw)
        there = self.repository(repository)
        there.manifests[digest] = (media_type, raw)
        if tag is not None:
            there.tags[tag] = digest
        return digest

    def sessions(self) -> list[Session]:
        """Return the uploads that are under way."""
        return self._sessions.open()

    def once(self, what: str) -> bool:
        """Return whether something that happens so many times is still to happen, and count it."""
        with self._turn:
            self._left[what] = self._left.get(what, 0) - 1
            return self._left[what] >= 0

    def refuse(self, status: int, code: str = "", message: str = "", details: list[object] | None = None) -> Reply:
        """Return an error, as the protocol has it or as a page of HTML."""
        if self.quirks.html_errors or not code:
            page = f"<html><head><title>{status} {message or 'error'}</title></head></html>"
            return Reply(status, [("Content-Type", "text/html")], page.encode())
        errors = [{"code": code, "message": message or code.lower(), "detail": one} for one in details or [None]]
        return Reply(status, [("Content-Type", "application/json")], json.dumps({"errors": errors}).encode())

    # What the three sites answer.

    def _registry(self, asked: Asked) -> Reply:
        failure = self._failure(asked)
        if failure is not None:
            # The body may come from another request to this registry.
            asked.read()
            if failure.hang_up:
                raise HangUp
            return Reply(failure.status, list(failure.headers), failure.body)
        has_body = asked.method in {"POST", "PUT", "PATCH"}
        if self.quirks.unsized != 200 and has_body and "content-length" not in asked.headers:
            asked.read()
            return Reply(self.quirks.unsized, [("Content-Type", "text/html")], b"<title>411 Length Required</title>")
        limit = self.quirks.body_limit
        if limit is not None and int(asked.headers.get("content-length", "0")) > limit:
            return Reply(
                413, [("Content-Type", "text/html")], b"<html><head><title>413 Too Large</title></head></html>"
            )
        reply = self._asked_in(asked) or self._routed(asked)
        reply.headers.append(("Docker-Distribution-Api-Version", "registry/2.0"))
        if self.quirks.warning:
            reply.headers.append(("Warning", self.quirks.warning))
        if self.quirks.encoded_documents and "/blobs/sha" not in asked.path and reply.body:
            reply.headers.append(("Content-Encoding", "gzip"))
            reply.body = gzip.compress(reply.body)
        return reply

    def _failure(self, asked: Asked) -> Failure | None:
        """Return how a request fails that was to fail, once."""
        with self._turn:
            for failure in self._failures:
                if asked.method in failure.methods.split() and failure.path in asked.path:
                    self._failures.remove(failure)
                    return failure
        return None

    def _auth(self, asked: Asked) -> Reply:
        return self.tokens.answer(asked)

    def _store(self, asked: Asked) -> Reply:
        found = _UPLOAD.match(asked.path)
        authorization = asked.headers.get("authorization", "")
        if self.quirks.redirect_challenge:
            if not authorization:
                header = f'Bearer realm="{self.auth.url}/token",service="store"'
                return Reply(401, [("WWW-Authenticate", header)])
        elif authorization:
            return Reply(400, [("Content-Type", "application/xml")], b"<Error>Only one auth mechanism allowed</Error>")
        if found is not None:
            return self._sessions.answer(asked, found["id"])
        if self.quirks.redirect_loop:
            return Reply(307, [("Location", asked.target)])
        if self.once("expired"):
            return Reply(403, [("Content-Type", "application/xml")], b"<Error>Request has expired</Error>")
        return self._blob_bytes(asked, self._find_anywhere(asked.path.rpartition("/")[2]))

    def _find_anywhere(self, digest: str) -> bytes | None:
        return next((one.blobs[digest] for one in self._repositories.values() if digest in one.blobs), None)

    # Who may.

    def _asked_in(self, asked: Asked) -> Reply | None:
        quirks = self.quirks
        wants_basic = quirks.catalog_basic and asked.path == "/v2/_catalog"
        if quirks.auth == "none":
            return None
        header = asked.headers.get("authorization", "")
        if header.startswith("Basic ") and (quirks.auth in {"basic", "both"} or wants_basic):
            if self.tokens.user_of(header) is not None:
                return None
            return self._challenge(asked, "", "")
        repository, action = self._needed(asked)
        if header.startswith("Bearer ") and quirks.auth in {"bearer", "both"} and not wants_basic:
            token = header.removeprefix("Bearer ")
            is_commit = asked.method == "PUT" and "/uploads/" in asked.path
            if quirks.commit_expires and is_commit and self.once("commit"):
                self.tokens.expire(token)
            allowed = self.tokens.allows(token, repository, action)
            source = asked.query.get("from") if "mount" in asked.query else None
            if allowed and source is not None:
                allowed = self.tokens.allows(token, source, "pull")
            if allowed:
                return None
            if allowed is False and quirks.denied_is_403:
                return self.refuse(403, "DENIED", "requested access to the resource is denied")
            return self._challenge(asked, repository, action, "insufficient_scope" if allowed is False else "")
        return self._challenge(asked, repository, action)

    @staticmethod
    def _needed(asked: Asked) -> tuple[str, str]:
        if asked.path == "/v2/_catalog":
            return "catalog", "*"
        found = _PATH.match(asked.path) or re.match(r"/v2/(?P<name>.+)/blobs/uploads/", asked.path)
        if found is None:
            return "", ""
        actions = {"GET": "pull", "HEAD": "pull", "DELETE": "delete"}
        is_upload = "/uploads/" in asked.path
        return found["name"], "push" if is_upload else actions.get(asked.method, "push")

    def _challenge(self, asked: Asked, repository: str, action: str, error: str = "") -> Reply:
        quirks = self.quirks
        reply = self.refuse(401, "UNAUTHORIZED", "authentication required")
        if quirks.challenge_at_root_only and asked.path != "/v2/":
            return reply
        realm = quirks.realm or f"{self.auth.url}/token"
        if quirks.challenge:
            reply.headers.append(("WWW-Authenticate", quirks.challenge.replace("{realm}", realm)))
            return reply
        if quirks.auth in {"basic", "both"} or (quirks.catalog_basic and repository == "catalog"):
            reply.headers.append(("WWW-Authenticate", 'Basic realm="fake"'))
        if quirks.auth in {"bearer", "both"} and not (quirks.catalog_basic and repository == "catalog"):
            kind = "registry" if repository == "catalog" else "repository"
            actions = "pull,push" if action == "push" else action
            scope = f',scope="{kind}:{repository}:{actions}"' if repository else ""
            failure = f',error="{error}"' if error else ""
            text = f'Bearer realm="{realm}",service="fake"{scope}{failure}'
            reply.headers.append(("WWW-Authenticate", text))
        return reply

    # The endpoints.

    def _routed(self, asked: Asked) -> Reply:
        if asked.path == "/v2/":
            return Reply(200, [("Content-Type", "application/json")], b"{}")
        if asked.path == "/v2/_catalog":
            return self._catalog(asked)
        if asked.path == "/v1/search":
            return self._search(asked)
        upload = _UPLOAD.match(asked.path)
        if upload is not None:
            return self._sessions.answer(asked, upload["id"])
        found = _PATH.match(asked.path)
        if found is None:
            return Reply(404, [("Content-Type", "text/plain")], b"404 page not found\n")
        answer: Callable[[Asked, str, str], Reply] = {
            "manifests": self._manifest,
            "blobs": self._blob,
            "tags": self._tags,
            "referrers": self._referrers,
        }[found["kind"]]
        return answer(asked, found["name"], found["rest"])

    def _search(self, asked: Asked) -> Reply:
        if self.quirks.search != 200:
            return Reply(self.quirks.search, [("Content-Type", "text/plain")], b"404 page not found\n")
        words = asked.query.get("q", "")
        found = [
            {
                "name": name,
                "description": f"about {name}",
                "star_count": len(there.tags),
                "is_official": "/" not in name,
            }
            for name, there in sorted(self._repositories.items())
            if words in name
        ]
        document = {"num_results": len(found), "query": words, "results": found}
        return Reply(200, [("Content-Type", "application/json")], json.dumps(document).encode())

    def _manifest(self, asked: Asked, name: str, reference: str) -> Reply:
        there = self.repository(name)
        if asked.method == "PUT":
            return self._put_manifest(asked, name, reference)
        if self.quirks.subject_tag and reference.startswith("sha256-"):
            reference = reference.replace("-", ":", 1)
        digest = there.find(reference)
        if asked.method == "DELETE":
            return self._delete_manifest(there, reference, digest)
        if asked.method == "HEAD" and self.quirks.head != 200:
            return Reply(self.quirks.head)
        if digest is None:
            return self.refuse(404, "MANIFEST_UNKNOWN", "manifest unknown")
        media_type, raw = there.manifests[digest]
        accepted = asked.headers.get("accept", "")
        if self.quirks.strict_accept and media_type not in accepted:
            return self.refuse(404, "MANIFEST_UNKNOWN", "accept header does not support it")
        headers = [("Content-Type", (self.quirks.manifest_type or media_type) + self.quirks.manifest_suffix)]
        headers.append(("ETag", f'"{digest}"'))
        if self.quirks.digest_header != "missing":
            wrong = digest_of(b"something else")
            headers.append(("Docker-Content-Digest", digest if self.quirks.digest_header == "right" else wrong))
        return Reply(200, headers, raw, length=self.quirks.head_length or asked.method != "HEAD")

    def _put_manifest(self, asked: Asked, name: str, reference: str) -> Reply:
        there, raw = self.repository(name), asked.read()
        digest = digest_of(raw, reference if ":" in reference else "sha256:")
        if self.quirks.manifest_limit is not None and len(raw) > self.quirks.manifest_limit:
            return self.refuse(413, "SIZE_INVALID", "the manifest is too large")
        kinds, config = self.quirks.config_types, json.loads(raw).get("config")
        if kinds and config is not None and config.get("mediaType") not in kinds:
            return self.refuse(400, "MANIFEST_INVALID", "manifest schema unsupported")
        if ":" in reference and digest != reference:
            return self.refuse(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        missing = there.missing(raw)
        if self.quirks.missing_blob_once and digest not in self._refused:
            self._refused.add(digest)
            missing = [one["digest"] for one in json.loads(raw).get("layers") or ()]
        if missing:
            return self.refuse(400, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry", list(missing))
        wanted = asked.headers.get("if-match")
        is_refused = asked.headers.get("if-none-match") == "*" and there.find(reference) is not None
        if is_refused or (wanted is not None and wanted != f'"{there.tags.get(reference)}"'):
            return self.refuse(412, "UNKNOWN", "the tag was moved meanwhile")
        there.manifests[digest] = (asked.headers.get("content-type", ""), raw)
        if ":" not in reference:
            there.tags[reference] = digest
        headers = [("Location", f"/v2/{name}/manifests/{digest}")]
        if self.quirks.digest_header != "missing" and self.quirks.put_digest != "missing":
            wrong = digest_of(b"something else")
            headers.append(("Docker-Content-Digest", digest if self.quirks.put_digest == "right" else wrong))
        subject = (json.loads(raw).get("subject") or {}).get("digest")
        if subject and self.quirks.referrers in {"right", "unfiltered"}:
            headers.append(("OCI-Subject", subject))
        return Reply(201, headers)

    def _delete_manifest(self, there: Repository, reference: str, digest: str | None) -> Reply:
        status = self.quirks.delete if ":" in reference else self.quirks.delete_tag
        if status >= 400:
            code = {400: "DIGEST_INVALID", 405: "UNSUPPORTED"}.get(status, "DENIED")
            return self.refuse(status, code)
        if digest is None:
            return self.refuse(404, "MANIFEST_UNKNOWN")
        if ":" in reference:
            del there.manifests[digest]
            there.tags = {tag: one for tag, one in there.tags.items() if one != digest}
        else:
            del there.tags[reference]
        return Reply(status)

    def _blob(self, asked: Asked, name: str, digest: str) -> Reply:
        if digest == "uploads/":
            return self._sessions.begin(asked, name)
        there = self.repository(name)
        content = there.blobs.get(digest)
        if content is None and asked.method == "HEAD" and self.quirks.blob_head != 404:
            return Reply(self.quirks.blob_head)
        if content is None:
            return self.refuse(404, "BLOB_UNKNOWN", "blob unknown to registry")
        if asked.method == "DELETE":
            if self.quirks.delete >= 400:
                return self.refuse(self.quirks.delete, "UNSUPPORTED")
            del there.blobs[digest]
            return Reply(202)
        if self.quirks.redirect and asked.method == "GET":
            return Reply(self.quirks.redirect, [("Location", f"{self.store.url}/objects/{digest}?signature=a%2fb%2B")])
        return self._blob_bytes(asked, content, digest)

    def _blob_bytes(self, asked: Asked, content: bytes | None, digest: str = "") -> Reply:
        quirks = self.quirks
        if content is None:
            return self.refuse(404, "BLOB_UNKNOWN", "blob unknown to registry")
        status, headers, total = 200, [("Content-Type", "application/octet-stream")], len(content)
        found = re.fullmatch(r"bytes=(\d+)-", asked.headers.get("range", ""))
        etag = f'"{asked.path.rpartition("/")[2]}"' if quirks.etag == "right" else f'"{len(self.requests)}"'
        headers.append(("ETag", etag))
        if found is not None and quirks.ranges != "ignored" and asked.headers.get("if-range", etag) == etag:
            start = int(found[1]) + (1 if quirks.ranges == "wrong" else 0)
            if start >= total or quirks.ranges == "none":
                # As distribution does it: the length is that of the blob, and the connection stays open.
                return Reply(416, headers, content, stall=min(10, total))
            status = 206
            said = f"bytes {start}-{total - 1}/{total + (quirks.ranges == 'total')}"
            content = content[start:]
            if quirks.ranges == "multipart":
                headers[0] = ("Content-Type", "multipart/byteranges; boundary=a:b")
                content = f"--a:b\r\nContent-Range: {said}\r\n\r\n".encode() + content + b"\r\n--a:b--\r\n"
            elif quirks.ranges != "unsaid":
                headers.append(("Content-Range", said))
        if digest and quirks.digest_header != "missing":
            headers.append(("Docker-Content-Digest", digest))
        if quirks.corrupt and status == 200:
            content = bytes([content[0] ^ 1]) + content[1:]
        content += b"x" * quirks.longer
        if quirks.encoding != "none":
            headers.append(("Content-Encoding", "gzip"))
            content = gzip.compress(content) if quirks.encoding == "real" else content
        cut = quirks.cut if quirks.cut is not None and asked.method == "GET" and self.once("cut") else None
        stall = quirks.stall if asked.method == "GET" and len(content) > (quirks.stall or 0) else None
        return Reply(status, headers, content, length=quirks.length, cut=cut, stall=stall, drip=quirks.drip)

    # Lists.

    def _tags(self, asked: Asked, name: str, rest: str) -> Reply:
        if rest != "list" or name not in self._repositories:
            return self.refuse(404, "NAME_UNKNOWN", "repository name not known to registry")
        tags: list[str] = sorted(self.repository(name).tags)
        return self._page(asked, "tags", tags, {"name": name})

    def _catalog(self, asked: Asked) -> Reply:
        if self.quirks.catalog != 200:
            return self.refuse(self.quirks.catalog, "UNSUPPORTED")
        return self._page(asked, "repositories", sorted(self._repositories), {})

    def _page(self, asked: Asked, member: str, items: list[str], document: dict[str, object]) -> Reply:
        quirks = self.quirks
        last = asked.query.get("last", "")
        if "cursor" in asked.query:
            last = bytes.fromhex(asked.query["cursor"]).decode()
        rest = [one for one in items if one > last]
        wanted = int(asked.query.get("n", "0")) if quirks.page_asked else 0
        if quirks.page_most is not None and wanted > quirks.page_most:
            return self.refuse(400, "PAGINATION_NUMBER_INVALID", "invalid number of results requested")
        size = min(wanted or len(rest), quirks.page or len(rest))
        found = rest[:size]
        document[member] = None if quirks.tags_null and not found else found
        headers = [("Content-Type", "application/json")]
        if size < len(rest) or quirks.link in {"loop", "circle"}:
            headers.append(("Link", self._link(asked, found[-1] if found else "", size)))
        return Reply(200, headers, json.dumps(document).encode())

    def _link(self, asked: Asked, last: str, size: int) -> str:
        following = f"{asked.path}?n={size}&last={last}"
        forms = {
            "relative": f'<{following}>; rel="next"',
            "absolute": f'<{self.registry.url}{following}>; rel="next"',
            "cursor": f'<{asked.path}?cursor={last.encode().hex()}>; rel="next"',
            "bare": f"<{following}>",
            "http": f'<http://{self.authority}{following}>; rel="next"',
            "loop": f'<{asked.target}>; rel="next"',
            "circle": f'<{asked.path}?n={"2" if asked.query.get("n") == "1" else "1"}>; rel="next"',
        }
        return forms.get(self.quirks.link, f'<{self.quirks.link}>; rel="next"')

    def _referrers(self, asked: Asked, name: str, digest: str) -> Reply:
        quirks = self.quirks
        if quirks.referrers == "none":
            return Reply(404, [("Content-Type", "text/plain; charset=utf-8")], b"404 page not found\n")
        if quirks.referrers == "html":
            return Reply(200, [("Content-Type", "text/html")], b"<html>log in</html>")
        found = self.repository(name).referrers(digest)
        headers = [("Content-Type", OCI_INDEX)]
        wanted = asked.query.get("artifactType")
        if wanted and quirks.referrers == "right":
            found = [one for one in found if one.get("artifactType") == wanted]
            headers.append(("OCI-Filters-Applied", "artifactType"))
        document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": found}
        return Reply(200, headers, json.dumps(document).encode())
