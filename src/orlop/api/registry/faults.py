"""What a request to the registry is answered that failed: a status and codes of the distribution specification."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Final

from starlette.responses import Response

from orlop.api.registry.routes import Kind
from orlop.errors import (
    BodyTooLarge,
    ContentNotFound,
    DigestMismatch,
    ImageInUse,
    InvalidDigest,
    InvalidInput,
    InvalidManifest,
    InvalidRange,
    InvalidReference,
    ManifestIncomplete,
    MethodNotAllowed,
    NoSpace,
    NotFound,
    NotServed,
    PreconditionFailed,
    QuotaExceeded,
    ReadOnlyStore,
    RegistryBusy,
    RepositoryNotFound,
    RequestRefused,
    ServerBusy,
    SizeMismatch,
    StorageError,
    StoreInUse,
    TooManyOpenFiles,
    Unauthorized,
    UploadNotFound,
)
from orlop.model.urls import scrubbed

if TYPE_CHECKING:
    from orlop.errors import OrlopError

_WRITING: Final = frozenset({"POST", "PUT", "PATCH"})
_LATER: Final = "1"
_SERVER_ERRORS: Final = 500
_UNAVAILABLE: Final = 503
_CODES: Final[tuple[tuple[type[OrlopError], int, str], ...]] = (
    (InvalidDigest, 400, "DIGEST_INVALID"),
    (UploadNotFound, 404, "BLOB_UPLOAD_UNKNOWN"),
    (RepositoryNotFound, 404, "NAME_UNKNOWN"),
    (InvalidRange, 416, "RANGE_INVALID"),
    (ManifestIncomplete, 400, "MANIFEST_BLOB_UNKNOWN"),
    (MethodNotAllowed, 405, "UNSUPPORTED"),
    (ReadOnlyStore, 405, "UNSUPPORTED"),
    (ImageInUse, 405, "UNSUPPORTED"),
    (PreconditionFailed, 412, "PRECONDITION_FAILED"),
    (QuotaExceeded, 429, "TOOMANYREQUESTS"),
    (RegistryBusy, 429, "TOOMANYREQUESTS"),
    (ServerBusy, 503, "UNAVAILABLE"),
    (StoreInUse, 503, "UNAVAILABLE"),
    (BodyTooLarge, 413, "SIZE_INVALID"),
    (Unauthorized, 401, "UNAUTHORIZED"),
    (NotServed, 404, "UNSUPPORTED"),
    (RequestRefused, 403, "DENIED"),
)
_UNKNOWN: Final = {Kind.MANIFEST: "MANIFEST_UNKNOWN", Kind.BLOB: "BLOB_UNKNOWN"}
_INVALID: Final = {
    Kind.MANIFEST: "MANIFEST_INVALID",
    Kind.TAGS: "PAGINATION_NUMBER_INVALID",
    Kind.CATALOG: "PAGINATION_NUMBER_INVALID",
}


def fault(error: OrlopError, method: str, kind: Kind | None) -> Response:
    """Return the answer to a request that failed.

    Args:
        error: why it failed.
        method: of the request.
        kind: of its path, if it is one of the registry's.
    """
    status, code = _coded(error, method, kind)
    message = scrubbed(_message(error, status))
    details: tuple[str | None, ...] = (None,)
    if isinstance(error, ManifestIncomplete) and error.missing:
        details = error.missing
    errors = [
        {"code": code, "message": message, **({} if one is None else {"detail": {"digest": one}})} for one in details
    ]
    headers = {}
    if isinstance(error, MethodNotAllowed):
        headers["Allow"] = ", ".join(error.allowed)
    if status == _UNAVAILABLE or isinstance(error, QuotaExceeded):
        headers["Retry-After"] = _LATER
    if isinstance(error, RegistryBusy) and error.wait is not None:
        headers["Retry-After"] = str(math.ceil(error.wait))
    body = json.dumps({"errors": errors}).encode()
    return Response(body, status, headers, "application/json")


def _message(error: OrlopError, status: int) -> str:
    """Return what the client hears. Where the store is, and what is wrong with it, is for the server's log."""
    if not isinstance(error, StorageError) or isinstance(error, StoreInUse) or status < _SERVER_ERRORS:
        return str(error)
    if isinstance(error, TooManyOpenFiles):
        return "the server has as many files and connections open as it may; try again later"
    why = "its disk is full" if isinstance(error, NoSpace) else "its store cannot be used"
    return f"the server cannot do this, since {why}; its log says more"


def _coded(error: OrlopError, method: str, kind: Kind | None) -> tuple[int, str]:
    """Return the status and the code of an error."""
    if isinstance(error, InvalidReference):
        # A name is judged before a tag is, and is wrong whatever is asked of it.
        if kind is not Kind.MANIFEST:
            return 400, "NAME_INVALID"
        return (400, "TAG_INVALID") if method in _WRITING else (404, "MANIFEST_UNKNOWN")
    if method in _WRITING and isinstance(error, DigestMismatch):
        return 400, "DIGEST_INVALID"
    if method in _WRITING and isinstance(error, SizeMismatch):
        return 400, "SIZE_INVALID"
    for each, status, code in _CODES:
        if isinstance(error, each):
            return status, code
    if isinstance(error, (ContentNotFound, NotFound)) and kind is not None:
        return 404, _UNKNOWN.get(kind, "NAME_UNKNOWN")
    if method not in _WRITING and isinstance(error, InvalidManifest):
        # The client has sent none; what came from another registry is not one.
        return 502, "UNKNOWN"
    if isinstance(error, InvalidInput):
        return error.http_status, "UNSUPPORTED" if kind is None else _INVALID.get(kind, "BLOB_UPLOAD_INVALID")
    return error.http_status, "UNAVAILABLE" if error.http_status == _UNAVAILABLE else "UNKNOWN"
