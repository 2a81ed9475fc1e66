"""Write `docs/openapi.json`, the description of what `orlop serve` answers, from its endpoints.

python -m docs.generate_openapi            writes it
python -m docs.generate_openapi --check    ends with status 1 where it is not up to date
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from docs.openapi_schemas import SCHEMAS, array, number, record, ref, text
from orlop._version import __version__
from orlop.api.engine.app import ENDPOINTS
from orlop.api.engine.versions import MAXIMUM

if TYPE_CHECKING:
    from docs.openapi_schemas import Schema

TARGET: Final = Path(__file__).with_name("openapi.json")
_JSON: Final = "application/json"
_TAR: Final = "application/x-tar"
_DESCRIPTION: Final = """\
The image part of Docker's Engine API, as `orlop serve` answers it. Every path may begin with a version, `/v1.24` to
`/v1.55`. The answers are described as they are in the newest version, which a request without one gets.
`docs/engine-api.md` lists what differs between versions, and from engines.

Slashes in the name of an image are written as they are. A Boolean parameter is false if its value is empty, `0`, `no`,
`false` or `none`, and true otherwise.

If a parameter is given twice, the first one counts. Parameters of POST may also be a form in the body, of the type
`application/x-www-form-urlencoded`; they take precedence over those of the query.

