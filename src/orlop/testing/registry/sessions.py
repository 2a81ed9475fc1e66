"""The uploads of a fake registry."""

from __future__ import annotations

import re
import secrets
import threading
from typing import TYPE_CHECKING

from orlop.testing.registry.content import Session, digest_of
from orlop.testing.registry.site import HangUp, Reply

if TYPE_CHECKING:
    from orlop.testing.registry.fake import FakeRegistry
    from orlop.testing.registry.site import Asked


class Sessions:
    """Sessions by their ids."""

    def __init__(self, registry: FakeRegistry) -> None:
        self._registry = registry
        self._sessions: dict[str, Session] = {}
        self._turn = threading.RLock()
        self._received = 0

    def begin(self, asked: Asked, name: str) -> Reply:
        """Answer a POST: mount a blob, take one whole, or open a session."""
        registry, quirks = self._registry, self._registry.quirks
        mounted = asked.query.get("mount")
        if mounted is not None:
            if quirks.mount >= 400:
                return registry.refuse(quirks.mount, "UNSUPPORTED", "no mounts")
            content = registry.repository(asked.query.get("from", name)).blobs.get(mounted)
            if quirks.mount == 201 and content is not None:
                registry.repository(name).blobs[mounted] = content
                return Reply(201, [("Location", f"/v2/{name}/blobs/{mounted}"), ("Docker-Content-Digest", mounted)])
        body = asked.read()
        digest = asked.query.get("digest")
        if digest is not None and quirks.post_digest == 201:
            return self._kept(name, digest, body)
        key = secrets.token_hex(8)
        self._sessions[key] = Session(name)
        headers = [*self._headers(name, key, 0), ("Docker-Upload-UUID", key)]
        if quirks.chunk_least:
            headers.append(("OCI-Chunk-Min-Length", str(quirks.chunk_least)))
        if quirks.chunk_most:
            headers.append(("OCI-Chunk-Max-Length", str(quirks.chunk_most)))
        return Reply(202, headers)

    def open(self) -> list[Session]:
        """Return those that are under way."""
        return list(self._sessions.values())

    def answer(self, asked: Asked, key: str) -> Reply:
        """Answer what is asked of a session."""
        registry = self._registry
        session = self._sessions.get(key)
        if session is None:
            return registry.refuse(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
        if asked.method == "GET":
            if registry.quirks.upload_asked >= 400:
                return registry.refuse(registry.quirks.upload_asked, "RANGE_INVALID")
            key = self._moved(key)
            return Reply(registry.quirks.upload_asked, self._headers(session.repository, key, len(session.received)))
        if asked.method == "DELETE":
            if registry.quirks.cancel >= 400:
                return registry.refuse(registry.quirks.cancel, "DENIED")
            del self._sessions[key]
            return Reply(registry.quirks.cancel)
        if asked.method == "PATCH":
            return self._chunk(asked, key, session)
        session.received += self._body(asked, key, session)
        del self._sessions[key]
        reply = self._kept(session.repository, asked.query.get("digest", ""), bytes(session.received))
        if registry.quirks.commit_cut and registry.once("cutcommit"):
            raise HangUp
        return reply

    def _chunk(self, asked: Asked, key: str, session: Session) -> Reply:
        registry, quirks = self._registry, self._registry.quirks
        span = re.fullmatch(r"(\d+)-(\d+)", asked.headers.get("content-range", ""))
        size = int(asked.headers.get("content-length", "0"))
        if span is not None:
            if quirks.chunks != 200:
                return registry.refuse(quirks.chunks, "UNSUPPORTED", "no chunks")
            if quirks.chunk_limit is not None and size > quirks.chunk_limit:
                return registry.refuse(416, "RANGE_INVALID", "request body is too large")
            if quirks.chunk_most is not None and size > quirks.chunk_most:
                return registry.refuse(400, "SIZE_INVALID", "the chunk is too large")
            if int(span[1]) != len(session.received):
                reply = registry.refuse(416, "RANGE_INVALID")
                reply.headers += self._headers(session.repository, self._moved(key), len(session.received))
                return reply
        if session.chunks:
            refused = quirks.later_chunks if span is not None else quirks.unranged
            if refused != 200:
                code = "UNSUPPORTED" if refused == 405 else "BLOB_UPLOAD_INVALID"
                return registry.refuse(refused, code, "no stream after the first write")
        body = self._body(asked, key, session)
        session.chunks += 1
        if quirks.takes is not None and session.chunks == 1:
            body = body[: quirks.takes]
        body = body[: quirks.takes_each]
        session.received += body
        reached = len(session.received)
        if quirks.patch_range == "stuck":
            reached = len(body) if session.chunks == 1 else min(reached, size)
        return Reply(quirks.patch, self._headers(session.repository, self._moved(key), reached))

    def _moved(self, key: str) -> str:
        """Return the key of a session for the next request."""
        if not self._registry.quirks.location_moves:
            return key
        following = secrets.token_hex(8)
        self._sessions[following] = self._sessions.pop(key)
        return following

    def _body(self, asked: Asked, key: str, session: Session) -> bytes:
        """Return the body, or break the connection in the middle of it."""
        quirks = self._registry.quirks
        size = int(asked.headers.get("content-length", "0"))
        with self._turn:
            left = None if quirks.upload_cut is None else quirks.upload_cut - self._received
            self._received += size
        if left is not None and 0 <= left < size and self._registry.once("upload"):
            found = asked.read(left)
            if quirks.upload_kept:
                session.received += found
            else:
                del self._sessions[key]
            raise HangUp
        return asked.read()

    def _kept(self, name: str, digest: str, content: bytes) -> Reply:
        registry = self._registry
        if digest_of(content, digest) != digest:
            return registry.refuse(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        if not content and registry.quirks.empty_blob != 200:
            return registry.refuse(registry.quirks.empty_blob, "UNKNOWN", "nothing empty is taken")
        registry.repository(name).blobs[digest] = content
        headers = [("Location", f"/v2/{name}/blobs/{digest}"), ("Docker-Content-Digest", digest)]
        return Reply(registry.quirks.commit, headers if registry.quirks.commit_told else [])

    def _headers(self, name: str, key: str, received: int) -> list[tuple[str, str]]:
        registry, quirks = self._registry, self._registry.quirks
        path = f"/v2/{name}/blobs/uploads/{key}"
        forms = {
            "relative": path,
            "absolute": f"{registry.registry.url}{path}",
            "bare": f"//{registry.authority}{path}",
            "store": f"{registry.store.url}/elsewhere/uploads/{key}",
            "http": f"http://{registry.authority}{path}",
        }
        location = forms.get(quirks.location, quirks.location) + quirks.location_query
        headers = [("Location", location)]
        if quirks.patch_range == "minus" and not received:
            headers.append(("Range", "0--1"))
        elif quirks.patch_range != "missing":
            headers.append(("Range", f"0-{max(0, received - 1)}"))
        return headers
