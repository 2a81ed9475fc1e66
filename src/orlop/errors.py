"""Every error that orlop raises: one root, with facts that do not change.

Each is also what a Python program expects: `ValueError` for input, `LookupError` for what is not there, `OSError` with
its ``errno`` and ``filename`` for the place, `TypeError` for an argument of a wrong type. Programs match the class or
its ``code``; the text is for people and may be improved at any time. The exit status is what the command line ends
with, the HTTP status what a front door answers.

| exit status | meaning |
|---|---|
| 1 | anything else |
| 2 | the command line itself is wrong |
| 3 | what was given is not a valid reference, archive, config or digest |
| 4 | there is no such image, layer or content |
| 5 | the request conflicts with what is there |
| 6 | content is not what its digest says, or the database is damaged |
| 7 | the store's place cannot be used: no space, no permission, read-only, too new |
| 8 | images differ (`orlop diff`), or an audit found what `--fail-on` names; no error |
| 130 | interrupted by the user |
"""

from __future__ import annotations

import errno
from typing import ClassVar, Final

_LONGEST: Final = 600


class OrlopError(Exception):
    """Root of all errors; its text is one sentence that says what, where and what to do.

    What others wrote may be part of it: the text is one line of at most 600 characters, cut in its middle where it
    would be longer, and nothing in it can control a terminal.
    """

    code: ClassVar[str] = "ERROR"
    http_status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1

    def __str__(self) -> str:
        # Classes of Python that are bases as well have texts of their own.
        text = str(self.args[0]) if self.args else ""
        if len(text) > _LONGEST:
            text = f"{text[: _LONGEST // 3]}…{text[1 - 2 * _LONGEST // 3 :]}"
        if text.isprintable():
            return text
        return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


class NotSupported(OrlopError):
    """What was asked for is nothing that orlop does."""

    code = "NOT_SUPPORTED"
    http_status = 501


class DownloadFailed(OrlopError):
    """What a URL names could not be fetched. ``answered`` is the status of the server's answer, if there was one."""

    code = "DOWNLOAD_FAILED"

    def __init__(self, message: str = "", *, answered: int | None = None) -> None:
        super().__init__(message)
        self.answered = answered


# What was given cannot be understood.


class InvalidInput(OrlopError, ValueError):
    """What was given is not valid."""

    code = "INVALID_INPUT"
    http_status = 400
    exit_code = 3


class WrongType(InvalidInput, TypeError):
    """A value has a type that cannot be taken there."""

    code = "WRONG_TYPE"


class InvalidDigest(InvalidInput):
    """A text that should be a digest is none."""

    code = "INVALID_DIGEST"


class InvalidReference(InvalidInput):
    """A text that should name an image is not a valid reference."""

    code = "INVALID_REFERENCE"


class InvalidTimestamp(InvalidInput):
    """A text or number that should be a time is none, or lies outside the years 0 to 9999."""

    code = "INVALID_TIMESTAMP"


class InvalidPlatform(InvalidInput):
    """A text that should name a platform is not a valid one."""

    code = "INVALID_PLATFORM"


class InvalidJSON(InvalidInput):
    """Bytes are not JSON, or not JSON of the shape that was expected."""

    code = "INVALID_JSON"


class InvalidImage(InvalidInput):
    """An image config cannot be read."""

    code = "INVALID_IMAGE"


class InvalidManifest(InvalidInput):
    """A manifest or index cannot be read."""

    code = "INVALID_MANIFEST"


class InvalidTar(InvalidInput):
    """A tar stream is malformed or ends too early."""

    code = "INVALID_TAR"


class InvalidArchive(InvalidInput):
    """An image archive is incomplete, contradictory or no image archive at all."""

    code = "INVALID_ARCHIVE"


class InvalidCompression(InvalidInput):
    """A compressed stream is damaged, or its compression is not known."""

    code = "INVALID_COMPRESSION"


class InvalidTemplate(InvalidInput):
    """A text that should be a template for output is none, or does not fit what is printed."""

    code = "INVALID_TEMPLATE"


class InvalidFilter(InvalidInput):
    """A filter of a list is not known, or its value cannot be read."""

    code = "INVALID_FILTER"


class InvalidInstruction(InvalidInput):
    """A change of a config is not an instruction, or not one that a config can take."""

    code = "INVALID_INSTRUCTION"


class WrongFileType(InvalidInput):
    """What is at that path in an image is not of the type that is needed, such as a directory where a file is."""

    code = "WRONG_FILE_TYPE"


