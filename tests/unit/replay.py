"""What an outside program asks of a registry, in its order and with content of its kinds.

The distribution specification comes with such a program. What it makes is odd on purpose, or by chance: images whose
config says of each layer that it is empty; one blob that is the config and the layer; manifests without a length.
"""

from __future__ import annotations

import base64
import gzip
import io
import itertools
import json
import random
import tarfile
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from tests.unit.hosted import EMPTY, OCTETS, digest_of, written
from tests.unit.layouts import CONFIG, INDEX, LAYER, MANIFEST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tests.unit.hosted import RegistryClient
    from tests.unit.served import Answer

KIND_1, KIND_2 = "application/vnd.example.replay.v1", "application/vnd.example.replay.v2"
NONDISTRIBUTABLE = "application/vnd.oci.image.layer.nondistributable.v1.tar"
CHUNK = 1024


@dataclass
class Content:
    """What is pushed together: blobs, manifests in their order, tags, and what is said to refer to what."""

    algorithm: str = "sha256"
    has_data: bool = False
    """Whether descriptors hold what they describe."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Members of documents that no specification has."""
    tags_at_once: bool = False
    """Whether the tags are sent with the digests."""
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, bytes] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    referrers: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    chance: random.Random = field(default_factory=lambda: random.Random(17))

    def described(self, content: bytes, media_type: str, **more: Any) -> dict[str, Any]:
        return {"mediaType": media_type, "digest": digest_of(content, self.algorithm), "size": len(content), **more}

    def blob(self, content: bytes, media_type: str = OCTETS) -> dict[str, Any]:
        described = self.described(content, media_type)
        self.blobs[described["digest"]] = content
        if self.has_data:
            described["data"] = base64.b64encode(content).decode()
        return described

    def layer(self, *, plain: bool = False) -> dict[str, Any]:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            text = f"number {self.chance.random()}\n".encode()
            member = tarfile.TarInfo("./replay.txt")
            member.size, member.mode = len(text), 0o644
            tar.addfile(member, io.BytesIO(text))
        content = out.getvalue()
        return self.blob(content, LAYER) if plain else self.blob(gzip.compress(content, mtime=0), f"{LAYER}+gzip")

    def config(self, diff_ids: Sequence[str], architecture: str = "amd64") -> dict[str, Any]:
        document = {
            "author": f"replay {self.chance.random()}",
            "architecture": architecture,
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
        }
        return self.blob(written(document | self.extra), CONFIG)

    def image(
        self, tag: str = "", *, layers: int = 2, plain: bool = False, architecture: str = "amd64", **more: Any
    ) -> dict[str, Any]:
        # Every layer is said to be nothing at all, which is wrong.
        said = [digest_of(b"", self.algorithm)] * layers
        found = [self.layer(plain=plain) for _ in range(layers)]
        return self.manifest(self.config(said, architecture), found, tag, **more)

    def artifact(
        self, tag: str = "", *, kind: str = KIND_1, content: bytes | None = None, **more: Any
    ) -> dict[str, Any]:
        blob = self.blob(self.chance.randbytes(2048) if content is None else content, EMPTY if content else kind)
        return self.manifest(self.blob(b"{}", EMPTY), [blob], tag, artifactType=kind, **more)

    def manifest(
        self, config: dict[str, Any], layers: Sequence[dict[str, Any]], tag: str = "", **more: Any
    ) -> dict[str, Any]:
        document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": list(layers)}
        return self._kept(document | more | self.extra, MANIFEST, tag, more.get("artifactType") or config["mediaType"])

    def index(self, children: Iterable[dict[str, Any]], tag: str = "", **more: Any) -> dict[str, Any]:
        document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": list(children)}
        return self._kept(document | more | self.extra, INDEX, tag, more.get("artifactType"))

    def platforms(
        self, tag: str = "", *, of: Callable[..., dict[str, Any]] | None = None, **more: Any
    ) -> dict[str, Any]:
        children = []
        for name in ("amd64", "arm64"):
            child = self.image(architecture=name) if of is None else of()
            children.append(child | {"platform": {"architecture": name, "os": "linux"}})
        return self.index(children, tag, **more)

    def _kept(self, document: dict[str, Any], media_type: str, tag: str, kind: str | None) -> dict[str, Any]:
        raw = written(document)
        described = self.described(raw, media_type)
        self.manifests[described["digest"]] = raw
        if tag:
            self.tags[tag] = described["digest"]
        if "subject" in document:
            listed = described | ({"artifactType": kind} if kind else {})
            if "annotations" in document:
                listed["annotations"] = document["annotations"]
            self.referrers.setdefault(document["subject"]["digest"], []).append(listed)
        return described


