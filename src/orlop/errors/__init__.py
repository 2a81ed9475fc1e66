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

    # isort: off
    from orlop.errors.registries import (
        InvalidAnswer as InvalidAnswer,
        InvalidSettings as InvalidSettings,
        NotInRegistry as NotInRegistry,
        RegistryBusy as RegistryBusy,
        RegistryDenied as RegistryDenied,
        RegistryError as RegistryError,
        RegistryUnreachable as RegistryUnreachable,
        RegistryUnsupported as RegistryUnsupported,
        UnsafeRedirect as UnsafeRedirect,
        UploadLost as UploadLost,
    )
    from orlop.errors.serving import (
        BodyTooLarge as BodyTooLarge,
        InvalidAddress as InvalidAddress,
        InvalidRange as InvalidRange,
        ListenFailed as ListenFailed,
        ManifestIncomplete as ManifestIncomplete,
        MethodNotAllowed as MethodNotAllowed,
        NoSwarm as NoSwarm,
        NotServed as NotServed,
        PreconditionFailed as PreconditionFailed,
        RepositoryNotFound as RepositoryNotFound,
        RequestAborted as RequestAborted,
        RequestRefused as RequestRefused,
        ServerBusy as ServerBusy,
        Unauthorized as Unauthorized,
        UnsupportedVersion as UnsupportedVersion,
        UploadNotFound as UploadNotFound,
    )
    from orlop.errors.sources import (
        ContainerNotFound as ContainerNotFound,
        DownloadFailed as DownloadFailed,
        InvalidArchive as InvalidArchive,
        InvalidCompression as InvalidCompression,
        InvalidInstruction as InvalidInstruction,
        InvalidRoot as InvalidRoot,
        InvalidTar as InvalidTar,
        PathNotFound as PathNotFound,
        RootDamaged as RootDamaged,
        WrongFileType as WrongFileType,
    )
    # isort: on

_LONGEST: Final = 600
_HOMES = {
    "registries": (
        "InvalidAnswer",
        "InvalidSettings",
        "NotInRegistry",
        "RegistryBusy",
        "RegistryDenied",
        "RegistryError",
        "RegistryUnreachable",
        "RegistryUnsupported",
        "UnsafeRedirect",
        "UploadLost",
    ),
    "serving": (
        "BodyTooLarge",
        "InvalidAddress",
        "InvalidRange",
        "ListenFailed",
        "ManifestIncomplete",
        "MethodNotAllowed",
        "NoSwarm",
        "NotServed",
        "PreconditionFailed",
        "RepositoryNotFound",
        "RequestAborted",
        "RequestRefused",
        "ServerBusy",
        "Unauthorized",
        "UnsupportedVersion",
        "UploadNotFound",
    ),
    "sources": (
        "ContainerNotFound",
        "DownloadFailed",
        "InvalidArchive",
        "InvalidCompression",
        "InvalidInstruction",
        "InvalidRoot",
        "InvalidTar",
        "PathNotFound",
        "RootDamaged",
        "WrongFileType",
    ),
}
"""The modules of errors that most commands never raise. They are imported when one of their errors is first named."""


def sentence(text: str) -> str:
    """Return a text as errors show it: on one line, of at most 600 characters, none of which controls a terminal."""
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST // 3]}…{text[1 - 2 * _LONGEST // 3 :]}"
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


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
        return sentence(str(self.args[0]) if self.args else "")


class NotSupported(OrlopError):
    """orlop does not do what was asked for."""

    code = "NOT_SUPPORTED"
    http_status = 501


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


class InvalidTemplate(InvalidInput):
    """A text is not a valid template for output, or does not fit what is printed."""

    code = "INVALID_TEMPLATE"


class InvalidFilter(InvalidInput):
    """A filter of a list is unknown, or its value is not valid."""

    code = "INVALID_FILTER"


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


if not TYPE_CHECKING:
    # Type checkers read what is imported for them above: they would take any other name for an object.
    def __getattr__(name: str) -> object:
        for module, names in _HOMES.items():
            if name in names:
                # `importlib` is not there yet in the commands that start most often.
                kind: object = getattr(__import__(f"{__name__}.{module}", fromlist=names), name)
                globals()[name] = kind
                return kind
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted({*globals()}.union(*_HOMES.values()))