class UnsupportedVersion(InvalidInput):
    """A client speaks a version of an API that is not served."""

    code = "UNSUPPORTED_VERSION"


class LimitExceeded(InvalidInput):
    """Input is larger, deeper or longer than the limit that is set for it."""

    code = "LIMIT_EXCEEDED"


# Nothing is there under that name.


class NotFound(OrlopError, LookupError):
    """Nothing is there under that name."""

    code = "NOT_FOUND"
    http_status = 404
    exit_code = 4


class FileNotThere(NotFound, FileNotFoundError):
    """A file or directory that was named is not there: a `NotFound` that is also Python's, with the same code."""


class ImageNotFound(NotFound):
    """No image has that name or ID."""

    code = "IMAGE_NOT_FOUND"


class ReferenceNotFound(NotFound):
    """No image carries that reference."""

    code = "REFERENCE_NOT_FOUND"


class PlatformNotFound(NotFound):
    """No image of that name is for the platform that was asked for."""

    code = "PLATFORM_NOT_FOUND"


class LayerNotFound(NotFound):
    """No layer has that chain ID or diff ID."""

    code = "LAYER_NOT_FOUND"


class ContentNotFound(NotFound):
    """No content, or no metadata of it, is kept under that digest."""

    code = "CONTENT_NOT_FOUND"


class PathNotFound(NotFound):
    """Nothing is at that path in an image."""

    code = "PATH_NOT_FOUND"


class StoreNotFound(NotFound):
    """No store is there, and none was to be made."""

    code = "STORE_NOT_FOUND"


# The request conflicts with what is there.


class Conflict(OrlopError):
    """The request conflicts with what is there."""

    code = "CONFLICT"
    http_status = 409
    exit_code = 5


class AmbiguousID(Conflict):
    """A prefix is shared by several image IDs."""

    code = "AMBIGUOUS_ID"
    http_status = 400


class ImageInUse(Conflict):
    """An image cannot be removed: something refers to it."""

    code = "IMAGE_IN_USE"


class QuotaExceeded(Conflict):
    """What must stay in a store takes more than it may."""

    code = "QUOTA_EXCEEDED"


class LayerLimitExceeded(Conflict):
    """A chain would have more layers than an image may have."""

    code = "LAYER_LIMIT_EXCEEDED"


class TargetExists(Conflict):
    """Something is there already where a store was to be put."""

    code = "TARGET_EXISTS"


# Content is not what it should be.


class IntegrityError(OrlopError):
    """Content is not what its digest or size says."""

    code = "INTEGRITY"
    exit_code = 6


class DigestMismatch(IntegrityError):
    """The digest of some bytes is not the expected one."""

    code = "DIGEST_MISMATCH"


class SizeMismatch(IntegrityError):
    """Some content has more or fewer bytes than it should have."""

    code = "SIZE_MISMATCH"


class TocDamaged(IntegrityError):
    """A layer's table of contents ends too early, is damaged, or is of another version; it can be made anew."""

    code = "TOC_DAMAGED"


# The place where the store lies cannot be used.


class StorageError(OrlopError, OSError):
    """The store's place cannot be used."""

    code = "STORAGE"
    exit_code = 7
    _usual_errno: ClassVar[int | None] = None

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        # What SQLite or a look at the place says has no number of its own.
        if self._usual_errno is not None:
            self.errno = self._usual_errno


class NoSpace(StorageError):
    """The file system (or the quota) is full."""

    code = "NO_SPACE"
    _usual_errno = errno.ENOSPC
    http_status = 507


class PermissionDenied(StorageError, PermissionError):
    """The store, or a file that was named, may not be read or written by this user."""

    code = "PERMISSION_DENIED"
    _usual_errno = errno.EACCES
    http_status = 403


class ReadOnlyStore(StorageError):
    """The store lies on a read-only file system, or was opened for reading."""

    code = "READ_ONLY_STORE"
    _usual_errno = errno.EROFS
    http_status = 403


class StoreTooNew(StorageError):
    """A newer orlop wrote the store."""

    code = "STORE_TOO_NEW"


class StoreDamaged(StorageError):
    """The store cannot be used as it is: its database, or what should be its directory, is not what it should be."""

    code = "STORE_DAMAGED"


class DatabaseDamaged(StoreDamaged):
    """The database of the store is damaged, or its rows contradict each other: nothing is done because of them."""

    code = "DATABASE_DAMAGED"
    exit_code = 6


