"""A request to the Engine API, and the endpoints that answer such requests."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route

from orlop.api.engine.form import LONGEST, Form, has_form
from orlop.api.engine.shapes.encoding import body
from orlop.api.engine.shapes.fault import Verb
from orlop.api.engine.versions import MINIMUM, check_version
from orlop.api.streamed import chunks
from orlop.errors import ServerBusy
from orlop.model.names import ImageName

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Iterator

    from starlette.types import Receive, Scope, Send

    from orlop.api.access import Policy
    from orlop.api.engine.versions import ApiVersion
    from orlop.api.engine.watch import EventWatch
    from orlop.api.log import AccessLog
    from orlop.api.metrics import Metrics
    from orlop.api.record import Record
    from orlop.api.workers import Workers
    from orlop.service.image_service import ImageService


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one client may take.

    Args:
        body: the bytes of an upload, if they are bounded.
        requests: how many are worked on at once, and how many transfers there are with those that wait for their turn;
            more are told to come again.
        patience: for how many seconds a client may send nothing, or take nothing, in the midst of a request.
        rate: how many bytes a second are as good as nothing.
        followers: how many streams of events may be open at once, beside the requests.
    """

    body: int | None = None
    requests: int = 256
    patience: float = 600
    rate: float = 1024
    followers: int = 256


@dataclass(frozen=True, slots=True)
class Context:
    """What all requests to a server share."""

    service: ImageService
    workers: Workers
    watch: EventWatch
    metrics: Metrics
    ending: asyncio.Event
    working: Callable[[], int]
    """Returns how many requests are worked on, transfers and streams aside."""
    bounds: Bounds
    log: AccessLog | None

    @contextmanager
    def account(self, record: Record) -> Iterator[None]:
        """Count a request as active for a block, and then count and log what became of it."""
        self.metrics.active += 1
        try:
            yield
        finally:
            self.metrics.active -= 1
            self.finished(record)

    def finished(self, record: Record) -> None:
        """Count and log a request that has been answered."""
        self.metrics.count(record)
        if self.log is not None:
            self.log.write(record)

    def admit(self, *, always: bool = False) -> None:
        """Check that a request may be worked on, or only that the server does not end. Raises `ServerBusy`."""
        if self.ending.is_set():
            raise ServerBusy("the server is about to stop")
        # What waits for a turn is active and not worked on; of a crowd that comes at once most are not active yet.
        if not always and min(self.metrics.active, self.working()) > self.bounds.requests:
            raise ServerBusy("the server is busy with as many requests as it allows; try again later")


class Call(Request):
    """A request, with what it needs to be answered."""

    @property
    def context(self) -> Context:
        """What it shares with others."""
        context: Context = self.scope["orlop.context"]
        return context

    @property
    def service(self) -> ImageService:
        """The store."""
        return self.context.service

    @property
    def policy(self) -> Policy:
        """What its listener asks of requests."""
        policy: Policy = self.scope["orlop.policy"]
        return policy

    @property
    def version(self) -> ApiVersion:
        """The version of the API that it speaks."""
        version: ApiVersion = self.scope["orlop.version"]
        return version

    @property
    def parameters(self) -> Form:
        """Its parameters, if its endpoint reads any in its version."""
        form: Form = self.scope["orlop.form"]
        return form

    @property
    def name(self) -> str:
        """The name in its path."""
        name: str = self.path_params["name"]
        return name

    @property
    def image(self) -> ImageName:
        """The image that the name in its path stands for; read once. Raises `InvalidReference`."""
        if "orlop.image" not in self.scope:
            self.scope["orlop.image"] = ImageName.parse(self.name)
        image: ImageName = self.scope["orlop.image"]
        return image

    def about(self, name: str) -> None:
        """Name the image it is about, where that is not in its path: errors tell it."""
        self.scope["orlop.name"] = name

    def wants(self, verb: Verb) -> None:
        """Note what it wants from now on, where that is not its endpoint's verb: errors tell it."""
        self.scope["orlop.verb"] = verb

    @property
    def has_archive(self) -> bool:
        """Whether its body was left to be read as an archive, and not read as a form."""
        return "orlop.read" not in self.scope

    async def read_form(self, is_archive: Callable[[Form], bool] | None) -> Form:
        """Read its query, and its body if that is a form.

        Raises:
            InvalidInput: they cannot be read. RequestAborted, BodyTooLarge: as `chunks` raises them.
        """
        query = self.scope["query_string"]
        if not has_form(self.method, self.headers.get("content-type", "")):
            return Form.read(query)
        if is_archive is not None and is_archive(form := Form.read(query)):
            return form
        self.scope["orlop.read"] = True
        parts = [chunk async for chunk in chunks(self.receive, most=LONGEST)]
        return Form.read(query, b"".join(parts))


class Endpoint(Route):
    """Answers requests of one method for one path.

    Args:
        method: of the requests.
        path: a pattern of Starlette's, without the version.
        serve: makes the answer.
        verb: what the requests want, for the errors.
        asks_since: the version from which on engines read the parameters of such a request, or nothing if none does.
            In an older version the query is ignored.
        is_archive: tells by its query whether the body of a request is an archive, even if it has the type of a form.
        since: the first version of the API that has it; requests of an earlier one do not find it.
    """

    def __init__(
        self,
        method: str,
        path: str,
        serve: Callable[[Call], Awaitable[Response]],
        verb: Verb = Verb.OTHER,
        *,
        asks_since: ApiVersion | None = MINIMUM,
        is_archive: Callable[[Form], bool] | None = None,
        since: ApiVersion = MINIMUM,
    ) -> None:
        super().__init__(path, serve, methods=[method])
        # Starlette's pattern ends with ``$``, which fits before a newline, too: another image would be meant.
        self.path_regex = re.compile(self.path_regex.pattern.removesuffix("$") + r"\Z")
        self.methods = {method}
        self.app = self._answered
        self._serve = serve
        self._verb = verb
        self._asks_since = asks_since
        self._is_archive = is_archive
        self._since = since

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return whether a request is for this endpoint; one of another method is not."""
        match, child = super().matches(scope)
        if MINIMUM <= scope["orlop.version"] < self._since:
            return (Match.NONE, {})
        return (match, child) if match is Match.FULL else (Match.NONE, {})

    async def _answered(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["orlop.verb"] = self._verb
        scope["orlop.route"] = self.path.replace(":path", "")
        check_version(scope["orlop.version"], scope["orlop.version_text"])
        call = Call(scope, receive, send)
        asks = self._asks_since is not None and call.version >= self._asks_since
        scope["orlop.form"] = await call.read_form(self._is_archive) if asks else Form({})
        response = await self._serve(call)
        await response(scope, receive, send)


def documents(
    method: str,
    path: str,
    give: Callable[[Call], object],
    verb: Verb = Verb.OTHER,
    *,
    asks_since: ApiVersion | None = MINIMUM,
) -> Endpoint:
    """Make an endpoint whose answers are JSON documents, which are made and written in a thread."""

    def written(call: Call) -> bytes:
        return body(give(call))

    async def serve(call: Call) -> Response:
        return Response(await call.context.workers.run(written, call), media_type="application/json")

    return Endpoint(method, path, serve, verb, asks_since=asks_since)
