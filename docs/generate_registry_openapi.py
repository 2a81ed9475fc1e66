"""Write `docs/registry-openapi.json`, the description of what `orlop serve --registry` answers, from its routes.

python -m docs.generate_registry_openapi            writes it
python -m docs.generate_registry_openapi --check    ends with status 1 where it is not up to date
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from docs.openapi_schemas import array, mapping, number, record, ref, text
from orlop._version import __version__
from orlop.api.registry.routes import Kind, methods_of
from orlop.model.manifest import INDEX_TYPES, MANIFEST_TYPES, OCI_INDEX

if TYPE_CHECKING:
    from docs.openapi_schemas import Schema

TARGET: Final = Path(__file__).with_name("registry-openapi.json")
_JSON: Final = "application/json"
_OCTETS: Final = "application/octet-stream"
_MANIFESTS: Final = tuple(sorted(MANIFEST_TYPES | INDEX_TYPES))
_DESCRIPTION: Final = """\
The registry over a store, as `orlop serve --registry` answers it: the OCI distribution specification 1.1, and Docker's
Registry HTTP API V2. `docs/registry-server.md` says what is kept, and for how long.

The name of a repository may have slashes, which are written as they are. Every answer has the header
`Docker-Distribution-Api-Version: registry/2.0`. Locations are relative. Of a parameter that is given twice the first
counts, but for `tag`.
"""
_DIGEST: Final = r"^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$"
_TAG: Final = r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$"
_NAME: Final = r"^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$"

_RIGHT: Final = record({"Type": text(), "Name": text(), "Action": text("One or more, separated by commas.")})
_SCHEMAS: Final[dict[str, Schema]] = {
    "Errors": record(
        {
            "errors": array(
                record(
                    {
                        "code": text("A code of the specification.", pattern="^[A-Z_]+$"),
                        "message": text("What is wrong, in a sentence."),
                        "detail": {
                            "anyOf": [
                                record({"digest": text("The blob that is missing.")}),
                                array(_RIGHT, "The rights that are missing."),
                            ]
                        },
                    },
                    optional=("detail",),
                ),
                minItems=1,
            )
        },
        "Why a request failed.",
    ),
    "Descriptor": record(
        {
            "mediaType": text(enum=list(_MANIFESTS)),
            "digest": text(pattern=_DIGEST),
            "size": number(),
            "artifactType": text("What the artifact is, or the type of its config."),
            "annotations": mapping(text()),
        },
        "A manifest that refers to the content that was asked for.",
        optional=("artifactType", "annotations"),
    ),
}


def _header(description: str, schema: Schema | None = None, *, required: bool = True) -> Schema:
    return {"description": description, "schema": schema or text(), **({"required": True} if required else {})}


_CONTENT_DIGEST: Final = {"Docker-Content-Digest": _header("The digest of the content.", text(pattern=_DIGEST))}
_CREATED: Final = {"Location": _header("Where the content is."), **_CONTENT_DIGEST}
_SESSION: Final = {
    "Location": _header("Where the upload goes on."),
    "Range": _header("What has come: from 0 to the last byte.", text(pattern="^0-[0-9]+$")),
    "Docker-Upload-UUID": _header("The id of the upload."),
}
_PAGE: Final = {"Link": _header("Where the next page is.", required=False)}
_ENTITY: Final = {**_CONTENT_DIGEST, "ETag": _header("The digest in quotation marks.")}
_WAIT: Final = {"Retry-After": _header("After how many seconds to try again.")}
_SUBJECT: Final = {
    "OCI-Subject": _header("The digest that the manifest refers to.", required=False),
    "OCI-Tag": _header("The tags that it got, where `tag` was given.", required=False),
}
_APPLIED: Final = {**_PAGE, "OCI-Filters-Applied": _header("`artifactType`, where that was given.", required=False)}


@dataclass(frozen=True, slots=True)
class Answer:
    """A success: the bodies that it may have by media type, and its headers."""

    description: str
    content: dict[str, Schema]
    headers: dict[str, Schema]

    def document(self, *, has_body: bool) -> Schema:
        """Return its description."""
        found: Schema = {"description": self.description}
        if self.headers:
            found["headers"] = self.headers
        if has_body and self.content:
            found["content"] = {kind: {"schema": schema} for kind, schema in self.content.items()}
        return found


@dataclass(frozen=True, slots=True)
class Operation:
    """What a method does on a path: what it answers by status, and with which other statuses it may fail."""

    summary: str
    answers: dict[int, Answer]
    errors: tuple[int, ...] = ()
    parameters: tuple[Schema, ...] = ()
    takes: tuple[str, ...] = ()

    def document(self, kind: Kind, method: str) -> Schema:
        """Return its description."""
        has_body = method != "HEAD"
        found: Schema = {"operationId": f"{method.lower()}{kind.name.capitalize()}", "summary": self.summary}
        parameters = [_IN_PATH[name] for name in _IN_PATH if f"{{{name}}}" in kind] + list(self.parameters)
        if parameters:
            found["parameters"] = parameters
        if self.takes:
            found["requestBody"] = {"content": {one: {} for one in self.takes}}
        found["responses"] = {
            str(status): answer.document(has_body=has_body) for status, answer in sorted(self.answers.items())
        } | {str(status): _failed(status, has_body=has_body) for status in sorted({*self.errors, *_ALWAYS})}
        return found


def _failed(status: int, *, has_body: bool) -> Schema:
    return {"$ref": f"#/components/responses/{status}"} if has_body else {"description": _MEANINGS[status]}


def _failure(status: int) -> Schema:
    headers = {429: _WAIT, 503: _WAIT, 405: {"Allow": _header("What the path takes.", required=False)}}.get(status, {})
    return Answer(_MEANINGS[status], {_JSON: ref("Errors")}, headers).document(has_body=True)


_ALWAYS: Final = (400, 401, 403, 405, 429, 500, 503)
_MEANINGS: Final = {
    400: "The request is not valid: `DIGEST_INVALID`, `NAME_INVALID`, `MANIFEST_INVALID`, and so on.",
    401: "`UNAUTHORIZED`: `WWW-Authenticate` says how to log in.",
    403: "`DENIED`.",
    404: "The repository has no such thing: `NAME_UNKNOWN`, `MANIFEST_UNKNOWN`, `BLOB_UNKNOWN`, `BLOB_UPLOAD_UNKNOWN`.",
    405: "`UNSUPPORTED`: the method, or something that other content needs.",
    412: "`PRECONDITION_FAILED`: what is there is not what `If-Match` or `If-None-Match` says.",
    413: "`SIZE_INVALID`: more bytes than are taken.",
    416: "`RANGE_INVALID`: a range beyond a blob, or a chunk that does not come next.",
    429: "`TOOMANYREQUESTS`.",
    500: "It failed; the server's log says why.",
    502: "Another registry, which a cache asks, fails or cannot be reached.",
    503: "`UNAVAILABLE`: the server is busy, or is about to end.",
    507: "The disk is full; nothing of the request is kept.",
}
_IN_PATH: Final = {
    name: {"name": name, "in": "path", "required": True, "description": description, "schema": schema}
    for name, description, schema in (
        ("name", "A repository.", text(pattern=_NAME, maxLength=255)),
        ("reference", "A tag or a digest.", {"anyOf": [text(pattern=_TAG), text(pattern=_DIGEST)]}),
        ("digest", "A digest.", text(pattern=_DIGEST)),
        ("id", "An upload, as its `Location` ends.", text(pattern="^[0-9a-f]{32}$")),
    )
}


def _query(name: str, schema: Schema, description: str, *, required: bool = False) -> Schema:
    more = {"required": True} if required else {}
    return {"name": name, "in": "query", "description": description, "schema": schema, **more}


def _given(name: str, schema: Schema, description: str) -> Schema:
    return {"name": name, "in": "header", "description": description, "schema": schema}


_PAGING: Final = (
    _query("n", number(maximum=10_000), "At most so many names."),
    _query("last", text(), "Only those that sort behind this one."),
)
_ETAGS: Final = text(pattern=r'^(\*|(W/)?"[!#-~]*"(, (W/)?"[!#-~]*")*)$')
_HAS: Final = _given("If-None-Match", _ETAGS, "What the client has already.")
_WANTS: Final = _given("If-Match", _ETAGS, "What alone is wanted.")
_FREE: Final = _given("If-None-Match", _ETAGS, "What must not be there: `*` for anything.")
_IS: Final = _given("If-Match", _ETAGS, "What must be there: one of these, or `*` for anything.")
_SPAN: Final = _given("Content-Range", text(pattern=r"^\d{1,9}-\d{1,9}$"), "Which bytes of the blob the body has.")
_WANTED: Final = _query("digest", text(pattern=_DIGEST), "The digest that the whole blob must have.", required=True)
_RANGE: Final = _given("Range", text(pattern=r"^bytes=\d{1,9}-\d{0,9}$"), "The bytes that are wanted.")

_MANIFEST: Final = {
    200: Answer("The manifest, byte for byte.", {one: {} for one in _MANIFESTS}, _ENTITY),
    304: Answer("The client has it.", {}, {}),
}
_BLOB: Final = {
    200: Answer("The blob.", {_OCTETS: text()}, _ENTITY),
    206: Answer("A part of it.", {_OCTETS: text()}, {"Content-Range": _header("Which part.")}),
    304: Answer("The client has it.", {}, {}),
}
_STATE: Final = Operation(
    "Return how many bytes of an upload have arrived", {204: Answer("Its progress.", {}, _SESSION)}, (404,)
)
_TAGS: Final = Answer("A page of tags.", {_JSON: record({"name": text(), "tags": array(text(pattern=_TAG))})}, _PAGE)
_CATALOG: Final = Answer("A page of names.", {_JSON: record({"repositories": array(text(pattern=_NAME))})}, _PAGE)
_REFERRERS: Final = Answer(
    "An index of them, which may be empty.",
    {
        OCI_INDEX: record(
            {
                "schemaVersion": number(minimum=2, maximum=2),
                "mediaType": text(enum=[OCI_INDEX]),
                "manifests": array(ref("Descriptor")),
            }
        )
    },
    _APPLIED,
)
_BASE: Final = Operation("Check that this is a registry", {200: Answer("It is.", {_JSON: record({})}, {})})
_READING: Final[dict[Kind, Operation]] = {
    Kind.BASE: _BASE,
    Kind.CATALOG: Operation("List repositories", {200: _CATALOG}, (), _PAGING),
    Kind.TAGS: Operation("List the tags of a repository", {200: _TAGS}, (404,), _PAGING),
    Kind.REFERRERS: Operation(
        "List what refers to a manifest",
        {200: _REFERRERS},
        (404,),
        (
            _query("artifactType", text(), "Only those of this type."),
            _query("last", text(), "Only those that sort after this digest."),
        ),
    ),
    Kind.MANIFEST: Operation("Read a manifest or an index", _MANIFEST, (404, 412, 502), (_HAS, _WANTS)),
    Kind.BLOB: Operation("Read a blob, or a part of it", _BLOB, (404, 412, 416, 502), (_HAS, _WANTS, _RANGE)),
    Kind.UPLOAD: _STATE,
}
_WRITING: Final[dict[tuple[str, Kind], Operation]] = {
    ("PUT", Kind.MANIFEST): Operation(
        "Put a manifest or an index",
        {201: Answer("It is stored.", {}, {**_CREATED, **_SUBJECT})},
        (404, 412, 413, 507),
        (
            _FREE,
            _IS,
            _query("tag", array(text(pattern=_TAG), maxItems=100), "Further tags."),
            _query("digest", text(pattern=_DIGEST), "The digest that it must have, if the path has a tag."),
        ),
        _MANIFESTS,
    ),
    ("DELETE", Kind.MANIFEST): Operation(
        "Delete a tag, or a manifest with its tags", {202: Answer("It was deleted.", {}, {})}, (404, 412), (_FREE, _IS)
    ),
    ("DELETE", Kind.BLOB): Operation(
        "Delete a blob that no manifest names", {202: Answer("It was deleted.", {}, {})}, (404, 412), (_FREE, _IS)
    ),
    ("POST", Kind.UPLOADS): Operation(
        "Begin an upload, or send a blob whole, or mount one",
        {201: Answer("The blob is stored.", {}, _CREATED), 202: Answer("The upload has begun.", {}, _SESSION)},
        (404, 413, 507),
        (
            _query("digest", text(pattern=_DIGEST), "The digest of the body, which is then the whole blob."),
            _query("mount", text(pattern=_DIGEST), "A blob that another repository may have."),
            _query("from", text(pattern=_NAME, maxLength=255), "That repository."),
            _query(
                "digest-algorithm", text(enum=["sha256", "sha512"]), "The algorithm of the digest that will be sent."
            ),
        ),
        (_OCTETS,),
    ),
    ("PATCH", Kind.UPLOAD): Operation(
        "Send a part of a blob",
        {202: Answer("It is stored.", {}, _SESSION)},
        (404, 413, 416, 507),
        (_SPAN,),
        (_OCTETS,),
    ),
    ("PUT", Kind.UPLOAD): Operation(
        "Send the last part of a blob, if there is one, and finish it",
        {201: Answer("The blob is stored.", {}, _CREATED)},
        (404, 413, 416, 507),
        (_WANTED, _SPAN),
        (_OCTETS,),
    ),
    ("DELETE", Kind.UPLOAD): Operation("Cancel an upload", {204: Answer("It was cancelled.", {}, {})}, (404,)),
}


def served() -> list[tuple[str, Kind]]:
    """Return the methods and paths that are served."""
    return [(method, kind) for kind in Kind for method in methods_of(kind)]


def described() -> dict[tuple[str, Kind], Operation]:
    """Return what is described, by method and path."""
    reading = {(method, kind): one for kind, one in _READING.items() for method in ("GET", "HEAD")}
    return {**reading, **_WRITING}


def document() -> Schema:
    """Return the whole description. Raises `LookupError` where something is served that is not described here."""
    known = described()
    missing = [f"{method} {kind}" for method, kind in served() if (method, kind) not in known]
    if missing:
        raise LookupError(f"describe {', '.join(missing)} in {__file__}")
    paths: dict[str, dict[str, Any]] = {}
    for method, kind in served():
        paths.setdefault(str(kind), {})[method.lower()] = known[method, kind].document(kind, method)
    return {
        "openapi": "3.1.0",
        "info": {"title": "orlop serve --registry", "version": __version__, "description": _DESCRIPTION},
        "paths": paths,
        "components": {"schemas": _SCHEMAS, "responses": {str(one): _failure(one) for one in _MEANINGS}},
    }


def main(arguments: list[str]) -> int:
    """Write the description, or return whether it is up to date."""
    written = json.dumps(document(), indent=1, ensure_ascii=False) + "\n"
    if "--check" in arguments:
        return 0 if TARGET.exists() and TARGET.read_text() == written else 1
    TARGET.write_text(written)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
