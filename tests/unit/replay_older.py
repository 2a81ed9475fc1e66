"""What the older form of an outside program (1.1) asks of a registry, in its order; see `tests.unit.replay`."""

from __future__ import annotations

import json
import random
from base64 import b64encode
from typing import TYPE_CHECKING, Any

from tests.unit.hosted import EMPTY, code, digest_of, written
from tests.unit.replay import Content

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.unit.replay import Replay


def older(replay: Replay, *, blobs_first: bool = False) -> None:
    """Do all of it on one repository: what one part leaves, the next finds.

    Args:
        replay: asks the registry.
        blobs_first: delete blobs before the manifests that need them, as a setting of the program has it.
    """
    content = _Older(blobs_first=blobs_first)
    _pull(replay, content)
    _push(replay, content)
    _discover(replay, content)
    _manage(replay, content)


class _Older:
    """Its content: images of one layer whose configs say that they have none, and artifacts that refer to one."""

    def __init__(self, *, blobs_first: bool) -> None:
        self.blobs_first = blobs_first
        self.made = Content(chance=random.Random("1.1"))
        self.layer = self.made.layer()
        self.images = [self._image() for _ in range(5)]
        self.chunked, self.whole = self.made.chance.randbytes(42), self.made.chance.randbytes(42)

    def _image(self) -> dict[str, Any]:
        config = self.made.config([])
        # One member is known, and one is nobody's.
        config |= {"data": b64encode(self.made.blobs[config["digest"]]).decode(), "newUnspecifiedField": "aGVsbG8="}
        return self.made.manifest(config, [self.layer])

    def config(self, number: int) -> str:
        return str(json.loads(self.raw(self.images[number]))["config"]["digest"])

    def raw(self, described: dict[str, Any]) -> bytes:
        return self.made.manifests[described["digest"]]


def _store(replay: Replay, content: _Older, number: int, *tags: str) -> None:
    """Push an image of its own for a part."""
    for digest in (content.config(number), content.layer["digest"]):
        replay.put_blob(digest, content.made.blobs[digest])
    for tag in tags:
        replay.put_manifest(tag, content.raw(content.images[number]), content.images[number]["digest"])


def _clear(replay: Replay, content: _Older, number: int, *others: str, gone: Sequence[int] = (202,)) -> None:
    """Delete an image, its blobs, and other manifests, for which the answer may be that they are gone."""
    blobs = [replay.path("blobs", digest) for digest in (content.config(number), content.layer["digest"])]
    if content.blobs_first:
        for path in blobs:
            assert code(replay.expect(replay.client.delete(path), 405)) == "UNSUPPORTED"
            replay.expect(replay.client.get(path), 200)
    for reference in (*others, content.images[number]["digest"]):
        replay.expect(replay.client.delete(replay.path("manifests", reference)), *gone)
    if not content.blobs_first:
        for path in blobs:
            replay.expect(replay.client.delete(path), 202)


def _pull(replay: Replay, content: _Older) -> None:
    _store(replay, content, 0, "tagtest0")
    tag = replay.client.get(replay.path("tags/list")).json["tags"][0]
    dummy = digest_of(b"hello world")
    for path in (replay.path("blobs", dummy), replay.path("manifests/.INVALID_MANIFEST_NAME")):
        replay.expect(replay.client.head(path), 404)
        replay.expect(replay.client.get(path), 404)
    replay.read_blob(content.config(0), content.made.blobs[content.config(0)])
    digest = content.images[0]["digest"]
    for reference in (digest, tag):
        replay.read_manifest(replay.path("manifests", reference), content.raw(content.images[0]), digest)
    wrong = replay.client.put(replay.path("manifests/sha256:totallywrong"), b"blablabla")
    assert code(replay.expect(wrong, 400)) == "DIGEST_INVALID"
    _clear(replay, content, 0)


