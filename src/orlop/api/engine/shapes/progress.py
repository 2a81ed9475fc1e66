"""Lines of progress: what loads, imports and the like say while they work, and where they fail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orlop.api.engine.shapes.encoding import stream_line
from orlop.api.engine.versions import V1_52
from orlop.model.progress import LayerExists, LayerProgress
from orlop.model.sizes import human_size
from orlop.model.urls import scrubbed

if TYPE_CHECKING:
    from orlop.api.engine.shapes.encoding import Document
    from orlop.api.engine.versions import ApiVersion
    from orlop.model.progress import ProgressEvent
    from orlop.service.push import PushReport

_STEPS: Final = 50
_DIGITS: Final = 4
_NUMBER_COLUMNS: Final = 8


def message_line(text: str) -> bytes:
    """Write a text that a client prints as it is."""
    return stream_line({"stream": text} if text else {})


def status_line(text: str) -> bytes:
    """Write a line that a client prints, such as the ID of an image that was imported."""
    return stream_line({"status": text})


def error_line(text: str) -> bytes:
    """Write the line with which a stream ends where the work failed after the answer had begun."""
    text = scrubbed(text)
    return stream_line({"errorDetail": {"message": text}, "error": text})


class LayerLines:
    """Writes the lines that report layers on their way.

    Args:
        version: that of the request.
        status: what is done with them.
    """

    def __init__(self, version: ApiVersion, status: str = "Loading layer") -> None:
        self._with_text = version < V1_52
        self._status = status
        self._moved: dict[str, int] = {}

    def line(self, progress: ProgressEvent) -> bytes | None:
        """Write the line for an event; nothing for a layer that is there already, of which daemons say nothing.

        A layer that is done has a last line in which all of it has been moved.
        """
        layer = progress.layer
        if isinstance(progress, LayerProgress):
            self._moved[layer] = progress.current
            return stream_line(self._document(layer, progress.current, progress.total))
        if layer not in self._moved:
            return None
        moved = self._moved.pop(layer)
        return stream_line(self._document(layer, moved, moved))

    def _document(self, layer: str, current: int, total: int | None) -> Document:
        detail = {"current": current, **({} if total is None else {"total": total})}
        document: Document = {
            "status": self._status,
            "progressDetail": {name: number for name, number in detail.items() if number},
        }
        if self._with_text and (text := bar(current, total)):
            document["progress"] = text
        return document | {"id": layer}


class PushLines:
    """Writes the lines that report layers on their way to a registry.

    Args:
        version: that of the request.
    """

    def __init__(self, version: ApiVersion) -> None:
        self._moving = LayerLines(version, "Pushing")

    def line(self, progress: ProgressEvent) -> bytes | None:
        """Write the line for an event."""
        if isinstance(progress, LayerProgress):
            return self._moving.line(progress)
        status = "Pushed"
        if isinstance(progress, LayerExists):
            status = f"Mounted from {progress.mounted_from}" if progress.mounted_from else "Layer already exists"
        return stream_line({"status": status, "progressDetail": {}, "id": progress.layer})


def note_line(text: str) -> bytes:
    """Write a line with a message for the client."""
    return stream_line({"status": text})


def pushed_lines(report: PushReport) -> list[bytes]:
    """Write the lines with which a push ends: two for each tag, for people and for programs."""
    lines: list[bytes] = []
    for one in report.tags:
        tag, digest = one.reference.tag, str(one.digest)
        lines.append(stream_line({"status": f"{tag}: digest: {digest} size: {one.size}"}))
        lines.append(stream_line({"progressDetail": {}, "aux": {"Tag": tag, "Digest": digest, "Size": one.size}}))
    return lines


def bar(current: int, total: int | None) -> str:
    """Draw a bar with its numbers, as in ``[=====>     ]  1.024kB/10.24kB``; without a total only the number."""
    if current <= 0 and not total:
        return ""
    moved = human_size(current, _DIGITS).rjust(_NUMBER_COLUMNS)
    if not total:
        return moved
    done = min(int(current / total * 100) // 2, _STEPS)
    numbers = moved if current > total else f"{moved}/{human_size(total, _DIGITS)}"
    return f"[{'=' * done}>{' ' * (_STEPS - done)}] {numbers}"
