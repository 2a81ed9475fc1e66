"""Every error that orlop raises: one root, with facts that do not change.

Each error is also one that a Python program expects: `ValueError` for input, `LookupError` for something that does not
exist, `OSError` with its ``errno`` and ``filename`` for a location, `TypeError` for an argument of a wrong type.
Programs match the class or its ``code``; the text is for people and may be improved at any time. The command line ends
with the exit status, and a server answers with the HTTP status.

| exit status | meaning |
|---|---|
| 1 | anything that no other status names |
| 2 | the command line itself is wrong |
| 3 | the input is not a valid reference, archive, config or digest |
| 4 | there is no such image, layer, content or file |
| 5 | the request conflicts with what is there |
| 6 | content does not match its digest, or the database is damaged |
| 7 | the location cannot be used: no space, no permission, read-only, too new |

A command that ends without an error may have another status: ``docs/errors.md`` lists all of them.
"""

from __future__ import annotations

import errno

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar, Final

_LONGEST: Final = 600


class OrlopError(Exception):
    """Root of all errors; its text is one sentence that says what, where and what to do.

    It may quote what others wrote. So it is one line of at most 600 characters, shortened in its middle if it would be
    longer, and nothing in it can control a terminal.
    """

    code: ClassVar[str] = "ERROR"
    http_status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1

    def __str__(self) -> str:
        # Python's own classes, which are bases too, have texts of their own.
        text = str(self.args[0]) if self.args else ""
        if len(text) > _LONGEST:
            text = f"{text[: _LONGEST // 3]}…{text[1 - 2 * _LONGEST // 3 :]}"
        if text.isprintable():
            return text
        return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


class NotSupported(OrlopError):
    """orlop does not do what was asked for."""

    code = "NOT_SUPPORTED"
    http_status = 501


class DownloadFailed(OrlopError):
    """The content of a URL could not be fetched. ``answered`` is the status of the answer, if there was one."""

    code = "DOWNLOAD_FAILED"

    def __init__(self, message: str = "", *, answered: int | None = None) -> None:
        super().__init__(message)
        self.answered = answered


# Input that cannot be understood.


class InvalidInput(OrlopError, ValueError):
    """What was given is not valid."""

    code = "INVALID_INPUT"
    http_status = 400
    exit_code = 3


class WrongType(InvalidInput, TypeError):
    """A value has a type that cannot be taken there."""

    code = "WRONG_TYPE"


class InvalidDigest(InvalidInput):
    """A text is not a valid digest."""

    code = "INVALID_DIGEST"


class InvalidReference(InvalidInput):
    """A text is not a valid reference to an image."""

    code = "INVALID_REFERENCE"


class InvalidTimestamp(InvalidInput):
    """A text or number is not a valid time, or is outside the years 0 to 9999."""

    code = "INVALID_TIMESTAMP"


class InvalidPlatform(InvalidInput):
    """A text is not a valid platform."""

    code = "INVALID_PLATFORM"


class InvalidJSON(InvalidInput):
    """Bytes are not valid JSON, or not JSON of the expected shape."""

    code = "INVALID_JSON"


class InvalidImage(InvalidInput):
    """An image config cannot be read."""

    code = "INVALID_IMAGE"


class InvalidManifest(InvalidInput):
    """A manifest or index cannot be read."""

    code = "INVALID_MANIFEST"


