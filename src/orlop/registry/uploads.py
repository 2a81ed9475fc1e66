"""Uploads: sessions in which a blob is sent to a registry.

    POST uploads/ ─► 202, Location ─┬─ PUT Location?digest=  with all of it                        ─► 201
                                    ├─ PATCH Location        with all of it, PUT ?digest=          ─► 201
                                    └─ PATCH Location        chunk by chunk, PUT ?digest=        ─► 201

Every answer brings the Location for the next request. It is used as it stands: it may be relative, signed, or on
another host, which then gets no credentials. A chunk is sent once: when its fate is not known, the registry is asked
how far it got (``GET Location``) before anything else is sent. What `Upload.state` returns is enough to go on in
another process.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from orlop.errors import DigestMismatch, InvalidAnswer, NotInRegistry, RegistryError, UploadLost
from orlop.model.digest import Digest
from orlop.model.values import dataclass, field
from orlop.registry.access import to_push
from orlop.registry.offsets import Unknown, offset_after, offset_asked
from orlop.registry.origin import resolved

if TYPE_CHECKING:
    from orlop.registry.exchange import Exchange
    from orlop.registry.messages import Answer, Body

_DONE: Final = frozenset({200, 201, 202, 204})
_TAKEN: Final = frozenset({200, 201, 202, 204, 416})
_OCTETS: Final = ("Content-Type", "application/octet-stream")
_LENGTH: Final = 18


@dataclass(frozen=True, slots=True)
class UploadState:
    """What is needed to go on with an upload: where, and how much was acknowledged.

    The location may be as good as a secret, so that it is not part of the ``repr``.
    """

    repository: str
    location: str = field(repr=False)
    offset: int


class Upload:
    """One session. Not for several threads.

    ``offset`` is how many bytes the registry acknowledged; ``least`` and ``most`` are the sizes of chunks that it asked
    for, where it did.
    """

    def __init__(self, exchange: Exchange, repository: str, location: str, *, offset: int = 0) -> None:
        self._exchange = exchange
        self._repository = repository
        self._location = location
        self._wants = to_push(repository)
        self.offset = offset
        self.least: int | None = None
        self.most: int | None = None

    @classmethod
    def begun(cls, exchange: Exchange, repository: str, answer: Answer) -> Upload:
        """Return the session that an answer of 202 opens; the answer is closed."""
        with answer:
            upload = cls(exchange, repository, _location(answer))
            upload.least = _length(answer, "OCI-Chunk-Min-Length")
            upload.most = _length(answer, "OCI-Chunk-Max-Length")
        return upload

    @property
    def state(self) -> UploadState:
        """What to keep to go on later."""
        return UploadState(self._repository, self._location, self.offset)

    def send(self, body: Body, *, in_chunks: bool = False) -> None:
        """Send a piece of the blob, which follows what was acknowledged.

        Args:
            body: the piece.
            in_chunks: tell the registry which bytes these are, as it wants for all but the only piece.

        Raises:
            UploadLost: the registry has forgotten the session. RegistryUnreachable: how far it got must be asked
            (`ask`). RegistryError: it takes no such piece.
        """
        headers: tuple[tuple[str, str], ...] = (_OCTETS,)
        if in_chunks and body.size is not None:
            headers += (("Content-Range", f"{self.offset}-{self.offset + body.size - 1}"),)
        try:
            answer = self._ask("PATCH", self._location, _TAKEN, body=body, headers=headers)
        except NotInRegistry as error:
            raise _lost(error) from error
        with answer:
            sent = self.offset + (body.size or 0)
            found = sent if body.size is None else offset_after(answer.status, answer.headers, sent)
            if answer.status == 416 and (found is Unknown.ASK or found == self.offset):
                raise RegistryError(
                    f"{self._exchange.origin.authority} rejects this piece of an upload (416)",
                    registry=self._exchange.origin.authority,
                    answered=416,
                )
            if answer.headers.get("Location") is not None:
                self._location = _location(answer)
            if isinstance(found, int):
                self.offset = found

    def ask(self) -> int:
        """Ask how far the registry got, and go on from there. Raises `UploadLost` where it has forgotten it."""
        try:
            with self._ask("GET", self._location, {200, 202, 204}) as answer:
                if answer.headers.get("Location") is not None:
                    self._location = _location(answer)
                if answer.headers.get("Range") is not None:
                    self.offset = offset_asked(answer.headers)
        except (RegistryError, NotInRegistry) as error:
            if error.answered is None or isinstance(error, UploadLost):
                raise
            raise _lost(error) from error
        return self.offset

    def commit(self, digest: Digest, body: Body | None = None) -> Digest:
        """End the session: the registry checks the digest of all that was sent, and keeps the blob.

        Args:
            digest: what it must be.
            body: what is still to be sent.

        Raises:
            UploadLost: the registry has forgotten the session. RegistryUnreachable: whether the blob is there must be
            asked. RegistryError: the digest is another one, or the blob is not taken. DigestMismatch: the registry
            says that it keeps another one.
        """
        mark = "&" if "?" in self._location else "?"
        where = f"{self._location}{mark}digest={quote(str(digest), safe='')}"
        headers = () if body is None else (_OCTETS,)
        try:
            with self._ask("PUT", where, _DONE, body=body, headers=headers) as answer:
                found = answer.headers.get("Docker-Content-Digest")
        except NotInRegistry as error:
            raise _lost(error) from error
        said = Digest.unchecked(found or "")
        if said.is_valid and said.algorithm == digest.algorithm and said != digest:
            raise DigestMismatch(
                f"{self._exchange.origin.authority} keeps a blob of the digest {said} where {digest} was pushed"
            )
        return said if said.is_valid else digest

    def cancel(self) -> None:
        """Have the registry forget the session. What goes wrong with that does not matter."""
        with suppress(RegistryError, NotInRegistry):
            self._ask("DELETE", self._location, {*_DONE, 404}).close()

    def _ask(
        self,
        method: str,
        where: str,
        expect: set[int] | frozenset[int],
        *,
        body: Body | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> Answer:
        return self._exchange.ask(
            method,
            where,
            self._wants,
            what=f"upload to {self._repository}",
            expect=expect,
            headers=headers,
            body=body,
            once=body is not None,
        )


def _lost(error: RegistryError | NotInRegistry) -> UploadLost:
    return UploadLost(str(error), registry=error.registry, answered=error.answered, said=error.said)


def _location(answer: Answer) -> str:
    found = answer.headers.get("Location")
    if not found:
        raise InvalidAnswer("the registry does not say where to upload to")
    return resolved(answer.url, found)


def _length(answer: Answer, name: str) -> int | None:
    text = answer.headers.get(name) or ""
    return int(text) if text.isdecimal() and text.isascii() and 0 < len(text) < _LENGTH and int(text) else None
