"""Answers of the Engine API made from a store without HTTP, and how they differ from recorded ones."""

from __future__ import annotations

import io
import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from orlop.api.engine.shapes.encoding import body
from orlop.api.engine.shapes.fault import NO_NAME, PAGE_NOT_FOUND, Verb, fault
from orlop.api.engine.shapes.filters import list_filters, parse_filters, prune_filters
from orlop.api.engine.shapes.history import history
from orlop.api.engine.shapes.image import image
from orlop.api.engine.shapes.image_list import image_list
from orlop.api.engine.shapes.load import loaded_lines
from orlop.api.engine.shapes.parameters import boolean
from orlop.api.engine.shapes.progress import LayerLines, error_line
from orlop.api.engine.shapes.removal import pruned, removed
from orlop.api.engine.shapes.target import tag_target
from orlop.api.engine.shapes.usage import usage, usage_types
from orlop.api.engine.versions import MAXIMUM, V1_42, requested
from orlop.errors import OrlopError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from orlop.api.engine.shapes.fault import Fault
    from orlop.api.engine.versions import ApiVersion
    from orlop.model.progress import ProgressEvent
    from orlop.service.image_service import ImageService

Answer = tuple[int, bytes]
_PATH = re.compile(r"/v(?P<version>[0-9.]+)(?P<rest>/.*)")
_IMAGE = re.compile(r"/images/(?P<name>.*?)(?:/(?P<what>json|history|get|tag))?")


class Engine:
    """Answers requests from a store, as far as shapes go."""

    def __init__(self, images: ImageService, archives: Path) -> None:
        self.images = images
        self.archives = archives

    def answer(self, method: str, url: str, content: str | None = None) -> Answer:
        """Give the status and the body of the answer to a request, whose content may be the name of an archive."""
        parts = urlsplit(url)
        match = _PATH.fullmatch(unquote(parts.path))
        assert match is not None
        query = parse_qs(parts.query, keep_blank_values=True)
        try:
            version = requested(match["version"])
        except OrlopError as error:
            answer = fault(error, MAXIMUM)
            return answer.status, body(answer.document)
        try:
            return self._answer(method, match["rest"], query, version, content)
        except _Failed as failed:
            return failed.fault.status, body(failed.fault.document)

    def _answer(self, method: str, path: str, query: dict[str, list[str]], version: ApiVersion, content: Any) -> Answer:
        one = {name: values[0] for name, values in query.items()}
        fixed: dict[tuple[str, str], Callable[[], Answer]] = {
            ("GET", "/images/json"): lambda: self._list(one, version),
            ("GET", "/images/get"): lambda: self._save(query.get("names", []), version),
            ("POST", "/images/load"): lambda: self._load(content, one, version),
            ("POST", "/images/prune"): lambda: self._prune(one, version),
            ("GET", "/system/df"): lambda: self._usage(query, version),
        }
        if (method, path) in fixed:
            try:
                return fixed[method, path]()
            except OrlopError as error:
                raise _Failed(fault(error, version)) from error
        match = _IMAGE.fullmatch(path)
        if match is None or path == "/images/json":
            raise _Failed(PAGE_NOT_FOUND)
        return self._named(method, match["name"], match["what"], one, version)

    def _named(self, method: str, name: str, what: str | None, one: dict[str, str], version: ApiVersion) -> Answer:
        if not name:
            raise _Failed(NO_NAME)
        verb = {"json": Verb.INSPECT, "get": Verb.SAVE}.get(what or "", Verb.OTHER)
        target = ""
        try:
            if what == "json":
                details, manifests = self.images.inspect(name), self.images.manifests(name)
                return 200, body(image(details, version, manifests, with_manifests=boolean(one.get("manifests"))))
            if what == "history":
                return 200, body(history(self.images.history(name)))
            if what == "get":
                return self._save([name], version)
            if method == "DELETE":
                report = self.images.remove(name, force=boolean(one.get("force")))
                return 200, body(removed(report))
            self.images.inspect(name)
        except OrlopError as error:
            raise _Failed(fault(error, version, verb, name)) from error
        try:
            target = tag_target(one.get("repo"), one.get("tag"), version)
        except OrlopError as error:
            raise _Failed(fault(error, version, Verb.TAG_TARGET)) from error
        self.images.tag(name, target)
        return 201, b""

    def _list(self, one: dict[str, str], version: ApiVersion) -> Answer:
        values = parse_filters(one.get("filters"))
        try:
            filters = list_filters(values, version, one.get("filter"))
            found = self.images.listed_images(
                all=boolean(one.get("all")),
                filters=filters,
                shared_size=boolean(one.get("shared-size")),
                manifests=boolean(one.get("manifests")),
            )
            return 200, body(image_list(found, version))
        except OrlopError as error:
            name = next((value for key in ("before", "since") for value in values.get(key, ())), None)
            raise _Failed(fault(error, version, name=name)) from error

    def _save(self, names: list[str], version: ApiVersion) -> Answer:
        for name in names:
            try:
                self.images.save([name], io.BytesIO())
            except OrlopError as error:
                raise _Failed(fault(error, version, Verb.SAVE, name)) from error
        return 200, b""

    def _load(self, content: str, one: dict[str, str], version: ApiVersion) -> Answer:
        lines: list[bytes] = []
        layers = LayerLines(version)

        def note(event: ProgressEvent) -> None:
            line = layers.line(event)
            if line is not None and not boolean(one.get("quiet"), default=True):
                lines.append(line)

        raw = (self.archives / content).read_bytes() if content.endswith(".tar") else content.encode()
        try:
            lines += loaded_lines(self.images.load(io.BytesIO(raw), progress=note))
        except OrlopError as error:
            lines.append(error_line(str(error)))
        return 200, b"".join(lines)

    def _prune(self, one: dict[str, str], version: ApiVersion) -> Answer:
        filters, every = prune_filters(parse_filters(one.get("filters")), version)
        return 200, body(pruned(self.images.prune(all=every, filters=filters)))

    def _usage(self, query: dict[str, list[str]], version: ApiVersion) -> Answer:
        types = usage_types(query.get("type", []), version)
        return 200, body(usage(self.images.image_usage(listed_only=version < V1_42), version, types))


class _Failed(Exception):
    """A request that is answered with a fault."""

    def __init__(self, answer: Fault) -> None:
        super().__init__(answer.message)
        self.fault = answer


def differences(ours: Any, theirs: Any, path: str = "") -> Iterator[str]:
    """Say where two documents differ, by paths such as ``RootFS.Layers.0``; the order of keys counts too."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in {**theirs, **ours}:
            if key in ours and key in theirs:
                yield from differences(ours[key], theirs[key], f"{path}.{key}".lstrip("."))
            else:
                yield f"{path}.{key}".lstrip(".")
        if [key for key in ours if key in theirs] != [key for key in theirs if key in ours]:
            yield f"{path} order"
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from differences(one, other, f"{path}.{number}".lstrip("."))
    elif ours != theirs or type(ours) is not type(theirs):
        yield path


def documents(text: str) -> list[Any]:
    """Read a body: one document, or one a line."""
    return [json.loads(line) for line in text.splitlines() if line]
