"""``index.json`` of an OCI layout that is written: entries with names, alone or beside those that are there.

Entries of others are kept as the very bytes that they are, in their order; ours follow, sorted by name and digest, so
that equal images give equal bytes. A name means one entry: one that other programs have given to something else goes
from there, and an entry that has lost its last name so goes, too. So does one whose tag attached it to an image, as it
did a signature of cosign, where that tag now means another.

Each entry with a name says it twice. ``io.containerd.image.name`` is the whole name, which containerd and Docker read;
``org.opencontainers.image.ref.name`` is what skopeo, podman and umoci compare as text, by custom the tag. Where another
entry has the same tag, such as one of another repository, a tag alone would mean two images: the second annotation is
then the whole name as well.
"""

from __future__ import annotations

from collections import Counter

from orlop.archive.names import IMAGE_NAME, OMITTED, REF_NAME, is_tag, named_by, without_second
from orlop.errors import InvalidJSON
from orlop.model import gojson
from orlop.model.attached import attached_to
from orlop.model.manifest import OCI_INDEX
from orlop.model.values import dataclass, replace
from orlop.store.loose import is_loose

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from orlop.archive.oci_layout import TopEntry
    from orlop.model.digest import Digest
    from orlop.model.reference import Reference


@dataclass(frozen=True, slots=True)
class WrittenIndex:
    """The bytes of ``index.json``, and the names that are written in full as their tag stands for something else."""

    raw: bytes
    in_full: tuple[Reference, ...]


@dataclass(frozen=True, slots=True)
class _Entry:
    """An entry that is there: its bytes, the digest in it, and what its annotations say."""

    raw: bytes
    digest: str
    media_type: str
    annotations: Mapping[str, str]

    @classmethod
    def read(cls, raw: bytes) -> _Entry:
        """Read an entry, of whatever type and algorithm. Raises `InvalidJSON` for what is not a descriptor."""
        value = gojson.loads(raw)
        members = gojson.folded(value) if isinstance(value, dict) else {}
        digest, annotations = members.get("digest"), members.get("annotations") or {}
        if not isinstance(digest, str) or not isinstance(annotations, dict):
            raise InvalidJSON(f"the entry {raw[:64]!r} is not a descriptor")
        media_type = members.get("mediatype")
        texts = {key: text for key, text in annotations.items() if isinstance(text, str)}
        return cls(raw, digest, media_type if isinstance(media_type, str) else "", texts)

    def names(self) -> dict[str, Reference]:
        """Return the names that its annotations give, by their keys; a tag alone is none."""
        texts = {IMAGE_NAME: self.annotations.get(IMAGE_NAME, ""), REF_NAME: self.annotations.get(REF_NAME, "")}
        if is_tag(texts[REF_NAME]):
            del texts[REF_NAME]
        found = {key: named_by(text) for key, text in texts.items()}
        return {key: without_second(name) for key, name in found.items() if name is not None}

    def is_replaced(self, attached: Mapping[str, str]) -> bool:
        """Return whether other content takes the tag that attaches this, and it has no other name."""
        text = self.annotations.get(REF_NAME, "")
        return attached.get(text, self.digest) != self.digest and not self.names()

    def without(self, taken: Mapping[Reference, str]) -> _Entry | None:
        """Return the entry without the names that other content takes; nothing where it had no other.

        What else its second annotation says it keeps, such as another tag alone, by which skopeo finds it.
        """
        names = self.names()
        lost = {key for key, name in names.items() if taken.get(name, self.digest) != self.digest}
        if not lost:
            return self
        if (text := self.annotations.get(REF_NAME, "")) in {names[key].tag for key in lost}:
            lost.add(REF_NAME)
        if lost >= names.keys() and (not text or REF_NAME in lost):
            return None
        left = {key: text for key, text in self.annotations.items() if key not in lost}
        members = {
            key: gojson.dumps(left) if gojson.fold(key) == "annotations" else value
            for key, value in gojson.raw_members(self.raw).items()
        }
        return replace(self, raw=gojson.joined(members), annotations=left)


def index_json(
    entries: Sequence[TopEntry],
    omitted: Iterable[Digest] = (),
    *,
    before: bytes | None = None,
    has: Callable[[str], bool] = lambda _: False,
) -> WrittenIndex:
    """Return ``index.json`` with these entries.

    Args:
        entries: what is added.
        omitted: the digests that documents below them name, and that do not come along.
        before: the document that is there, whose other entries and members stay; the same bytes where all is in it.
        has: whether the layout has a blob all the same.

    Raises:
        InvalidJSON: the document that is there is not an index.
    """
    members = {"schemaVersion": b"2", "mediaType": gojson.dumps(OCI_INDEX)} if before is None else _members(before)
    old = [_Entry.read(raw) for raw in gojson.raw_elements(members.get("manifests", b"null"))]
    taken = {entry.reference: str(entry.descriptor.digest) for entry in entries if entry.reference is not None}
    attached = {entry.address: str(entry.descriptor.digest) for entry in entries if attached_to(entry.address)}
    kept = [left for entry in old if not entry.is_replaced(attached) and (left := entry.without(taken)) is not None]
    new = sorted(_missing(entries, kept), key=lambda entry: entry.key)
    in_full = _ambiguous(new, kept)
    lines = [*(entry.raw for entry in kept), *(_written(entry, entry.reference in in_full) for entry in new)]
    annotations = _annotations(members, omitted, has)
    is_same = kept == old and not new and annotations == members.get("annotations", b"null")
    if before is not None and is_same:
        return WrittenIndex(before, ())
    members["manifests"] = b"[" + b",".join(lines) + b"]"
    members["annotations"] = annotations
    if annotations == b"null":
        del members["annotations"]
    return WrittenIndex(gojson.joined(members), tuple(sorted(in_full)))