Other requests of Docker clients are answered with 404 if they name a container, network, volume or plugin, with 503 if
they are about swarms, and with 501 and an explanation if they would create or run something. A path with empty parts is
answered with 301 and the path without them.
"""


def query(name: str, schema: Schema, description: str, *, required: bool = False) -> Schema:
    """Describe a parameter of the query."""
    parameter = {"name": name, "in": "query", "description": description, "schema": schema}
    return {**parameter, "required": True} if required else parameter


def in_json(name: str, schema: Schema, description: str) -> Schema:
    """Describe a parameter of the query that is written in JSON."""
    return {"name": name, "in": "query", "description": description, "content": {_JSON: {"schema": schema}}}


def filters(description: str, **values: Schema) -> Schema:
    """Describe the parameter `filters`."""
    lists = {name.removesuffix("_") + "!" * name.endswith("_"): array(value) for name, value in values.items()}
    objects = {
        name: {"type": "object", "propertyNames": value["items"], "additionalProperties": {"type": "boolean"}}
        for name, value in lists.items()
    }
    either = [record(form, "", tuple(form)) for form in (lists, objects)]
    return in_json("filters", {"anyOf": either}, f"{description} Each has a list of values, or an object of them.")


@dataclass(frozen=True, slots=True)
class Operation:
    """What a method does on a path.

    ``answers`` are the bodies of success by status: a schema of JSON, the media type of something else, or nothing.
    """

    summary: str
    answers: dict[int, Schema | str | None]
    parameters: tuple[Schema, ...] = ()
    takes: str | None = None
    description: str = ""
    errors: tuple[int, ...] = ()

    def document(self, name: str, path: str) -> Schema:
        """Return its description."""
        document: Schema = {"operationId": name, "summary": self.summary}
        if self.description:
            document["description"] = self.description
        own = (_NAME,) if "{name}" in path else ()
        if own or self.parameters:
            document["parameters"] = [*own, *self.parameters]
        if self.takes is not None:
            document["requestBody"] = {"content": {self.takes: {}}}
        document["responses"] = {str(status): _answer(status, body) for status, body in self.answers.items()} | {
            str(status): _answer(status, ref("Error")) for status in self.errors
        }
        document["responses"]["default"] = _answer(0, ref("Error"))
        return document


_NAME: Final = {
    "name": "name",
    "in": "path",
    "required": True,
    "description": "A name, an ID, or the first digits of one.",
    "schema": text(minLength=1),
}
_MEANINGS: Final = {
    0: "Another failure: a token is missing (401), the server is read-only (403) or busy (503).",
    200: "Done.",
    201: "Done.",
    400: "The request is not valid.",
    404: "There is no such image.",
    409: "The image is needed by something.",
    401: "The other server requires a token.",
    403: "It may not be read, or not be removed.",
    429: "A registry asks to wait.",
    500: "It failed.",
    502: "A registry fails, or cannot be reached.",
    501: "Only an engine does this.",
}
_PLATFORM: Final = {
    "type": "object",
    "properties": {"os": text(), "architecture": text(), "variant": text(), "os.version": text()},
    "required": ["os", "architecture"],
}
_PLATFORM_TEXT: Final = 'The platform that the image must have, in JSON, as `{"os":"linux","architecture":"arm64"}`'
_PLATFORMS: Final = query("platform", text(), f"{_PLATFORM_TEXT}.")
_NO_FILTERS: Final = query("filters", text(), "Filters, in JSON. They are checked, and have no effect.")
_BOOLEAN: Final = text(enum=["1", "0", "true", "false"])
_MOMENT: Final = text("A time in RFC 3339 or in seconds since 1970, or a duration before now, such as `24h`.")
_EMPTY: Final = array(text(), maxItems=0)


def lines(of: str) -> Schema:
    """Describe a stream: no schema can say more of a body that is not one JSON document but many."""
    return {"description": f"Lines of JSON, each of them of the schema `{of}`.", "x-itemSchema": ref(of)}


_OPERATIONS: Final[dict[tuple[str, str], Operation]] = {
    ("GET", "/_ping"): Operation("Check that the server answers, and which versions it supports", {200: "text/plain"}),
    ("HEAD", "/_ping"): Operation("Check that the server answers, and which versions it supports", {200: None}),
    ("GET", "/version"): Operation("Return the version of the server", {200: ref("Version")}),
    ("GET", "/info"): Operation("Return information about the server and its store", {200: ref("Info")}),
    ("GET", "/metrics"): Operation("Return metrics, in the text format of Prometheus", {200: "text/plain"}),
    ("GET", "/events"): Operation(
        "Stream the events of images",
        {200: lines("Event")},
        (
            query("since", text(), "Begin with events since this time, in seconds since 1970."),
            query("until", text(), "End at this time, in seconds since 1970. Without it, the stream does not end."),
            filters(
                "Return only some events.",
                type=text(),
                event=text(),
                image=text(),
                label=text(),
                scope=text(),
            ),
        ),
        errors=(400,),
    ),
    ("GET", "/system/df"): Operation(
        "Return disk usage",
        {200: ref("DiskUsage")},
        (
            query(
                "type",
                array(text(enum=["image", "container", "volume", "build-cache"])),
                "Return only objects of these types.",
            ),
            query(
                "verbose",
                text(enum=["1", "0", "true", "false", "t", "f"]),
                "Return sums, with (true) or without (false) the objects. By default, also the older lists.",
            ),
        ),
        errors=(400,),
    ),
    ("GET", "/images/json"): Operation(
        "List images, newest first",
        {200: array(ref("ImageSummary"))},
        (
            query("all", _BOOLEAN, "Also list images that are only parents of others."),
            filters(
                "List only some images.",
                dangling=text(enum=["true", "false", "1", "0"]),
                label=text(),
                reference=text(),
                before=text(),
                since=text(),
                until=_MOMENT,
            ),
            query("shared-size", _BOOLEAN, "Return how much each image shares with others."),
            query("digests", _BOOLEAN, "Without effect: digests are always there."),
            query("manifests", _BOOLEAN, "Return the manifests of each image."),
            query("identity", _BOOLEAN, "Without effect, and refused without `manifests`."),
        ),
        errors=(400, 404),
    ),
    ("GET", "/images/{name}/json"): Operation(
        "Inspect an image",
        {200: ref("Image")},
        (query("manifests", _BOOLEAN, "Return its manifests; not with `platform`."), _PLATFORMS),
        errors=(400, 404),
    ),
    ("GET", "/images/{name}/history"): Operation(
        "Return the steps that made an image, newest first",
        {200: array(ref("HistoryStep"))},
        (_PLATFORMS,),
        errors=(400, 404),
    ),
    ("POST", "/images/{name}/tag"): Operation(
        "Add a name to an image",
        {201: None},
        (
            query("repo", text(), "The name, perhaps with a tag.", required=True),
            query("tag", text(), "The tag; it replaces the one in the name."),
        ),
        errors=(400, 404),
    ),
    ("DELETE", "/images/{name}"): Operation(
        "Remove a name, and the image if it has no other",
        {200: array(ref("Removed"))},
        (
            query("force", _BOOLEAN, "Remove an image by its ID that has names in several repositories."),
            query("noprune", _BOOLEAN, "Keep its untagged parents."),
            query("platforms", array(text()), f"{_PLATFORM_TEXT}; otherwise nothing is removed. Only one is allowed."),
        ),
        errors=(400, 404, 409),
    ),
    ("POST", "/images/prune"): Operation(
        "Remove unused images",
        {200: ref("Pruned")},
        (
            filters(
                "Remove only some images; with `dangling=false`, also those with names.",
                dangling=text(enum=["true", "false", "1", "0"]),
                label=text(),
                label_=text(),
                until=_MOMENT,
            ),
        ),
        errors=(400,),
    ),
    ("GET", "/images/get"): Operation(
        "Save images in an archive",
        {200: _TAR},
        (query("names", array(text()), "What to save; a repository's bare name saves all its tags."), _PLATFORMS),
        errors=(400, 404),
    ),
    ("GET", "/images/{name}/get"): Operation(
        "Save an image, or a repository, in an archive", {200: _TAR}, (_PLATFORMS,), errors=(400, 404)
    ),
    ("POST", "/images/load"): Operation(
        "Load the images of an archive",
        {200: lines("ProgressLine")},
        (
            query("quiet", _BOOLEAN, "Show no progress of layers; the default."),
            query("platform", text(), "Only the images of this platform, written as in inspections."),
        ),
        takes=_TAR,
        description="The status is 200 even if the load fails, which is reported in the last line.",
        errors=(400,),
    ),
    ("POST", "/images/create"): Operation(
        "Pull an image, or import the tar of a file system as one",
        {200: lines("ProgressLine")},
        (
            query("fromSrc", text(), "`-` for the body of the request, or a URL."),
            query("fromImage", text(), "An image to pull; `tag` is its tag or digest, without either all tags."),
            query("repo", text(), "The name of the image, perhaps with a tag."),
            query("tag", text(), "The tag; it replaces the one in the name."),
            query("message", text(), "The comment."),
            query("changes", array(text()), "Dockerfile instructions that change the config."),
            query("platform", text(), "What the image runs on, as `linux/arm64`."),
        ),
        takes=_TAR,
        description=(
            "If another server refuses the request for a URL (400, 401, 403, 404), its status is passed on. Once the"
            " download has begun, the status is 200, and a failure is reported in the last line. The same holds for"
            " pulls, which use the credentials in `X-Registry-Auth` for the registry of the name."
        ),
        errors=(400, 401, 403, 404, 429, 500, 501, 502),
    ),
    ("GET", "/distribution/{name}/json"): Operation(
        "Return the manifest that an image came with, or with `X-Registry-Auth` the one in its registry",
        {200: ref("Distribution")},
        errors=(400, 403, 404, 429, 502),
    ),
    ("GET", "/images/search"): Operation(
        "Search a registry",
        {200: array(ref("FoundRepository"))},
        (
            query("term", text(), "What to search for; begins with a registry and a slash unless it is on Docker Hub."),
            query("limit", number(minimum=1, maximum=100), "The maximum number of results; 25 by default."),
            filters(
                "Return only some results; `stars` is the minimum.",
                stars=text(pattern="^[0-9]+$"),
                **{name: text(enum=["true", "false"]) for name in ("is-official", "is-automated")},
            ),
        ),
        errors=(400, 401, 403, 404, 429, 501, 502),
    ),
    ("POST", "/images/{name}/push"): Operation(
        "Push an image to its registry",
        {200: lines("ProgressLine")},
        (query("tag", text(), "The tag to push; without it, all tags of the repository."), _PLATFORMS),
        description=(
            "The credentials in the header `X-Registry-Auth` are sent only to the registry of the name."
            " A failure is reported in the last line."
        ),
        errors=(400, 404),
    ),
    ("POST", "/auth"): Operation(
        "Check credentials against a registry", {200: ref("Login")}, takes=_JSON, errors=(400, 401, 502)
    ),
    ("POST", "/commit"): Operation(
        "Refuse to commit a container: there are none",
        {},
        (query("container", text(), "The container."),),
        takes=_JSON,
        errors=(400, 404),
    ),
    ("GET", "/containers/json"): Operation(
        "List containers: none",
        {200: _EMPTY},
        (query("limit", number(), "Without effect."), _NO_FILTERS),
        errors=(400,),
    ),
    ("GET", "/networks"): Operation(
        "List networks: only the default one, without containers",
        {200: array(ref("Network"), maxItems=1)},
        (
            filters(
                "List it only if it matches.",
                **dict.fromkeys(("dangling", "driver", "id", "label", "name", "scope", "type"), text()),
            ),
        ),
        errors=(400,),
    ),
    ("GET", "/networks/{name}"): Operation("Inspect the default network", {200: ref("Network")}, errors=(400, 404)),
    ("DELETE", "/networks/{name}"): Operation("Refuse to remove the default network", {}, errors=(403, 404)),
    ("GET", "/volumes"): Operation(
        "List volumes: none",
        {200: record({"Volumes": _EMPTY, "Warnings": {"type": "null"}})},
        (_NO_FILTERS,),
        errors=(400,),
    ),
    ("GET", "/plugins"): Operation("List plugins: none", {200: _EMPTY}, (_NO_FILTERS,), errors=(400,)),
    ("POST", "/containers/prune"): Operation(
        "Remove no containers",
        {200: record({"ContainersDeleted": {"type": "null"}, "SpaceReclaimed": number(maximum=0)})},
        (_NO_FILTERS,),
        errors=(400,),
    ),
    ("POST", "/networks/prune"): Operation(
        "Remove no networks", {200: record({"NetworksDeleted": {"type": "null"}})}, (_NO_FILTERS,), errors=(400,)
    ),
    ("POST", "/volumes/prune"): Operation(
        "Remove no volumes",
        {200: record({"VolumesDeleted": _EMPTY, "SpaceReclaimed": number(maximum=0)})},
        (_NO_FILTERS,),
        errors=(400,),
    ),
    ("POST", "/build/prune"): Operation(
        "Remove no build cache",
        {200: record({"CachesDeleted": {"type": "null"}, "SpaceReclaimed": number(maximum=0)})},
        (_NO_FILTERS,),
        errors=(400,),
    ),
}


def _answer(status: int, body: Schema | str | None) -> Schema:
    document: Schema = {"description": _MEANINGS[status]}
    if isinstance(body, str):
        document["content"] = {body: {"schema": text()}}
    elif body is not None:
        document["content"] = {_JSON: {"schema": body}}
    return document


def served() -> list[tuple[str, str]]:
    """Return the methods and paths that are served, in the order of their paths."""
    found = (
        (method, endpoint.path.replace(":path", "")) for endpoint in ENDPOINTS for method in endpoint.methods or ()
    )
    return sorted(found, key=lambda each: (each[1], each[0]))


def operations() -> list[tuple[str, str]]:
    """Return the methods and paths that are described."""
    return list(_OPERATIONS)


def document() -> Schema:
    """Return the whole description.

    Raises:
        LookupError: something is served that is not described here.
    """
    paths: dict[str, dict[str, Any]] = {}
    missing = [f"{method} {path}" for method, path in served() if (method, path) not in _OPERATIONS]
    if missing:
        raise LookupError(f"describe {', '.join(missing)} in _OPERATIONS of {__file__}")
    for method, path in served():
        name = _operation_id(method, path)
        paths.setdefault(path, {})[method.lower()] = _OPERATIONS[method, path].document(name, path)
    return {
        "openapi": "3.1.0",
        "info": {"title": "orlop serve", "version": __version__, "description": _DESCRIPTION},
        "servers": [{"url": f"/v{MAXIMUM}"}, {"url": "/"}],
        "paths": paths,
        "components": {"schemas": SCHEMAS},
    }


def _operation_id(method: str, path: str) -> str:
    words = [word.strip("{}_") for word in path.split("/") if word]
    return "".join((method.lower(), *(word.capitalize() for word in words)))


def main(arguments: list[str]) -> int:
    """Write the description, or return whether it is up to date."""
    written = json.dumps(document(), indent=1, ensure_ascii=False) + "\n"
    if "--check" in arguments:
        return 0 if TARGET.read_text() == written else 1
    TARGET.write_text(written)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