def _push(replay: Replay, content: _Older) -> None:
    for push in (replay.stream_blob, replay.post_blob, replay.put_blob):
        push(digest_of(content.whole), content.whole)
    session = replay.begin()
    chunks = content.chunked[:22], content.chunked[22:]
    replay.expect(replay.client.patch(session, chunks[1], "22-41"), 416)
    session = replay.begin()
    first = replay.expect(replay.client.patch(session, chunks[0], "0-21"), 202)
    replay.expect(replay.client.patch(session, chunks[0], "0-21"), 416)
    state = replay.expect(replay.client.get(session.headers["location"]), 204)
    assert state.headers["range"] == first.headers["range"] == "0-21"
    second = replay.expect(replay.client.patch(state, chunks[1], "22-41"), 202)
    replay.expect(replay.client.finish(second, digest_of(content.chunked)), 201)
    elsewhere = f"/v2/{replay.other}/blobs"
    query = {"mount": digest_of(b"hello world")}
    replay.expect(replay.client.ask("POST", f"{elsewhere}/uploads/", query), 202)
    query = {"mount": digest_of(content.whole), "from": replay.name}
    mounted = replay.expect(replay.client.ask("POST", f"{elsewhere}/uploads/", query), *replay.mounts)
    if mounted.status == 201:
        assert mounted.headers["location"] == f"{elsewhere}/{digest_of(content.whole)}"
        replay.expect(replay.client.get(mounted.headers["location"]), 200)
        # Nobody says from where, and it is there already.
        again = replay.client.ask("POST", f"{elsewhere}/uploads/", {"mount": digest_of(content.whole)})
        assert replay.expect(again, 201).headers["location"] == mounted.headers["location"]
    _store(replay, content, 1, *(f"test{number}" for number in range(4)))
    # It does not say what it is.
    bare = {"schemaVersion": 2, "config": json.loads(content.raw(content.images[1]))["config"], "layers": []}
    empty = written(bare)
    replay.expect(replay.client.put(replay.path("manifests/emptylayer"), empty), 201)
    _clear(replay, content, 1, digest_of(empty))


def _discover(replay: Replay, content: _Older) -> None:
    tags = [f"test{number}" for number in range(4)]
    _store(replay, content, 2, *tags)
    made, subject = content.made, content.images[4]
    nothing = made.blob(b"{}", EMPTY)
    kinds = ("application/vnd.one", "application/vnd.two")
    referring = []
    for kind in kinds:
        blob = made.blob(kind.encode(), kind)
        # One is an artifact by the type of its config, the other by its own.
        for config, layer, more in ((blob, nothing, {}), (nothing, blob, {"artifactType": kind})):
            notes = {"test": f"{kind} {len(more)}"}
            referring.append(made.manifest(config, [layer], subject=subject, annotations=notes, **more))
    index = made.index(referring[:2], artifactType="application/vnd.three", subject=subject, annotations={"test": "i"})
    lost = made.manifest(nothing, [made.blob(b"lost", kinds[1])], artifactType=kinds[1], subject=content.images[3])
    for digest, raw in made.blobs.items():
        replay.put_blob(digest, raw)
    for one in (*referring[:2], index):
        replay.put_manifest(one["digest"], content.raw(one), one["digest"])
    # What all of them refer to comes in between.
    replay.put_manifest("tagtest0", content.raw(subject), subject["digest"])
    for one in (*referring[2:], lost):
        replay.put_manifest(one["digest"], content.raw(one), one["digest"])
    path = replay.path("tags/list")
    found = replay.client.get(path).json["tags"]
    assert set(found) == {*tags, "tagtest0"}
    few = replay.client.get(path, {"n": 2}).json["tags"]
    assert replay.client.get(path, {"n": 2, "last": few[-1]}).json["tags"] == found[2:4]
    replay.refer(digest_of(b"hello world"), [])
    replay.refer(subject["digest"], made.referrers[subject["digest"]])
    replay.refer(content.images[3]["digest"], made.referrers[content.images[3]["digest"]])
    others = [one["digest"] for one in (index, subject, *referring, lost)]
    _clear(replay, content, 2, *others, "tagtest0", gone=(202, 404))


def _manage(replay: Replay, content: _Older) -> None:
    _store(replay, content, 3, "tagtest0")
    path, digest = replay.path("tags/list"), content.images[3]["digest"]
    before = replay.expect(replay.client.get(path), 200).json["tags"]
    replay.expect(replay.client.delete(replay.path("manifests/tagtest0")), 202)
    replay.expect(replay.client.delete(replay.path("manifests", digest)), 202)
    replay.expect(replay.client.get(replay.path("manifests", digest)), 404)
    # The repository is still there, though nothing in it has a name.
    after = replay.expect(replay.client.get(path), 200).json["tags"]
    assert (before, after) == (["tagtest0"], [])
    for blob in (content.config(3), content.layer["digest"]):
        replay.delete_blob(blob)