def all_names(raw: bytes) -> set[Reference]:
    """Return all names in an ``index.json``, also of entries whose digests are by algorithms that are not known.

    Raises `InvalidJSON` where it is not an index.
    """
    entries = map(_Entry.read, gojson.raw_elements(_members(raw).get("manifests", b"null")))
    return {name for entry in entries for name in entry.names().values()}


def index_without(before: bytes, names: Iterable[Reference], beside: Collection[tuple[str, str]] = ()) -> bytes:
    """Return an ``index.json`` without some names, and without the entries that have lost their last name so.

    Args:
        before: the document that is there; what else is in it stays as it is.
        names: these go.
        beside: entries without a name that go, too, by the texts that they are called by and their digests.

    Raises:
        InvalidJSON: the document that is there is not an index.
    """
    members = _members(before)
    old = [_Entry.read(raw) for raw in gojson.raw_elements(members.get("manifests", b"null"))]
    taken = dict.fromkeys(names, "")
    left = [
        kept
        for entry in old
        if (kept := entry.without(taken)) is not None
        and (entry.names() or (entry.annotations.get(REF_NAME, ""), entry.digest) not in beside)
    ]
    members["manifests"] = b"[" + b",".join(entry.raw for entry in left) + b"]"
    return gojson.joined(members)


def _members(raw: bytes) -> dict[str, bytes]:
    """Return the members of an index that is there, each under its usual spelling."""
    document = gojson.loads(raw, keys=gojson.Keys.FOLDED)
    if not isinstance(document, dict):
        raise InvalidJSON("expected an object")
    names = {gojson.fold(key) for key in document}
    if names & {"config", "layers", "fslayers"}:
        raise InvalidJSON("it has the members of a manifest")
    usual = {"manifests", "annotations"}
    return {
        gojson.fold(key) if gojson.fold(key) in usual else key: value for key, value in gojson.raw_members(raw).items()
    }


def _missing(entries: Sequence[TopEntry], kept: Sequence[_Entry]) -> list[TopEntry]:
    """Return the entries that are not there yet.

    One without a name is wherever its digest is; one that is a blob, or came with annotations, where these are, too.
    """
    digests = {entry.digest for entry in kept}
    said = {_said(entry.digest, entry.media_type, entry.annotations) for entry in kept}
    texts = {(entry.annotations.get(REF_NAME, ""), entry.digest) for entry in kept}
    names = {(name, entry.digest) for entry in kept for name in entry.names().values()}
    return [
        entry
        for entry in entries
        if (
            _is_missing(entry, digests, said)
            if entry.reference is None and not entry.address
            else (entry.address, str(entry.descriptor.digest)) not in texts
            if entry.reference is None
            else (entry.reference, str(entry.descriptor.digest)) not in names
        )
    ]


def _is_missing(
    entry: TopEntry, digests: Collection[str], said: Collection[tuple[str, str, frozenset[tuple[str, str]]]]
) -> bool:
    descriptor = entry.descriptor
    digest = str(descriptor.digest)
    if entry.subject is None and (descriptor.annotations or is_loose(descriptor)):
        return _said(digest, descriptor.media_type, descriptor.annotations) not in said
    return digest not in digests


def _said(digest: str, media_type: str, annotations: Mapping[str, str]) -> tuple[str, str, frozenset[tuple[str, str]]]:
    """Return what tells entries of one digest apart, whatever their names are."""
    others = ((key, text) for key, text in annotations.items() if key not in {IMAGE_NAME, REF_NAME})
    return digest, media_type, frozenset(others)


def _ambiguous(new: Sequence[TopEntry], kept: Sequence[_Entry]) -> set[Reference]:
    """Return the names of new entries whose tag alone would mean another entry, too."""
    names = [entry.reference for entry in new if entry.reference is not None]
    tags = Counter([name.tag for name in names])
    tags.update({entry.annotations.get(REF_NAME) for entry in kept})
    tags.update({entry.address for entry in new})
    return {name for name in names if tags[name.tag] > 1}


def _written(entry: TopEntry, in_full: bool) -> bytes:  # noqa: FBT001 - a private function with one caller
    descriptor, reference = entry.descriptor, entry.reference
    if reference is not None:
        short = str(reference) if in_full or reference.tag is None else reference.tag
        named = {**descriptor.annotations, IMAGE_NAME: str(reference), REF_NAME: short}
        descriptor = replace(descriptor, annotations=named)
    elif entry.address:
        descriptor = replace(descriptor, annotations={**descriptor.annotations, REF_NAME: entry.address})
    return descriptor.to_json()


def _annotations(members: Mapping[str, bytes], omitted: Iterable[Digest], has: Callable[[str], bool]) -> bytes:
    """Return the annotations of the index, with what is left out now and was before."""
    raw = members.get("annotations", b"null")
    found = gojson.loads(raw)
    if not isinstance(found, dict | None):
        raise InvalidJSON("its annotations are not an object")
    before = (found or {}).get(OMITTED, "")
    lacking = {*map(str, omitted), *(before.split() if isinstance(before, str) else ())}
    text = " ".join(sorted(digest for digest in lacking if not has(digest)))
    if text == before:
        return raw
    others = {key: value for key, value in gojson.raw_members(raw).items() if key != OMITTED}
    if text:
        others[OMITTED] = gojson.dumps(text)
    return gojson.joined(others) if others else b"null"