# The kinds of content, each under its name.


def _large(content: Content) -> None:
    content.image("large-manifest", annotations={f"large-annotation-{number}": "A" * 10000 for number in range(390)})


def _nested(content: Content) -> None:
    content.index([content.platforms(), content.platforms()], "index-of-index")


def _subjects(content: Content) -> None:
    subject = content.image("image")
    content.image(subject=subject)
    notes = {"org.example.replay": "hello"}
    content.artifact("tagged-1", subject=subject, annotations=notes | {"org.example.one": "1"})
    content.artifact("tagged-2", kind=KIND_2, subject=subject, annotations=notes | {"org.example.two": "2"})


def _index_subject(content: Content) -> None:
    subject = content.platforms("index")
    notes = {"org.example.replay": "hello"}

    def child() -> dict[str, Any]:
        # They refer to it as well.
        return content.artifact(subject=subject, annotations=notes)

    content.platforms("tagged", of=child, artifactType=KIND_1, subject=subject, annotations=notes)


def _missing_subject(content: Content) -> None:
    subject = {"mediaType": MANIFEST, "size": 123, "digest": digest_of(b"missing content")}
    content.artifact("tagged", subject=subject, annotations={"org.example.replay": "hello"})


def _elsewhere(content: Content) -> None:
    far = [digest_of(content.chance.randbytes(9)) for _ in range(3)]
    layers = [
        {
            "mediaType": f"{NONDISTRIBUTABLE}{form}",
            "digest": digest,
            "size": size,
            "urls": [f"https://store.example.com/blobs/{digest}"],
        }
        for form, digest, size in (("+gzip", far[0], 123456), ("", far[1], 12345))
    ]
    layers.append(content.layer())
    content.manifest(content.config([far[2], far[1], digest_of(b"")]), layers, "non-distributable")


def _sparse(content: Content) -> None:
    platform = {"architecture": "arm64", "os": "linux"}
    gone = {"mediaType": MANIFEST, "digest": digest_of(b"never pushed"), "size": 1024, "platform": platform}
    content.index([content.image() | {"platform": platform | {"architecture": "amd64"}}, gone], "sparse")


def _tags_at_once(content: Content) -> None:
    top = content.platforms("first")["digest"]
    for number, digest in enumerate(content.manifests):
        content.tags[f"at-once-{number}"] = digest
    assert list(content.tags.values()).count(top) == 2


KINDS: dict[str, tuple[Callable[[Content], object], dict[str, Any]]] = {
    "image": (lambda content: content.image("image"), {}),
    "uncompressed": (lambda content: content.image("image-uncompressed", plain=True), {}),
    "large manifest": (_large, {}),
    "index": (lambda content: content.platforms("index"), {}),
    "nested index": (_nested, {}),
    "empty index": (lambda content: content.index([], "index"), {}),
    "artifact": (lambda content: content.artifact("artifact"), {}),
    "index of artifacts": (
        lambda content: content.platforms("artifact-index", of=content.artifact, artifactType=KIND_1),
        {},
    ),
    "artifact of one blob": (lambda content: content.artifact("without-layers", content=b"{}"), {}),
    "artifacts with a subject": (_subjects, {}),
    "index with a subject": (_index_subject, {}),
    "missing subject": (_missing_subject, {}),
    "data": (lambda content: content.image("data-field"), {"has_data": True}),
    "non-distributable layers": (_elsewhere, {}),
    "unknown members": (lambda content: content.platforms("custom"), {"extra": {"org.XYZ7": "what nobody knows"}}),
    "no layers": (lambda content: content.image("no-layers", layers=0), {}),
    "sparse index": (_sparse, {}),
    "sha512": (lambda content: content.platforms(), {"algorithm": "sha512"}),
    "tags at once": (_tags_at_once, {"tags_at_once": True}),
    "tags at once, sha512": (_tags_at_once, {"tags_at_once": True, "algorithm": "sha512"}),
}


