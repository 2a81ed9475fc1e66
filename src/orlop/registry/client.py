"""A client of one registry: a method for each endpoint of OCI distribution 1.1, which Docker's registries share.

Paths are made of repositories, tags and digests that were checked before. Every method raises `RegistryError` or
`NotInRegistry` with the registry's own code and message, `RegistryUnreachable` where no answer comes, and what ends the
wait (`Waiting.check`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode

from orlop.errors import (
    DigestMismatch,
    InvalidAnswer,
    InvalidJSON,
    InvalidReference,
    NotInRegistry,
    RegistryDenied,
    RegistryError,
    RegistryUnreachable,
    RegistryUnsupported,
)
from orlop.model import gojson
from orlop.model.digest import Digest
from orlop.model.regex import regex
from orlop.model.values import dataclass
from orlop.registry import referrers, scopes
from orlop.registry.access import Wants, to_delete, to_pull, to_push
from orlop.registry.blobs import BlobReader
from orlop.registry.conditions import ALWAYS
from orlop.registry.fetched import ACCEPTED, digest_of, fetched, looked_at
from orlop.registry.limits import number
from orlop.registry.links import Turning, next_page
from orlop.registry.messages import BytesBody
from orlop.registry.pushing import is_missing
from orlop.registry.uploads import Upload

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterator

    from orlop.model.descriptor import Descriptor
    from orlop.registry.conditions import Condition
    from orlop.registry.exchange import Exchange
    from orlop.registry.fetched import FetchedManifest
    from orlop.registry.messages import Answer, OpenedBody
    from orlop.registry.patience import Waiting
    from orlop.registry.uploads import UploadState

MANIFEST_LIMIT: Final = 4 << 20
"""The most bytes of a manifest, as containerd and podman have it."""
_LIST_LIMIT: Final = 16 << 20
"""The most bytes of one page of tags or repositories; reading a text takes up to ten times as much memory."""
_TOO_LONG: Final = "PAGINATION_NUMBER_INVALID"
_PATH: Final = regex(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*")
_TAG: Final = regex(r"[0-9A-Za-z_][0-9A-Za-z_.-]{0,127}")
_ACCEPT: Final = (("Accept", ", ".join(ACCEPTED)),)
_HEAD_REFUSED: Final = frozenset({400, 403, 405, 501})
_DONE: Final = frozenset({200, 201, 202, 204})
_MOUNT_REFUSED: Final = frozenset({400, 401, 403, 404, 405, 500, 501, 502})


@dataclass(frozen=True, slots=True)
class PushedManifest:
    """What a registry made of a manifest: its digest, and whether it keeps track of what it refers to."""

    digest: Digest
    lists_referrers: bool


class RegistryClient:
    """Asks one registry. Threads may share it.

    Args:
        exchange: carries what is asked.
        namespace: whose names a mirror is asked for; empty for the registry itself.
    """

    def __init__(self, exchange: Exchange, *, namespace: str = "") -> None:
        self.exchange = exchange
        self._namespace = namespace

    @property
    def waiting(self) -> Waiting:
        """How long it waits."""
        return self.exchange.waiting

    @property
    def host(self) -> str:
        """The registry's host and port."""
        return self.exchange.origin.authority

    def ping(self) -> None:
        """Check that a registry is there and lets this user in."""
        self.exchange.ask("GET", "/v2/", Wants(), what="log in", expect={200}).close()

    def log_in(self) -> bool:
        """Check credentials, and return whether the registry asked for any.

        Raises:
            RegistryDenied: they are refused, or were not sent, since what asks for them is of another site.
        """
        try:
            self.ping()
        except RegistryDenied as error:
            if error.answered != 401 or self.exchange.access.note:
                raise
            raise RegistryDenied(
                f"cannot log in: {self.host} refuses the user name and password; give the ones it knows, or a token"
                " that has not expired",
                registry=self.host,
                answered=error.answered,
                said=error.said,
            ) from error
        access = self.exchange.access
        if access.was_asked and access.credentials is not None and not access.has_shown:
            why = access.note or "; it lets anybody in, and its credentials were not sent"
            raise RegistryDenied(f"cannot log in to {self.host}{why}", registry=self.host)
        return access.was_asked

    # Manifests.

    def get_manifest(
        self, repository: str, reference: str | Digest, *, limit: int = MANIFEST_LIMIT, is_list: bool = False
    ) -> FetchedManifest:
        """Return a manifest or an index by its tag or digest; by its digest, it is checked against that.

        A list that others write (``is_list``) may have entries whose digests are by algorithms that are not known.

        Raises:
            NotInRegistry: there is none. DigestMismatch: it is another one. InvalidManifest: it can be read in two
            ways. InvalidAnswer: it is larger than the limit, or not a manifest.
        """
        what = f"{self.host}/{repository}{_suffix(reference)}"
        answer = self._ask("GET", self._manifest(repository, reference), to_pull(repository), f"pull {what}", {200})
        wanted = reference if isinstance(reference, Digest) else None
        return fetched(answer, wanted, limit=limit, what=what, is_list=is_list)

    def head_manifest(self, repository: str, reference: str | Digest) -> Descriptor:
        """Return the type, digest and size of a manifest, without fetching it where the registry lets one look.

        For a tag the digest is what the registry says.

        Raises:
            NotInRegistry: there is none.
        """
        wanted = reference if isinstance(reference, Digest) else None
        where = self._manifest(repository, reference)
        try:
            what = f"look at {repository}{_suffix(reference)}"
            with self._ask("HEAD", where, to_pull(repository), what, {200}) as answer:
                found = looked_at(answer, wanted)
        except RegistryError as error:
            if error.answered not in _HEAD_REFUSED:
                raise
            # The answer to GET says why, or is one.
            found = None
        return self.get_manifest(repository, reference).descriptor if found is None else found

    def put_manifest(
        self,
        repository: str,
        reference: str | Digest,
        raw: bytes,
        media_type: str,
        condition: Condition = ALWAYS,
    ) -> PushedManifest:
        """Push a manifest or an index under a tag or its digest. Everything that it names must be there.

        Args:
            repository: into which it goes.
            reference: a tag, or its digest.
            raw: its bytes.
            media_type: its type.
            condition: what it may replace. Registries that do not know conditions pass over it.

        Raises:
            RegistryError: the registry refuses; ``missing`` names the blobs that it does not have.
            DigestMismatch: it keeps something else.
        """
        answer = self.exchange.ask(
            "PUT",
            self._manifest(repository, reference, namespaced=False),
            to_push(repository),
            what=f"push {self.host}/{repository}{_suffix(reference)}",
            expect=_DONE,
            headers=(("Content-Type", media_type), *condition.headers()),
            body=BytesBody(raw),
        )
        with answer:
            said = Digest.unchecked(answer.headers.get("Docker-Content-Digest") or "")
            lists = answer.headers.get("OCI-Subject") is not None
        asked = reference if isinstance(reference, Digest) else None
        algorithm = asked.algorithm if asked is not None else said.algorithm if said.is_valid else "sha256"
        digest = digest_of(raw, algorithm)
        if said.is_valid and said.algorithm == algorithm and said != digest:
            raise DigestMismatch(f"{self.host} keeps a manifest of the digest {said} where {digest} was pushed")
        return PushedManifest(digest, lists)

    def delete_manifest(self, repository: str, digest: Digest) -> None:
        """Delete a manifest, and with it all its tags. Raises `RegistryUnsupported` where nothing may be deleted."""
        where = self._manifest(repository, digest, namespaced=False)
        self._ask("DELETE", where, to_delete(repository), f"delete {repository}@{digest}", _DONE).close()

    def delete_tag(self, repository: str, tag: str) -> None:
        """Delete a tag alone.

        Raises:
            NotInRegistry: there is none. RegistryUnsupported: the registry deletes manifests only.
        """
        where = self._manifest(repository, tag, namespaced=False)
        try:
            self._ask("DELETE", where, to_delete(repository), f"delete {repository}:{tag}", _DONE).close()
        except RegistryError as error:
            if error.answered not in {400, 405}:
                raise
            raise RegistryUnsupported(
                f"{self.host} cannot delete the tag {tag} alone: {error}",
                registry=self.host,
                answered=error.answered,
                said=error.said,
            ) from error

    # Blobs.

    def head_blob(self, repository: str, digest: Digest) -> int | None:
        """Return the size of a blob, or None where the registry does not say it. Raises `NotInRegistry`."""
        with self._look(repository, digest, to_pull(repository)) as answer:
            return None if answer.is_encoded else number(answer.headers.get("Content-Length") or "")

    def has_blob(self, repository: str, digest: Digest, *, pulls: bool = False) -> bool:
        """Return whether a repository has a blob, as far as the registry says.

        It is one that is pushed to, and so asked with the right to push, unless it is one that ``pulls`` are from.
        """
        try:
            self._look(repository, digest, (to_pull if pulls else to_push)(repository)).close()
        except RegistryUnreachable:
            raise
        except (RegistryError, NotInRegistry) as error:
            if is_missing(error):
                return False
            raise
        return True

    def open_blob(self, repository: str, want: Descriptor, *, offset: int = 0) -> BlobReader:
        """Open a blob at an offset. Its size is checked; its digest is for whoever keeps it.

        A layer that the registry does not have, and that is said to be elsewhere, is fetched from there, without any
        credentials.

        Raises:
            NotInRegistry: there is none.
        """
        what = f"the blob {want.digest} of {self.host}/{repository}"

        def ask(begin: int) -> Answer:
            headers = (("Range", f"bytes={begin}-"),) if begin else ()
            return self.exchange.ask(
                "GET",
                self._blob(repository, want.digest),
                to_pull(repository),
                what=f"pull {what}",
                expect={200, 206, 416},
                headers=headers,
            )

        try:
            return BlobReader(ask, want.size, self.waiting, what=what, offset=offset)
        except NotInRegistry:
            if not want.urls:
                raise
            return self._open_elsewhere(want, what, offset)

    def delete_blob(self, repository: str, digest: Digest) -> None:
        """Delete a blob from a repository."""
        where = self._blob(repository, digest, namespaced=False)
        self._ask("DELETE", where, to_delete(repository), f"delete {digest}", _DONE).close()

    # Uploads.

    def start_upload(self, repository: str) -> Upload:
        """Open a session to send a blob in."""
        answer = self._post(repository, "", to_push(repository))
        return Upload.begun(self.exchange, repository, answer)

    def resume_upload(self, state: UploadState) -> Upload:
        """Go on with a session that another process opened. Raises `UploadLost` where the registry forgot it."""
        upload = Upload(self.exchange, state.repository, state.location, offset=state.offset)
        upload.ask()
        return upload

    def post_blob(self, repository: str, digest: Digest, body: OpenedBody | BytesBody) -> None:
        """Send a blob with one request, or with two where the registry does not take it at once."""
        query = urlencode({"digest": str(digest)})
        answer = self._post(repository, query, to_push(repository), body=body)
        if answer.status == 202:
            Upload.begun(self.exchange, repository, answer).commit(digest, body)
        else:
            answer.close()

    def mount_blob(self, repository: str, digest: Digest, source: str | None = None) -> Upload | None:
        """Mount a blob of another repository of the same registry.

        Args:
            repository: the one that is to have it.
            digest: of the blob.
            source: the repository that has it; None where the registry is to find it.

        Returns:
            None where it is done; else a session to send it in, as the registry does not share it.
        """
        query = urlencode({"mount": str(digest)} | ({} if source is None else {"from": _checked(source)}))
        try:
            answer = self._post(repository, query, to_push(repository, mounted_from=source))
        except (RegistryError, NotInRegistry) as error:
            if error.answered not in _MOUNT_REFUSED:
                raise
            return self.start_upload(repository)
        if answer.status == 202:
            return Upload.begun(self.exchange, repository, answer)
        answer.close()
        return None

    # Lists.

    def tags(self, repository: str, *, page: int = 1000) -> Iterator[str]:
        """Yield the tags of a repository as the registry lists them, page by page; what cannot be a tag is left out.

        Raises:
            NotInRegistry: there is none. InvalidAnswer: the pages form a loop, or have no end.
        """
        where = f"/v2/{_checked(repository)}/tags/list?n={page}"
        return self._pages(where, "tags", _TAG, to_pull(repository), f"list the tags of {repository}")

    def catalog(self, *, page: int = 100) -> Iterator[str]:
        """Yield the repositories of a registry, page by page; many registries show them to nobody."""
        wants = Wants((scopes.CATALOG,))
        return self._pages(f"/v2/_catalog?n={page}", "repositories", _PATH, wants, "list the repositories")

    def referrers(self, repository: str, subject: Digest, artifact_type: str = "") -> tuple[Descriptor, ...]:
        """Return what refers to a manifest, of one type or of any, by the registry's list or by the fallback tag."""
        found = referrers.listed(self, _checked(repository), subject, artifact_type)
        return referrers.tagged(self, repository, subject, artifact_type) if found is None else found

    def _open_elsewhere(self, want: Descriptor, what: str, offset: int) -> BlobReader:
        last: Exception | None = None
        for url in want.urls:
            try:
                ask = self._asking_elsewhere(url, what)
                return BlobReader(ask, want.size, self.waiting, what=what, offset=offset)
            except (RegistryError, NotInRegistry) as error:
                last = error
        assert last is not None
        raise last

    def _asking_elsewhere(self, url: str, what: str) -> Callable[[int], Answer]:
        def ask(begin: int) -> Answer:
            headers = (("Range", f"bytes={begin}-"),) if begin else ()
            return self.exchange.ask_stranger(url, what=f"pull {what}", expect={200, 206, 416}, headers=headers)

        return ask

    def _look(self, repository: str, digest: Digest, wants: Wants) -> Answer:
        return self._ask("HEAD", self._blob(repository, digest), wants, f"look for {digest} in {repository}", {200})

    def _post(self, repository: str, query: str, wants: Wants, *, body: OpenedBody | BytesBody | None = None) -> Answer:
        mark = "?" if query else ""
        return self.exchange.ask(
            "POST",
            f"/v2/{_checked(repository)}/blobs/uploads/{mark}{query}",
            wants,
            what=f"upload to {repository}",
            expect={201, 202},
            headers=() if body is None else (("Content-Type", "application/octet-stream"),),
            body=body,
        )

    def _pages(self, where: str, member: str, shape: re.Pattern[str], wants: Wants, what: str) -> Iterator[str]:
        turning = Turning(self.host, what)
        following: str | None = where
        while following is not None:
            turning.ask(following)
            try:
                asked = self.exchange.ask("GET", following, wants, what=what, expect={200})
            except RegistryError as error:
                # Some refuse long pages; without a length theirs are as long as they like.
                if following != where or all(code != _TOO_LONG for code, _ in error.said):
                    raise
                asked = self.exchange.ask("GET", where.partition("?")[0], wants, what=what, expect={200})
            with asked as answer:
                # Where it was asked for again, the next page is that of the answer which came whole.
                raw = answer.document(_LIST_LIMIT, what=f"the answer to {what}")
                following = next_page(answer.url, answer.headers.all("Link"))
            found = _member(raw, member)
            if found is not None and not isinstance(found, list):
                raise InvalidAnswer(f"{self.host} does not answer with a list when asked to {what}", registry=self.host)
            turning.came(len(raw), len(found or ()))
            yield from (one for one in found or () if isinstance(one, str) and shape.fullmatch(one) is not None)

    def _ask(self, method: str, where: str, wants: Wants, what: str, expect: set[int] | frozenset[int]) -> Answer:
        headers = _ACCEPT if "/manifests/" in where and method in {"GET", "HEAD"} else ()
        return self.exchange.ask(method, where, wants, what=what, expect=expect, headers=headers)

    def _manifest(self, repository: str, reference: str | Digest, *, namespaced: bool = True) -> str:
        if isinstance(reference, str) and _TAG.fullmatch(reference) is None:
            raise InvalidReference(f"invalid tag {reference!r}")
        found = reference if isinstance(reference, str) else str(Digest.parse(str(reference)))
        return f"/v2/{_checked(repository)}/manifests/{found}{self._query if namespaced else ''}"

    def _blob(self, repository: str, digest: Digest, *, namespaced: bool = True) -> str:
        found = Digest.parse(str(digest))
        return f"/v2/{_checked(repository)}/blobs/{found}{self._query if namespaced else ''}"

    @property
    def _query(self) -> str:
        return f"?ns={quote(self._namespace, safe='')}" if self._namespace else ""


def _member(raw: bytes, name: str) -> object:
    """Return a member of an answer, or None where the answer is not an object."""
    try:
        document = gojson.loads(raw)
    except InvalidJSON:
        return False
    return document.get(name) if isinstance(document, dict) else False


def _checked(repository: str) -> str:
    """Return the path of a repository, which becomes a part of paths on the registry."""
    if _PATH.fullmatch(repository) is None:
        raise InvalidReference(f"invalid name of a repository {repository!r}")
    return repository


def _suffix(reference: str | Digest) -> str:
    return f"@{reference}" if isinstance(reference, Digest) else f":{reference}"