class ManifestIncomplete(InvalidManifest):
    """A manifest names content that its repository does not have. ``missing`` are the digests, as texts."""

    code = "MANIFEST_INCOMPLETE"

    def __init__(self, message: str = "", *, missing: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.missing = missing


class InvalidRange(InvalidInput):
    """A range of bytes is beyond the content, or not the one that comes next. ``reached`` are the bytes there."""

    code = "INVALID_RANGE"
    http_status = 416

    def __init__(self, message: str = "", *, reached: int = 0) -> None:
        super().__init__(message)
        self.reached = reached


class InvalidTar(InvalidInput):
    """A tar stream is malformed or ends too early."""

    code = "INVALID_TAR"


class InvalidArchive(InvalidInput):
    """An image archive is incomplete or contradictory, or a file is not an image archive."""

    code = "INVALID_ARCHIVE"


class InvalidRoot(InvalidInput):
    """A directory is not the data root of an engine that orlop knows."""

    code = "INVALID_ROOT"


class InvalidCompression(InvalidInput):
    """A compressed stream is damaged, or its compression is unknown."""

    code = "INVALID_COMPRESSION"


class InvalidTemplate(InvalidInput):
    """A text is not a valid template for output, or does not fit what is printed."""

    code = "INVALID_TEMPLATE"


class InvalidFilter(InvalidInput):
    """A filter of a list is unknown, or its value is not valid."""

    code = "INVALID_FILTER"


class InvalidInstruction(InvalidInput):
    """A change to a config is not a valid instruction, or is one that a config cannot take."""

    code = "INVALID_INSTRUCTION"


class WrongFileType(InvalidInput):
    """What is at that path in an image is not of the type that is needed, such as a directory where a file is."""

    code = "WRONG_FILE_TYPE"


class UnsupportedVersion(InvalidInput):
    """A client speaks a version of an API that is not served."""

    code = "UNSUPPORTED_VERSION"


class LimitExceeded(InvalidInput):
    """Input is larger, deeper or longer than its limit."""

    code = "LIMIT_EXCEEDED"


# Something does not exist.


class NotFound(OrlopError, LookupError):
    """There is nothing with that name."""

    code = "NOT_FOUND"
    http_status = 404
    exit_code = 4


class FileNotThere(NotFound, FileNotFoundError):
    """A named file or directory does not exist: a `NotFound` that is also Python's own, with the same code."""


class ImageNotFound(NotFound):
    """No image has that name or ID."""

    code = "IMAGE_NOT_FOUND"


class ReferenceNotFound(NotFound):
    """No image has that reference."""

    code = "REFERENCE_NOT_FOUND"


class PlatformNotFound(NotFound):
    """No image with that name is for the requested platform."""

    code = "PLATFORM_NOT_FOUND"


class LayerNotFound(NotFound):
    """No layer has that chain ID or diff ID."""

    code = "LAYER_NOT_FOUND"


class ContentNotFound(NotFound):
    """There is no content, or no metadata, under that digest."""

    code = "CONTENT_NOT_FOUND"


class UploadNotFound(NotFound):
    """A registry has no such upload: it is over, or too old, or another client's."""

    code = "UPLOAD_NOT_FOUND"


class RepositoryNotFound(NotFound):
    """A registry has no such repository."""

    code = "REPOSITORY_NOT_FOUND"


class PathNotFound(NotFound):
    """Nothing is at that path in an image."""

    code = "PATH_NOT_FOUND"


class ContainerNotFound(NotFound):
    """No container of another engine has that name or ID."""

    code = "CONTAINER_NOT_FOUND"


class StoreNotFound(NotFound):
    """There is no store, and none was to be created."""

    code = "STORE_NOT_FOUND"


# A request conflicts with what is there.


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
    """What must stay in a store takes more than its quota."""

    code = "QUOTA_EXCEEDED"


class LayerLimitExceeded(Conflict):
    """A chain would have more layers than an image may have."""

    code = "LAYER_LIMIT_EXCEEDED"


class PreconditionFailed(Conflict):
    """Something is not, or no longer, what a request says that it must be."""

    code = "PRECONDITION_FAILED"
    http_status = 412


class TargetExists(Conflict):
    """Something already exists where a store was to be created."""

    code = "TARGET_EXISTS"


# Content that does not match.


class IntegrityError(OrlopError):
    """Content does not match its digest or size."""

    code = "INTEGRITY"
    exit_code = 6


class DigestMismatch(IntegrityError):
    """The digest of some bytes is not the expected one."""

    code = "DIGEST_MISMATCH"


class SizeMismatch(IntegrityError):
    """Some content has more or fewer bytes than expected."""

    code = "SIZE_MISMATCH"


class TocDamaged(IntegrityError):
    """A layer's table of contents ends too early, is damaged, or has another version; it can be made again."""

    code = "TOC_DAMAGED"


class RootDamaged(IntegrityError):
    """A part of another engine's data root is missing, damaged, or not what belongs there; others may be whole."""

    code = "ROOT_DAMAGED"


# A location that cannot be used.


class StorageError(OrlopError, OSError):
    """The store's location cannot be used."""

    code = "STORAGE"
    exit_code = 7
    _usual_errno: ClassVar[int | None] = None

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        # An error of SQLite, or one found by looking, has no number of its own.
        if self._usual_errno is not None:
            self.errno = self._usual_errno


class NoSpace(StorageError):
    """The file system (or the quota) is full."""

    code = "NO_SPACE"
    _usual_errno = errno.ENOSPC
    http_status = 507


class TooManyOpenFiles(StorageError):
    """The process, or the system, has as many files and connections open as it may."""

    code = "TOO_MANY_OPEN_FILES"
    _usual_errno = errno.EMFILE
    http_status = 503


class PermissionDenied(StorageError, PermissionError):
    """This user may not read or write the store, or a named file."""

    code = "PERMISSION_DENIED"
    _usual_errno = errno.EACCES
    http_status = 403


class ReadOnlyStore(StorageError):
    """The store is on a read-only file system, or was opened for reading."""

    code = "READ_ONLY_STORE"
    _usual_errno = errno.EROFS
    http_status = 403


class StoreTooNew(StorageError):
    """A newer orlop wrote the store."""

    code = "STORE_TOO_NEW"


class StoreDamaged(StorageError):
    """The store cannot be used as it is: its database or its directory is damaged."""

    code = "STORE_DAMAGED"


class DatabaseDamaged(StoreDamaged):
    """The store's database is damaged, or its rows contradict each other: orlop does not act on them."""

    code = "DATABASE_DAMAGED"
    exit_code = 6


class StoreInUse(StorageError):
    """Another program owns the store, or is using it."""

    code = "STORE_IN_USE"
    http_status = 409


class StoreClosed(StorageError, ValueError):
    """The store or the archive is used after it was closed."""

    code = "STORE_CLOSED"
    http_status = 503


class StoreMoved(StorageError):
    """The store was moved, removed or replaced while it was open."""

    code = "STORE_MOVED"


class UnsafeFileSystem(StorageError):
    """The store is on a network or FUSE file system and was opened for reading: locks may not work there."""

    code = "UNSAFE_FILE_SYSTEM"


class BucketUnavailable(StorageError):
    """The object store that keeps a store's bytes cannot be reached, fails, or answers nonsense."""

    code = "BUCKET_UNAVAILABLE"
    http_status = 503


class DatabaseUnavailable(StorageError):
    """The database that keeps a shared store's rows cannot be reached, or the connection to it was lost."""

    code = "DATABASE_UNAVAILABLE"
    http_status = 503


class LeaseLost(StorageError):
    """Others have declared this process dead, as a shared store heard nothing of it; what it held was released."""

    code = "LEASE_LOST"
    http_status = 503


class OutcomeUnknown(StorageError):
    """The connection to a shared store was lost during a commit, and nobody can say whether it was made."""

    code = "OUTCOME_UNKNOWN"
    http_status = 503


class ReadFailed(StorageError):
    """A named file or pipe cannot be read."""

    code = "READ_FAILED"


class WriteFailed(StorageError):
    """A named file or pipe cannot be written."""

    code = "WRITE_FAILED"


# A server cannot listen, or does not answer a request.


class InvalidAddress(InvalidInput):
    """A text is not a valid address for a server, or one that may not be served in this way."""

    code = "INVALID_ADDRESS"


class ListenFailed(OrlopError):
    """A server cannot listen at an address."""

    code = "LISTEN_FAILED"
    exit_code = 7


class RequestRefused(OrlopError):
    """A request is not allowed: for this client, in this form, or on this server."""

    code = "REQUEST_REFUSED"
    http_status = 403


class Unauthorized(RequestRefused):
    """A request lacks the token that the server requires."""

    code = "UNAUTHORIZED"
    http_status = 401


class NotServed(RequestRefused):
    """The API has no such endpoint."""

    code = "NOT_SERVED"
    http_status = 404


class MethodNotAllowed(RequestRefused):
    """An endpoint does not take the method of a request. ``allowed`` are those that it takes."""

    code = "METHOD_NOT_ALLOWED"
    http_status = 405

    def __init__(self, message: str = "", *, allowed: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.allowed = allowed


class NoSwarm(RequestRefused):
    """A request is about a swarm, and there is none."""

    code = "NO_SWARM"
    http_status = 503


class BodyTooLarge(RequestRefused):
    """The body of a request is larger than the server accepts."""

    code = "BODY_TOO_LARGE"
    http_status = 413


class ServerBusy(RequestRefused):
    """The server has as many requests as it allows, or is about to stop."""

    code = "SERVER_BUSY"
    http_status = 503


class RequestAborted(OrlopError):
    """A client hung up, or was too slow, before a request was finished."""

    code = "REQUEST_ABORTED"
    http_status = 408


# A registry refuses, fails, or cannot be reached.


class _FromRegistry(Exception):
    """A registry's answer: its host, the status, and pairs of a code and a message from the registry.

    ``missing`` has the digests of blobs that a manifest names and the registry does not have.
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
    """A registry did not answer: there was no connection, no trust in its certificate, or it stopped sending."""

    code = "REGISTRY_UNREACHABLE"


class RegistryDenied(RegistryError):
    """A registry does not allow a request: without credentials, with these, or at all."""

    code = "REGISTRY_DENIED"
    http_status = 403


class RegistryBusy(RegistryError):
    """A registry asks to wait longer than allowed; ``wait`` is the number of seconds, if it says so."""

    code = "REGISTRY_BUSY"
    http_status = 429
    wait: float | None = None


class RegistryUnsupported(RegistryError):
    """A registry does not support what was asked for."""

    code = "REGISTRY_UNSUPPORTED"
    http_status = 501


class InvalidAnswer(RegistryError):
    """A registry's answer does not follow the protocol, or is too large."""

    code = "INVALID_ANSWER"


class UnsafeRedirect(RegistryError):
    """A registry leads to a location where nothing may be sent, or not with these credentials."""

    code = "UNSAFE_REDIRECT"


class UploadLost(RegistryError):
    """A registry has forgotten an upload, which must start again."""

    code = "UPLOAD_LOST"


class NotInRegistry(_FromRegistry, NotFound):
    """A registry has no such repository, tag, manifest or blob."""

    code = "NOT_IN_REGISTRY"


class InvalidSettings(InvalidInput):
    """A file of credentials, certificates or registries, or a credential helper, cannot be used."""

    code = "INVALID_SETTINGS"