class StoreInUse(StorageError):
    """Another program owns the store, or works with it, at the moment."""

    code = "STORE_IN_USE"
    http_status = 409


class StoreClosed(StorageError, ValueError):
    """The store, or the archive, was closed, and is used all the same."""

    code = "STORE_CLOSED"
    http_status = 503


class StoreMoved(StorageError):
    """The store was moved, removed or replaced while it was open."""

    code = "STORE_MOVED"


class UnsafeFileSystem(StorageError):
    """The store lies on a network or FUSE file system and was opened for reading: locks may not hold there."""

    code = "UNSAFE_FILE_SYSTEM"


class ReadFailed(StorageError):
    """A file or pipe that was named cannot be read."""

    code = "READ_FAILED"


class WriteFailed(StorageError):
    """A file or pipe that was named cannot be written."""

    code = "WRITE_FAILED"


# A server cannot listen, or does not answer a request.


class InvalidAddress(InvalidInput):
    """A text that should say where a server listens is not an address, or one that may not be served so."""

    code = "INVALID_ADDRESS"


class ListenFailed(OrlopError):
    """A server cannot listen at an address."""

    code = "LISTEN_FAILED"
    exit_code = 7


class RequestRefused(OrlopError):
    """A request may not be made: by this client, in this way, or of this server."""

    code = "REQUEST_REFUSED"
    http_status = 403


class Unauthorized(RequestRefused):
    """A request does not carry the token that the server asks for."""

    code = "UNAUTHORIZED"
    http_status = 401


class NotServed(RequestRefused):
    """The API has no such endpoint."""

    code = "NOT_SERVED"
    http_status = 404


class NoSwarm(RequestRefused):
    """A request is about a swarm, and there is none."""

    code = "NO_SWARM"
    http_status = 503


class BodyTooLarge(RequestRefused):
    """The body of a request is larger than the server takes."""

    code = "BODY_TOO_LARGE"
    http_status = 413


class ServerBusy(RequestRefused):
    """The server is busy with as many requests as it allows, or is about to end."""

    code = "SERVER_BUSY"
    http_status = 503


class RequestAborted(OrlopError):
    """A client hung up, or was too slow, before a request was done."""

    code = "REQUEST_ABORTED"
    http_status = 408


# A registry refuses, fails, or cannot be reached.


class _FromRegistry(Exception):
    """What a registry said: its host, the status of its answer, and pairs of a code and a message of its own.

    ``missing`` holds the digests of blobs that a manifest names and the registry does not have.
    """

    missing: tuple[str, ...] = ()

    def __init__(
        self,
        message: str = "",
        *,
        registry: str = "",
        answered: int | None = None,
        said: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(message)
        self.registry, self.answered, self.said = registry, answered, said


class RegistryError(_FromRegistry, OrlopError):
    """A registry refused a request, or failed."""

    code = "REGISTRY_ERROR"
    http_status = 502


class RegistryUnreachable(RegistryError):
    """No answer came from a registry: no connection, no trust in its certificate, or it stopped to send."""

    code = "REGISTRY_UNREACHABLE"


class RegistryDenied(RegistryError):
    """A registry does not allow a request: without credentials, with these, or for anybody."""

    code = "REGISTRY_DENIED"
    http_status = 403


class RegistryBusy(RegistryError):
    """A registry asks to wait longer than was to be waited; ``wait`` is how many seconds, where it says so."""

    code = "REGISTRY_BUSY"
    http_status = 429
    wait: float | None = None


class RegistryUnsupported(RegistryError):
    """A registry does not do what was asked for."""

    code = "REGISTRY_UNSUPPORTED"
    http_status = 501


class InvalidAnswer(RegistryError):
    """A registry's answer is not what the protocol says, or too large."""

    code = "INVALID_ANSWER"


class UnsafeRedirect(RegistryError):
    """A registry leads to a place to which nothing may be sent, or not with these credentials."""

    code = "UNSAFE_REDIRECT"


class UploadLost(RegistryError):
    """A registry has forgotten an upload, which must begin anew."""

    code = "UPLOAD_LOST"


class NotInRegistry(_FromRegistry, NotFound):
    """A registry has no such repository, tag, manifest or blob."""

    code = "NOT_IN_REGISTRY"


class InvalidSettings(InvalidInput):
    """A file of credentials, certificates or registries, or a credential helper, cannot be used."""

    code = "INVALID_SETTINGS"
