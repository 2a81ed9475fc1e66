"""``POST /images/create`` with ``fromImage``: a pull, told as engines tell it.

Nothing is answered before the image is found, so that what is wrong until then has a status of its own. Credentials are
those that the client sends along (``X-Registry-Auth``), for the registry of the name and no other; the server's own are
for nobody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.api.engine.registries import given_keys
from orlop.api.engine.shapes.encoding import stream_line
from orlop.api.engine.shapes.progress import LayerLines, error_line, status_line
from orlop.errors import OrlopError, RequestAborted
from orlop.model.progress import LayerDone, LayerExists
from orlop.streams.interruption import interrupted_by

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orlop.api.engine.call import Call
    from orlop.api.flow import Download, Upload
    from orlop.model.platform import Platform
    from orlop.model.progress import ProgressEvent
    from orlop.model.reference import Reference
    from orlop.registry.registries import Registries
    from orlop.service.pull import PullReport


def pulling(call: Call, name: Reference, platform: Platform | None) -> Callable[[Download, Upload], None]:
    """Return what pulls an image, and reports it to a client.

    Args:
        call: the request.
        name: of the image; without a tag and a digest, all tags of the repository are pulled.
        platform: the one that is wanted.
    """
    keys = given_keys(call, name.domain)

    def pull(download: Download, _: Upload) -> None:
        def check() -> None:
            if download.cancelled:
                raise RequestAborted("the client hung up before everything was pulled")

        told = _Told(call, download, check)
        with call.service.reached(keys) as registries, interrupted_by(check):
            try:
                for one in _each(registries, name):
                    told.about(one)
                    report = call.service.pull(one, registries, platform=platform, progress=told.event)
                    told.done(report)
            except RequestAborted:
                raise
            except OrlopError as error:
                if not told.anything:
                    raise
                # The status is on its way.
                download.put(error_line(str(error)))

    return pull


def _each(registries: Registries, name: Reference) -> Iterator[Reference]:
    """Yield what is to be pulled: a name, or all tags of a repository."""
    if not name.is_name_only:
        yield name
        return
    client, repository = registries.to_pull(name)[-1]
    for tag in client.tags(repository):
        yield name.with_tag(tag)


class _Told:
    """What a client is told; ``anything`` says whether that has begun."""

    def __init__(self, call: Call, download: Download, check: Callable[[], None]) -> None:
        self.anything = False
        self._download = download
        self._check = check
        self._layers = LayerLines(call.version, "Downloading")
        self._first: bytes | None = None
        self._there: list[bytes] = []

    def about(self, name: Reference) -> None:
        """Note which name is pulled; that is told once there is more to tell."""
        self._first = stream_line({"status": f"Pulling from {name.path}", "id": str(name.digest or name.tag)})
        self._there = []

    def event(self, event: ProgressEvent) -> None:
        """Report the progress of a layer. Raises `RequestAborted` where nobody listens any more."""
        self._check()
        if isinstance(event, LayerExists):
            # That is told of an image that is new only.
            self._there.append(_state("Already exists", event.layer))
        elif isinstance(event, LayerDone):
            self._put(*self._taken(), _state("Pull complete", event.layer))
        elif (line := self._layers.line(event)) is not None:
            self._put(*self._taken())
            self._download.offer(line)

    def done(self, report: PullReport) -> None:
        """Report what came of it."""
        there = self._taken() if any(image.created for image in report.images.images) else ()
        self._put(*there, *(status_line(line) for line in report.messages()))

    def _taken(self) -> list[bytes]:
        there, self._there = self._there, []
        return there

    def _put(self, *lines: bytes) -> None:
        first, self._first = self._first, None
        self.anything = True
        for line in (first, *lines) if first is not None else lines:
            self._download.put(line)


def _state(status: str, layer: str) -> bytes:
    return stream_line({"status": status, "progressDetail": {}, "id": layer})