def made(kind: str) -> Content:
    """Make the content of one kind."""
    make, how = KINDS[kind]
    content = Content(**how, chance=random.Random(kind))
    make(content)
    return content


class Replay:
    """Asks a registry, and checks each answer; `counts` says how many of each kind there were.

    Args:
        client: asks the registry.
        name: of the repository that gets everything.
        other: of one from which blobs are mounted.
        mounts: what may be the answer to a mount of what is there.
    """

    def __init__(
        self,
        client: RegistryClient,
        name: str = "replay/one",
        other: str = "replay/two",
        *,
        mounts: Sequence[int] = (201,),
    ) -> None:
        self.mounts = mounts
        self.client = client
        self.name = name
        self.other = other
        self.counts: Counter[int] = Counter()
        ways = (self.put_blob, self.post_blob, self.stream_blob, self.send_chunks)
        self._ways = itertools.cycle(ways)

    def expect(self, answer: Answer, *statuses: int) -> Answer:
        assert answer.status in statuses, (answer.status, answer.body[:300])
        self.counts[answer.status] += 1
        if answer.status >= 400 and answer.body:
            assert all({"code", "message"} <= set(one) for one in answer.json["errors"])
        return answer

    def path(self, *parts: str) -> str:
        return "/".join(("/v2", self.name, *parts))

    # Blobs, in every way to push them.

    def begin(self, name: str | None = None, **query: str) -> Answer:
        path = f"/v2/{name or self.name}/blobs/uploads/"
        return self.expect(self.client.ask("POST", path, query, headers={"Content-Length": "0"}), 202)

    def _end(
        self, location: str, digest: str, content: bytes, *, last: bytes = b"", is_right: bool = True, span: str = ""
    ) -> None:
        """End the upload of some content by its last bytes."""
        headers = {"Content-Type": OCTETS, **({"Content-Range": span} if span else {})}
        answer = self.client.ask("PUT", location, {"digest": digest}, body=last, headers=headers)
        self.expect(answer, 201 if is_right else 400)
        if is_right:
            self._verify(answer, digest, content)

    def _verify(self, answer: Answer, digest: str, content: bytes) -> None:
        """Check that what was pushed is where the answer says."""
        assert answer.headers["docker-content-digest"] == digest
        got = self.expect(self.client.get(answer.headers["location"]), 200)
        assert got.body == content

    def put_blob(self, digest: str, content: bytes, *, is_right: bool = True, name: str | None = None) -> None:
        self._end(self.begin(name).headers["location"], digest, content, last=content, is_right=is_right)

    def post_blob(self, digest: str, content: bytes, *, is_right: bool = True) -> None:
        headers = {"Content-Type": OCTETS}
        path = self.path("blobs/uploads/")
        answer = self.client.ask("POST", path, {"digest": digest}, body=content, headers=headers)
        self.expect(answer, 201 if is_right else 400)
        if is_right:
            self._verify(answer, digest, content)

    def stream_blob(self, digest: str, content: bytes, *, is_right: bool = True) -> None:
        location = self.begin().headers["location"]
        # No length is said.
        sent = self.client.ask("PATCH", location, body=iter([content]), headers={"Content-Type": OCTETS})
        self._end(self.expect(sent, 202).headers["location"], digest, content, is_right=is_right)

    def send_chunks(
        self, digest: str, content: bytes, *, is_right: bool = True, ends: str = "empty", disorder: bool = False
    ) -> None:
        """Send a blob in up to three chunks.

        ``ends`` is ``empty`` or ``chunk``, as the PUT has no body or the last chunk. With ``disorder`` each chunk comes
        after one that does not follow.
        """
        begun = self.begin()
        location = begun.headers["location"]
        size = max(CHUNK, len(content) // 3 + 1, int(begun.headers.get("oci-chunk-min-length", "0")))
        for start in range(0, len(content), size):
            if disorder:
                location = self._send_wrongly(location, digest, content, start, size, ends)
            chunk = content[start : start + size]
            span = f"{start}-{start + len(chunk) - 1}"
            if ends == "chunk" and start + size >= len(content):
                self._end(location, digest, content, last=chunk, is_right=is_right, span=span)
                return
            headers = {"Content-Type": OCTETS, "Content-Range": span}
            sent = self.expect(self.client.ask("PATCH", location, body=chunk, headers=headers), 202)
            assert sent.headers["range"] == f"0-{start + len(chunk) - 1}"
            location = sent.headers["location"]
        self._end(location, digest, content, is_right=is_right)

    def _send_wrongly(self, location: str, digest: str, content: bytes, start: int, size: int, ends: str) -> str:
        wrong = start + size if start + size < len(content) else 0
        chunk = content[wrong : wrong + size]
        span = {"Content-Range": f"{wrong}-{wrong + len(chunk) - 1}", "Content-Type": OCTETS}
        is_put = ends == "chunk" and wrong + len(chunk) == len(content)
        query = {"digest": digest} if is_put else {}
        self.expect(self.client.ask("PUT" if is_put else "PATCH", location, query, body=chunk, headers=span), 416)
        # What the query says is nothing to whoever only asks.
        state = self.expect(self.client.get(location, query), 204)
        assert state.headers["range"] == f"0-{max(0, start - 1)}"
        return state.headers["location"]

    def mount(self, digest: str, content: bytes, *statuses: int, **query: str) -> None:
        answer = self.client.ask("POST", self.path("blobs/uploads/"), {"mount": digest, **query})
        self.expect(answer, *statuses)
        if answer.status == 202:
            self._end(answer.headers["location"], digest, content, last=content)
        else:
            self._verify(answer, digest, content)

    def read_blob(self, digest: str, content: bytes) -> None:
        path = self.path("blobs", digest)
        head, got = self.expect(self.client.head(path), 200), self.expect(self.client.get(path), 200)
        assert (head.body, got.body) == (b"", content)
        for answer in (head, got):
            assert answer.headers["content-length"] == str(len(content))
            assert answer.headers["docker-content-digest"] == digest

    def delete_blob(self, digest: str, *statuses: int, name: str | None = None) -> None:
        path = f"/v2/{name or self.name}/blobs/{digest}"
        self.expect(self.client.delete(path), *(statuses or (202,)))
        self.expect(self.client.head(path), 404)

    def blobs(self, algorithm: str) -> None:
        """Push, read, mount, cut and delete blobs whose digests are of one algorithm."""
        chance = random.Random(algorithm)

        def fresh(size: int = 512) -> tuple[str, bytes]:
            content = chance.randbytes(size)
            return digest_of(content, algorithm), content

        three = 3 * CHUNK - 5
        self.expect(self.client.get(self.path("blobs", fresh()[0])), 404)
        pushes: list[Callable[..., None]] = [self.post_blob, self.put_blob, self.stream_blob]
        for one in pushes:
            self._whole(one, *fresh())
        self._whole(self.send_chunks, *fresh())
        for ends in ("empty", "chunk"):
            for disorder in (False, True):
                digest, content = fresh(three)
                self.send_chunks(digest, content, ends=ends, disorder=disorder)
                self._whole(None, digest, content)
        for query in ({"from": self.other}, {}):
            digest, content = fresh()
            self.put_blob(digest, content, name=self.other)
            self.mount(digest, content, *self.mounts, **query)
            self._whole(None, digest, content)
            self.delete_blob(digest, name=self.other)
        digest, content = fresh()
        self.mount(digest, content, 202, **{"from": self.other})
        self._whole(None, digest, content)
        location = self.begin().headers["location"]
        self.expect(self.client.ask("DELETE", location, headers={"Content-Length": "0"}), 204)
        self.expect(self.client.get(location), 404)
        self._ranges(*fresh(2048))
        for content in (b"", b"{}"):
            for push in pushes:
                self._whole(push, digest_of(content, algorithm), content)
        pushes += [self.send_chunks, partial(self.send_chunks, ends="chunk")]
        for push in pushes:
            digest, content = fresh(three)
            push(digest, content + b"oh no", is_right=False)
            self.expect(self.client.head(self.path("blobs", digest)), 404)

    def _whole(self, push: Callable[..., None] | None, digest: str, content: bytes) -> None:
        if push is not None:
            push(digest, content)
        self.read_blob(digest, content)
        self.delete_blob(digest)

    def _ranges(self, digest: str, content: bytes) -> None:
        self.put_blob(digest, content)
        path, total = self.path("blobs", digest), len(content)
        for text, first, end in (
            ("500-1499", 500, 1500),
            ("500-", 500, total),
            ("-500", total - 500, total),
            ("2000-5000", 2000, total),
        ):
            answer = self.expect(self.client.get(path, headers={"Range": f"bytes={text}"}), 206)
            assert (answer.body, answer.headers["content-length"]) == (content[first:end], str(end - first))
            assert answer.headers["content-range"] == f"bytes {first}-{end - 1}/{total}"
        for text in ("500-0", "5000-10000"):
            self.expect(self.client.get(path, headers={"Range": f"bytes={text}"}), 416)
        self.delete_blob(digest)

    # Manifests.

    def round(self, content: Content) -> None:
        """Push content, find and read it in every way, and delete it."""
        self.push(content)
        self.list(content)
        self.read(content)
        for subject, listed in content.referrers.items():
            self.refer(subject, listed)
        self.delete(content)

    def push(self, content: Content) -> None:
        for digest, blob in content.blobs.items():
            next(self._ways)(digest, blob)
        for digest, raw in content.manifests.items():
            tags = [tag for tag, meant in content.tags.items() if content.tags_at_once and meant == digest]
            self.put_manifest(digest, raw, digest, tags)
        for tag, digest in content.tags.items():
            if not content.tags_at_once:
                self.put_manifest(tag, content.manifests[digest], digest)

    def put_manifest(self, reference: str, raw: bytes, digest: str, tags: Sequence[str] = ()) -> None:
        document = json.loads(raw)
        query = {"tag": list(tags)} if tags else {}
        headers = {"Content-Type": document["mediaType"]}
        target = self.path("manifests", reference)
        # No length is said.
        answer = self.expect(self.client.ask("PUT", target, query, body=iter([raw]), headers=headers), 201)
        if "subject" in document:
            assert answer.headers["oci-subject"] == document["subject"]["digest"]
        assert answer.headers["docker-content-digest"] == digest
        if tags:
            assert {one.strip() for one in answer.headers["oci-tag"].split(",")} == set(tags)
        self.read_manifest(answer.headers["location"], raw, digest)

    def read_manifest(self, path: str, raw: bytes, digest: str) -> None:
        accept = {"Accept": f"{INDEX}, {MANIFEST}"}
        head = self.expect(self.client.head(path, headers=accept), 200)
        got = self.expect(self.client.get(path, headers=accept), 200)
        assert (head.body, got.body) == (b"", raw)
        for answer in (head, got):
            assert answer.headers["content-type"] == json.loads(raw)["mediaType"]
            assert answer.headers["content-length"] == str(len(raw))
            assert answer.headers["docker-content-digest"] == digest

    def list(self, content: Content) -> None:
        path = self.path("tags/list")
        answer = self.expect(self.client.get(path), 200, 404)
        tags = answer.json["tags"] if answer.status == 200 else []
        assert set(content.tags) <= set(tags)
        assert tags == sorted(tags)
        if len(tags) > 1:
            half = len(tags) // 2
            assert self.expect(self.client.get(path, {"last": tags[half - 1]}), 200).json["tags"] == tags[half:]
            few = self.expect(self.client.get(path, {"n": half}), 200)
            assert few.json["tags"] == tags[:half]

    def read(self, content: Content) -> None:
        for tag, digest in content.tags.items():
            self.read_manifest(self.path("manifests", tag), content.manifests[digest], digest)
        for digest, raw in content.manifests.items():
            self.read_manifest(self.path("manifests", digest), raw, digest)
        for digest, blob in content.blobs.items():
            self.read_blob(digest, blob)

    def refer(self, subject: str, listed: Sequence[dict[str, Any]]) -> None:
        kinds = {one.get("artifactType") for one in listed}
        path = self.path("referrers", subject)
        for kind in (None, *sorted(one for one in kinds if one)):
            answer = self.expect(self.client.get(path, {} if kind is None else {"artifactType": kind}), 200)
            assert answer.headers["content-type"] == INDEX
            assert (answer.json["schemaVersion"], answer.json["mediaType"]) == (2, INDEX)
            assert answer.headers.get("oci-filters-applied") == (None if kind is None else "artifactType")
            wanted = [one for one in listed if kind in {None, one.get("artifactType")}]
            assert {one["digest"]: one for one in answer.json["manifests"]} == {one["digest"]: one for one in wanted}

    def delete(self, content: Content) -> None:
        for tag in content.tags:
            path = self.path("manifests", tag)
            self.expect(self.client.delete(path), 202)
            self.expect(self.client.head(path), 404)
        for digest in reversed(content.manifests):
            path = self.path("manifests", digest)
            self.expect(self.client.delete(path), 202)
            self.expect(self.client.head(path), 404)
        for digest in content.blobs:
            self.delete_blob(digest)

    def errors(self) -> None:
        """Ask for what is not there, and send what is wrong."""
        content = Content(chance=random.Random("errors"))
        digest = content.image(layers=1)["digest"]
        raw = content.manifests[digest]
        for blob, body in content.blobs.items():
            self.put_blob(blob, body)
        for reference in (digest, "missing-abcdefghij", ".INVALID_MANIFEST_NAME"):
            self.expect(self.client.get(self.path("manifests", reference)), 404)
            self.expect(self.client.head(self.path("manifests", reference)), 404)
        headers = {"Content-Type": MANIFEST}
        for reference, body in (
            (digest, raw + b"  "),
            ("sha256:baddigeststring", raw),
            ("sha256:totallywrong", b"blablabla"),
        ):
            target = self.path("manifests", reference)
            self.expect(self.client.ask("PUT", target, body=iter([body]), headers=headers), 400)
            self.expect(self.client.get(target), 404, 400)
        for blob in content.blobs:
            self.delete_blob(blob)
        self._sparse_image()

    def _sparse_image(self) -> None:
        """Put an image of which one layer was not pushed, which a registry may refuse, and in one way only."""
        content = Content(chance=random.Random("sparse"))
        digest = content.image("sparse-image")["digest"]
        missing, *layers = (one["digest"] for one in json.loads(content.manifests[digest])["layers"])
        for blob in {*content.blobs} - {missing}:
            self.put_blob(blob, content.blobs[blob])
        headers = {"Content-Type": MANIFEST}
        for reference in (digest, "sparse-image"):
            target = self.path("manifests", reference)
            refused = self.client.ask("PUT", target, body=iter([content.manifests[digest]]), headers=headers)
            said = [(one["code"], one["detail"]["digest"]) for one in self.expect(refused, 400).json["errors"]]
            assert said == [("MANIFEST_BLOB_UNKNOWN", missing)]
            self.expect(self.client.head(target), 404)
        for layer in layers:
            # What did come is still there, for the push that brings the rest.
            self.read_blob(layer, content.blobs[layer])
        next(self._ways)(missing, content.blobs[missing])
        self.put_manifest("sparse-image", content.manifests[digest], digest)
        self.delete(content)

    def everything(self) -> None:
        """Do all of it, on the same repositories."""
        self.nothing()
        for algorithm in ("sha256", "sha512"):
            self.blobs(algorithm)
        for kind in KINDS:
            self.round(made(kind))
        self.errors()

    def nothing(self) -> None:
        """Ask a registry that has nothing."""
        self.expect(self.client.get("/v2/"), 200)
        self.expect(self.client.get(self.path("tags/list")), 200, 404)
        self.refer(digest_of(b"nobody refers to this"), [])
