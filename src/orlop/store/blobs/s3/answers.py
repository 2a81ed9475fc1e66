"""What a server says in its answers: XML of a few shapes, and the codes of its errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from xml.parsers import expat
from xml.sax.saxutils import escape

from orlop.model.tuples import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

_DEEPEST: Final = 8


class Fault(NamedTuple):
    """A refusal: the HTTP ``status``, the server's ``code`` for it and what it says beside.

    The ``region`` is that of the bucket, and ``request`` what the server calls the request, where it says so.
    """

    status: int
    code: str
    message: str = ""
    region: str = ""
    request: str = ""


class Document(NamedTuple):
    """The texts of an answer: the name of its ``root``, those directly in it, and those of its groups, in order.

    A group is an element with elements in it, such as ``Contents`` or ``Upload``.
    """

    root: str
    texts: dict[str, str]
    groups: list[tuple[str, dict[str, str]]]

    def of(self, name: str) -> list[dict[str, str]]:
        """Return the texts of all groups of a name."""
        return [texts for kind, texts in self.groups if kind == name]


class _Malformed(Exception):
    """Ends the reading of a document that is not one of S3's."""


def read_document(raw: bytes) -> Document | None:
    """Return an answer in XML, or nothing where the bytes are something else.

    Namespaces do not matter. Declarations of types and entities are refused: no server sends them.
    """
    parser = expat.ParserCreate(namespace_separator=" ")
    reading = _Reading()
    parser.StartElementHandler = reading.start
    parser.EndElementHandler = reading.end
    parser.CharacterDataHandler = reading.text
    parser.StartDoctypeDeclHandler = _refuse
    try:
        parser.Parse(raw, True)
    except (expat.ExpatError, _Malformed):
        return None
    return reading.document()


def _refuse(*_: object) -> None:
    raise _Malformed


class _Reading:
    """Takes the events of the parser, and keeps texts two levels deep."""

    def __init__(self) -> None:
        self._path: list[str] = []
        self._text: list[str] = []
        self._root = ""
        self._texts: dict[str, str] = {}
        self._groups: list[tuple[str, dict[str, str]]] = []

    def start(self, name: str, _attributes: object) -> None:
        if len(self._path) >= _DEEPEST:
            raise _Malformed
        name = name.rpartition(" ")[2]
        if not self._path:
            self._root = name
        elif len(self._path) == 1:
            self._groups.append((name, {}))
        self._path.append(name)
        self._text = []

    def text(self, data: str) -> None:
        self._text.append(data)

    def end(self, _name: str) -> None:
        name = self._path.pop()
        text, self._text = "".join(self._text), []
        if len(self._path) == 1:
            if not self._groups[-1][1]:
                self._groups.pop()
                self._texts[name] = text
        elif len(self._path) == 2:
            self._groups[-1][1][name] = text

    def document(self) -> Document:
        return Document(self._root, self._texts, self._groups)


def fault_of(status: int, raw: bytes) -> Fault:
    """Return what an answer that is not a success says."""
    document = read_document(raw)
    if document is None or document.root != "Error":
        return Fault(status, "")
    texts = document.texts
    return Fault(status, *(texts.get(name, "") for name in ("Code", "Message", "Region", "RequestId")))


def is_fault(raw: bytes) -> bool:
    """Return whether an answer carries an error, whatever its status."""
    document = read_document(raw)
    return document is not None and document.root == "Error"


def completion(parts: Iterable[tuple[int, str, str]]) -> bytes:
    """Return the body that completes an upload of numbered parts, each with its ETag and its CRC-32, if it has one."""
    lines = (
        f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(etag)}</ETag>"
        f"{f'<ChecksumCRC32>{crc}</ChecksumCRC32>' if crc else ''}</Part>"
        for number, etag, crc in parts
    )
    return f"<CompleteMultipartUpload>{''.join(lines)}</CompleteMultipartUpload>".encode()


def location(region: str) -> bytes:
    """Return the body that makes a bucket in a region."""
    return (
        f"<CreateBucketConfiguration><LocationConstraint>{escape(region)}</LocationConstraint>"
        "</CreateBucketConfiguration>"
    ).encode()


def deletion(keys: Iterable[str]) -> bytes:
    """Return the body that deletes some objects."""
    lines = (f"<Object><Key>{escape(key)}</Key></Object>" for key in keys)
    return f"<Delete><Quiet>true</Quiet>{''.join(lines)}</Delete>".encode()
