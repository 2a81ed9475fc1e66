"""The requests that a store of blobs needs of a bucket, each as one call that succeeds or raises one clear error."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_plus

from orlop.errors import BucketUnavailable
from orlop.model.tuples import NamedTuple
from orlop.store.blobs.s3.answers import Fault, completion, deletion, location, read_document
from orlop.store.blobs.s3.client import Pieces, Request, fault_in
from orlop.store.blobs.s3.settings import DEFAULT_REGION
from orlop.store.blobs.s3.signing import signed_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from threading import Event

    from orlop.store.blobs.s3.answers import Document
    from orlop.store.blobs.s3.client import Answer, S3Client

_PAGE: Final = 1000
"""Keys that one request deletes or lists."""
_UNTOLD: Final = frozenset({400, 403})
"""Refusals for many reasons, of which the answer to a HEAD names none, as it has no body."""
_NO_BYTE: Final = 416


class Part(NamedTuple):
    """A part of an upload that is stored; ``crc32`` is empty where none was sent."""

    number: int
    etag: str
    crc32: str


class Found(NamedTuple):
    """An object in the bucket."""

    key: str
    size: int


class Bucket:
    """One bucket below one prefix: all keys here are those below the prefix. Safe to share between threads.

    A request that takes ``unwanted`` is not repeated any more once that is set.
    """

    def __init__(self, client: S3Client) -> None:
        self._client = client
        self._settings = client.settings
        self.where = client.settings.where

    # Writing.

    def put(self, key: str, body: Pieces, unwanted: Event | None = None) -> None:
        """Make an object of some bytes, in one request."""
        headers = {**self._encryption(), **_checked(self._crc32(body))}
        request = Request("PUT", self._key(key), headers=headers, body=body)
        self._require_etag(self._done(request, f"write {key}", unwanted=unwanted), key)

    def put_new(self, key: str, body: Pieces) -> bool:
        """Make an object of some bytes unless there is one, and return whether it was made.

        Where the answer is lost it may have been made all the same: look what is there.
        """
        headers = {**self._encryption(), **_checked(self._crc32(body)), "if-none-match": "*"}
        request = Request("PUT", self._key(key), headers=headers, body=body)
        answer = self._done(request, f"write {key}", also=("PreconditionFailed",))
        if answer.status >= 300:
            return False
        self._require_etag(answer, key)
        return True

    def begin_parts(self, key: str) -> str:
        """Begin an upload in parts, and return its ID."""
        headers = self._encryption()
        if self._settings.checksums:
            headers["x-amz-checksum-algorithm"] = "CRC32"
        request = Request("POST", self._key(key), {"uploads": ""}, headers)
        answer = self._done(request, f"begin to write {key}")
        document = read_document(answer.body)
        upload_id = "" if document is None else document.texts.get("UploadId", "")
        if not upload_id:
            raise self._nonsense(f"begin to write {key}")
        return upload_id

    def put_part(self, key: str, upload_id: str, number: int, body: Pieces, unwanted: Event | None = None) -> Part:
        """Store one part of an upload; the same number again replaces it."""
        crc = self._crc32(body)
        query = {"partNumber": str(number), "uploadId": upload_id}
        request = Request("PUT", self._key(key), query, _checked(crc), body)
        answer = self._done(request, f"write {key}", unwanted=unwanted)
        return Part(number, self._require_etag(answer, key), crc)

    def complete(self, key: str, upload_id: str, parts: Sequence[Part], size: int) -> None:
        """Make an object of the parts of an upload. What was completed already, and has the size, is a success."""
        body = Pieces([completion(parts)])
        request = Request("POST", self._key(key), {"uploadId": upload_id}, {"content-type": "application/xml"}, body)
        answer = self._client.call(request)
        fault = fault_in(answer)
        if fault is None and _is(read_document(answer.body), "CompleteMultipartUploadResult"):
            return
        # The answer to an earlier try may have been lost, or this one be odd.
        if (fault is None or fault.code == "NoSuchUpload") and self.size(key) == size:
            return
        raise self._nonsense(f"finish {key}") if fault is None else self._client.error(fault, f"finish {key}")

    def abort(self, key: str, upload_id: str, unwanted: Event | None = None) -> None:
        """Abort an upload, with its parts. Idempotent."""
        request = Request("DELETE", self._key(key), {"uploadId": upload_id})
        self._done(request, f"give up {key}", also=("NoSuchUpload",), unwanted=unwanted)

    def delete(self, keys: Sequence[str]) -> None:
        """Delete some objects. Those that are not there are of no matter."""
        for at in range(0, len(keys), _PAGE):
            raw = deletion(map(self._key, keys[at : at + _PAGE]))
            md5 = b64encode(hashlib.md5(raw, usedforsecurity=False).digest()).decode()
            headers = {"content-md5": md5, "content-type": "application/xml"}
            answer = self._done(Request("POST", "", {"delete": ""}, headers, Pieces([raw])), "delete objects")
            document = read_document(answer.body)
            if answer.body and not _is(document, "DeleteResult"):
                raise self._nonsense("delete objects")
            refused = [one for one in document.of("Error") if one.get("Code") != "NoSuchKey"] if document else []
            if refused:
                fault = Fault(200, refused[0].get("Code", ""), refused[0].get("Message", ""))
                raise self._client.error(fault, f"delete {len(refused)} objects")

    # Reading.

    def size(self, key: str, *, haste: bool = False) -> int | None:
        """Return the size of an object, or nothing where there is none. Where others wait it is given up soon."""
        look = Request("HEAD", self._key(key), haste=haste)
        answer = self._client.call(look)
        fault = fault_in(answer)
        if fault is not None and fault.status in _UNTOLD and not fault.code:
            # Asked for a byte, the server says why, and the client sees to it if it can.
            told = fault_in(self._client.call(look._replace(method="GET", headers={"range": "bytes=0-0"})))
            if told is None or told.status == _NO_BYTE:
                answer = self._client.call(look)
                told = fault_in(answer)
            fault = told
        if fault is None:
            return int(answer.headers.get("content-length", "0"))
        if fault.status == 404:
            return None
        raise self._client.error(fault, f"look at {key}")

    def read(self, key: str) -> bytes | None:
        """Return a small object, or nothing where there is none."""
        answer = self._client.call(Request("GET", self._key(key)))
        fault = fault_in(answer)
        if fault is not None and fault.status == 404 and fault.code != "NoSuchBucket":
            return None
        if fault is not None:
            raise self._client.error(fault, f"read {key}")
        return answer.body

    def url(self, key: str, expires: int, *, query: Mapping[str, str] | None = None) -> str:
        """Return a URL with which clients outside may read an object for some seconds."""
        return signed_url(
            self._settings.outside(),
            self._key(key),
            expires=expires,
            credentials=self._settings.credentials_now(),
            region=self._settings.region,
            now=self._client.server_time(),
            query=query,
        )

    # Looking around.

    def objects(self, folder: str) -> Iterator[Found]:
        """Yield the objects in a folder, in the order of their keys, a page of 1,000 at a time."""
        query = {"list-type": "2", "prefix": self._key(folder), "max-keys": str(_PAGE), "encoding-type": "url"}
        for page in self._pages(query, {"continuation-token": "NextContinuationToken"}, "ListBucketResult"):
            for texts in page.of("Contents"):
                yield Found(self._name(_decoded(page, texts, "Key")), int(texts.get("Size", "0")))

    def uploads(self, folder: str) -> Iterator[tuple[str, str]]:
        """Yield the keys and IDs of the uploads in parts below a folder that are neither complete nor aborted."""
        query = {"uploads": "", "prefix": self._key(folder), "max-uploads": str(_PAGE), "encoding-type": "url"}
        markers = {"key-marker": "NextKeyMarker", "upload-id-marker": "NextUploadIdMarker"}
        # Where there are none, some servers miss them.
        for page in self._pages(query, markers, "ListMultipartUploadsResult", none="NoSuchUpload"):
            for texts in page.of("Upload"):
                yield self._name(_decoded(page, texts, "Key")), texts.get("UploadId", "")

    def _pages(
        self, query: dict[str, str], markers: Mapping[str, str], root: str, *, none: str = ""
    ) -> Iterator[Document]:
        """Yield the pages of a list, which is empty where the server refuses it with the code ``none``."""
        doing = "list what is there"
        asked: set[int] = set()
        while True:
            answer = self._done(Request("GET", "", query), doing, also=(none,) if none else ())
            if answer.status >= 300:
                return
            page = read_document(answer.body)
            # What is not a list must not be taken for an empty one.
            if page is None or page.root != root:
                raise self._nonsense(doing)
            yield page
            following = {
                name: _decoded(page, page.texts, source) if source == "NextKeyMarker" else page.texts.get(source, "")
                for name, source in markers.items()
            }
            if page.texts.get("IsTruncated") != "true":
                return
            place = hash((*following.values(),))
            # A list that leads to where it has been would never end. Of millions of pages only numbers are kept.
            if not any(following.values()) or place in asked:
                raise self._nonsense(doing)
            asked.add(place)
            query = query | {name: value for name, value in following.items() if value}

    def versioning(self) -> str:
        """Return ``Enabled`` or ``Suspended`` where the bucket keeps old versions, and nothing where it never did."""
        page = read_document(self._done(Request("GET", "", {"versioning": ""}), "look at the bucket").body)
        return "" if page is None else page.texts.get("Status", "")

    def ensure(self) -> None:
        """Make the bucket where there is none. Idempotent."""
        answer = self._client.call(Request("GET", "", {"list-type": "2", "prefix": self._key(""), "max-keys": "1"}))
        fault = fault_in(answer)
        if fault is None:
            return
        if fault.code != "NoSuchBucket":
            raise self._client.error(fault, "look at the bucket")
        self.make()

    def make(self) -> None:
        """Make the bucket, in the region of the settings. One that is there is a success."""
        known = ("BucketAlreadyOwnedByYou", "BucketAlreadyExists")
        region = self._settings.region
        body = Pieces() if region == DEFAULT_REGION else Pieces([location(region)])
        self._done(Request("PUT", body=body), "make the bucket", also=known)

    # Parts of requests.

    def _done(
        self, request: Request, doing: str, *, also: tuple[str, ...] = (), unwanted: Event | None = None
    ) -> Answer:
        answer = self._client.call(request, unwanted)
        fault = fault_in(answer)
        if fault is not None and fault.code not in also:
            raise self._client.error(fault, doing)
        return answer

    def _encryption(self) -> dict[str, str]:
        if not self._settings.sse:
            return {}
        headers = {"x-amz-server-side-encryption": self._settings.sse}
        if self._settings.sse_key:
            headers["x-amz-server-side-encryption-aws-kms-key-id"] = self._settings.sse_key
        return headers

    def _crc32(self, body: Pieces) -> str:
        return b64encode(body.crc32().to_bytes(4, "big")).decode() if self._settings.checksums else ""

    def _key(self, key: str) -> str:
        return self._settings.key(key)

    def _name(self, key: str) -> str:
        prefix = self._settings.key("")
        return key.removeprefix(prefix)

    def _require_etag(self, answer: Answer, key: str) -> str:
        """Return the ETag of what was stored. Whatever else answers for a server of S3, such as a proxy, has none."""
        etag = answer.headers.get("etag", "")
        if not etag:
            raise self._nonsense(f"write {key}")
        return etag

    def _nonsense(self, doing: str) -> BucketUnavailable:
        msg = f"cannot {doing} in {self.where}: the answer is not one of S3; check that its endpoint is an object store"
        return BucketUnavailable(msg)


def _checked(crc: str) -> dict[str, str]:
    """Return the headers by which a server compares a body; Ceph does so only where it is told the algorithm, too."""
    return {"x-amz-sdk-checksum-algorithm": "CRC32", "x-amz-checksum-crc32": crc} if crc else {}


def _is(document: Document | None, root: str) -> bool:
    return document is not None and document.root == root


def _decoded(page: Document, texts: Mapping[str, str], name: str) -> str:
    """Return a key in a list; a server that encodes keys says so, as XML cannot hold each of their characters."""
    text = texts.get(name, "")
    return unquote_plus(text) if page.texts.get("EncodingType") == "url" else text
