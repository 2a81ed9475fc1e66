"""What a server refuses, or cannot do: to listen, to answer a request, to take what is pushed."""

from __future__ import annotations

from orlop.errors import Conflict, InvalidInput, InvalidManifest, NotFound, OrlopError


class InvalidAddress(InvalidInput):
    """A text is not a valid address for a server, or one that may not be served in this way."""

    code = "INVALID_ADDRESS"


class ListenFailed(OrlopError):
    """A server cannot listen at an address."""

    code = "LISTEN_FAILED"
    exit_code = 7


class UnsupportedVersion(InvalidInput):
    """A client speaks a version of an API that is not served."""

    code = "UNSUPPORTED_VERSION"


class InvalidRange(InvalidInput):
    """A range of bytes is beyond the content, or not the one that comes next. ``reached`` are the bytes there."""

    code = "INVALID_RANGE"
    http_status = 416

    def __init__(self, message: str = "", *, reached: int = 0) -> None:
        super().__init__(message)
        self.reached = reached


class ManifestIncomplete(InvalidManifest):
    """A manifest names content that its repository does not have. ``missing`` are the digests, as texts."""

    code = "MANIFEST_INCOMPLETE"

    def __init__(self, message: str = "", *, missing: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.missing = missing


class UploadNotFound(NotFound):
    """A registry has no such upload: it is over, or too old, or another client's."""

    code = "UPLOAD_NOT_FOUND"


class RepositoryNotFound(NotFound):
    """A registry has no such repository."""

    code = "REPOSITORY_NOT_FOUND"


class PreconditionFailed(Conflict):
    """Something is not, or no longer, what a request says that it must be."""

    code = "PRECONDITION_FAILED"
    http_status = 412


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
