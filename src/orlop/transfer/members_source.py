"""Layouts and skopeo's directories as sources: files by digest, in a directory or in a tar."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Protocol

from orlop.archive.detect import open_members
from orlop.archive.names import REF_NAME, is_tag, said_of, tags_by_kind
from orlop.archive.oci import blob_name, layout_index
from orlop.archive.oci_index import all_names
from orlop.errors import ContentNotFound, ImageNotFound, InvalidInput, InvalidManifest
from orlop.intake.taking import Taking
from orlop.model.attached import attached_to
from orlop.model.descriptor import Descriptor
from orlop.model.digest import Digest
from orlop.model.limits import DEFAULT_LIMITS
from orlop.model.logger import Logger
from orlop.model.manifest import OCI_INDEX, OCI_MANIFEST, Index, parse_manifest
from orlop.model.tuples import NamedTuple
from orlop.registry.referrers import fallback_tag
from orlop.streams.verify import verified_beside
from orlop.transfer.graph import is_blob
from orlop.transfer.source import Root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from orlop.archive.members import Members
    from orlop.model.limits import Limits
    from orlop.model.manifest import Manifest
    from orlop.model.reference import Reference
    from orlop.streams.compression import OpenReadable
    from orlop.transfer.source import Home

_DOCUMENT: Final = "manifest.json"
_PIECE: Final = 1 << 20
_SKIPPED: Final = 1 << 16
_log: Final = Logger(__name__)


class _Readable(Protocol):
    def read(self, n: int, /) -> bytes: ...


@contextmanager
def not_taken(limits: Limits = DEFAULT_LIMITS) -> Iterator[Taking[Any]]:
    """Return, for a block, what is asked, within limits, to open an archive whose layers are not taken."""

    def take(*_: object) -> Any:
        raise InvalidInput("no layer of this archive is to be taken")

    with Taking[Any](take, limits) as taking:
        yield taking


@contextmanager
def opened_layout(path: str, limits: Limits = DEFAULT_LIMITS) -> Iterator[MembersSource]:
    """Open an OCI layout, in a directory or a plain tar, for a block. Raises as `open_members` does."""
    with _sought(path, limits) as members:
        index = layout_index(members, may_be_strange=True)
        names = all_names(index.raw) if index.strange else ()
        yield MembersSource(
            members, index.manifests, lambda want, _: blob_name(want.digest, manifest=False), index.strange, names
        )


@contextmanager
def opened_directory(path: str, limits: Limits = DEFAULT_LIMITS) -> Iterator[MembersSource]:
    """Open a directory of skopeo's ``dir:`` for a block. Raises as `open_members` does."""
    with _sought(path, limits) as members:
        raw = members.document(_DOCUMENT, what="the document")
        document = parse_manifest(raw)
        media_type = document.media_type or (OCI_INDEX if isinstance(document, Index) else OCI_MANIFEST)
        top = Descriptor(media_type, Digest.of(raw), len(raw))

        def place(want: Descriptor, is_manifest: bool) -> str:  # noqa: FBT001 - called here alone
            if want.digest == top.digest:
                return _DOCUMENT
            return f"{directory_name(want.digest)}{'.manifest.json' if is_manifest else ''}"

        yield MembersSource(members, (top,), place)


def directory_name(digest: Digest) -> str:
    """Return the name of a blob in a directory of skopeo's."""
    return digest.hex if digest.algorithm == "sha256" else f"{digest.algorithm}-{digest.hex}"


@contextmanager
def _sought(path: str, limits: Limits) -> Iterator[Members[Any]]:
    with not_taken(limits) as taking, open_members(path, taking) as members:
        if not members.parallel:
            raise InvalidInput(f"{path} is compressed or a pipe, in which nothing can be sought; decompress it first")
        yield members


class _About(NamedTuple):
    """The entries of a layout by what they are about.

    ``attached`` have a tag that attaches them, and stand under it; ``lists`` are all entries by their tags, among which
    are lists of referrers; ``referring`` name a subject.
    """

    attached: Mapping[Digest, Mapping[str, Root]]
    lists: Mapping[str, Sequence[Descriptor]]
    referring: Mapping[Digest, Sequence[Descriptor]]


class MembersSource:
    """Files by digest.

    Args:
        members: the files.
        tops: what is there by itself.
        place: returns the name of the file of a manifest or a blob.
        strange: digests of what is there, too, by algorithms that are not known.
        names: all names that the layout has, where there is such.
    """

    def __init__(
        self,
        members: Members[Any],
        tops: Sequence[Descriptor],
        place: Callable[[Descriptor, bool], str],
        strange: Sequence[str] = (),
        names: Iterable[Reference] = (),
    ) -> None:
        self._members = members
        self._tops = tops
        self._attached = tags_by_kind(tops)
        self._place = place
        self._strange = strange
        self._all_names = names
        self._warned: set[str] = set()

    def roots(self, name: str = "") -> list[Root]:
        """Return what a name stands for, or, without one, the only entry, or all.

        ``@N`` is the entry of this position, from 0, as for skopeo, and ``@DIGEST`` that of a digest.

        Raises:
            ImageNotFound: nothing is called so. InvalidManifest: there is something that is not known, so that not all
                can be copied, and positions are not told.
        """
        if self._strange and (not name or (name[0] == "@" and name[1:].isdecimal())):
            raise InvalidManifest(
                f"the layout has {self._strange[0]}, whose algorithm orlop does not know, and cannot be copied whole;"
                " name what is to be copied"
            )
        named = [(top, self._names(top)) for top in self._tops]
        found = [
            _root(top, reference, tag)
            for number, (top, (reference, tag, texts)) in enumerate(named)
            if not name or name in texts or name in {f"@{number}", f"@{top.digest}"}
        ]
        if not found:
            known = ", ".join(sorted({text for _, (_, _, texts) in named for text in texts})) or "no names"
            raise ImageNotFound(f"the layout has no {name or 'image'!r}; it has {known}")
        return found

    def tops(self) -> list[Root]:
        """Return all entries, of which there may be none."""
        return [_root(top, reference, tag) for top in self._tops for reference, tag, _ in [self._names(top)]]

    def names(self) -> set[Reference]:
        """Return all names, also those of entries whose digests are by algorithms that are not known."""
        return {*self._all_names, *(root.name for root in self.tops() if root.name is not None)}

    def manifest(self, want: Descriptor) -> bytes:
        """See `Source.manifest`."""
        name = self._place(want, True)
        if not self._members.has(name):
            which = "" if want.platform is None else f" for {want.platform}"
            raise ContentNotFound(
                f"the layout lacks the manifest {want.digest}{which}, which its index names; name a platform that it"
                " has, or copy from where all of it is"
            )
        return self._members.document(name, what="the manifest")

    def open_blob(self, want: Descriptor, offset: int) -> OpenReadable:
        """See `Source.open_blob`."""
        name = self._place(want, False)
        if not self._members.has(name):
            raise ContentNotFound(
                f"the layout lacks the blob {want.digest}, which a manifest in it names; copy from where all of it is"
            )
        return _Member(self._members.reading(name, what="the blob"), offset)

    def check_blob(self, want: Descriptor) -> None:
        """See `Source.check_blob`."""
        stream = self.open_blob(want, 0)
        try:
            for _ in verified_beside(stream, digest=want.digest, size=want.size):
                pass
        finally:
            stream.close()

    def label(self, want: Descriptor) -> str:
        """See `Source.label`."""
        return want.digest.short

    def homes(self, want: Descriptor) -> Sequence[Home]:
        """See `Source.homes`: nothing is known."""
        del want
        return ()

    def referrers(self, subject: Digest) -> Sequence[Root]:
        """See `Source.referrers`: entries of a layout that refer to it, or have a tag that attaches them to it.

        The index under its fallback tag, which stands in for a registry's list of referrers, is looked through as well.
        Nobody can tell what an entry refers to whose digest is by an algorithm that is not known: a warning names it.
        """
        for digest in self._strange:
            if digest not in self._warned:
                self._warned.add(digest)
                _log.warning("%s is passed over: orlop does not know its algorithm, nor what it refers to", digest)
        about = self._about
        attached = about.attached.get(subject, {})
        there = {root.descriptor.digest for root in attached.values()}
        listed = (child for top in about.lists.get(fallback_tag(subject), ()) for child in self._listed(top))
        untagged = [*about.referring.get(subject, ()), *(one for one in listed if self._subject(one) == subject)]
        found = {one.digest: Root(one) for one in untagged if one.digest not in there}
        return [*found.values(), *attached.values()]

    @cached_property
    def _about(self) -> _About:
        """What the entries are about, looked up once: there may be very many, and each of them is asked for."""
        attached: dict[Digest, dict[str, Root]] = {}
        lists: dict[str, list[Descriptor]] = {}
        referring: dict[Digest, list[Descriptor]] = {}
        for top in self._tops:
            tag = self._names(top)[1]
            if tag is not None:
                lists.setdefault(tag, []).append(top)
                if (subject := attached_to(tag)) is not None:
                    attached.setdefault(subject, {})[tag] = Root(top, tag)
            if (subject := self._subject(top)) is not None:
                referring.setdefault(subject, []).append(top)
        return _About(attached, lists, referring)

    def _listed(self, top: Descriptor) -> Sequence[Descriptor]:
        document = self._document(top)
        return document.manifests if isinstance(document, Index) else ()

    def _names(self, top: Descriptor) -> tuple[Reference | None, str | None, set[str]]:
        """Return the name of an entry, its tag, and all texts that stand for it."""
        said = said_of(top)
        text = top.annotations.get(REF_NAME) or self._attached.get(top.digest, "")
        texts = {text, str(top.digest), *(form for name in said.names for form in (str(name), name.familiar))} - {""}
        reference = next(iter(said.name), None)
        tag = reference.tag if reference is not None else text if is_tag(text) else None
        return reference, tag, texts

    def _subject(self, top: Descriptor) -> Digest | None:
        document = self._document(top)
        return None if document is None or document.subject is None else document.subject.digest

    def _document(self, top: Descriptor) -> Manifest | Index | None:
        """Return a manifest or index; nothing of what is something else, damaged or absent."""
        if is_blob(top):
            return None
        try:
            return parse_manifest(self.manifest(top))
        except (InvalidManifest, ContentNotFound):
            return None


def _root(top: Descriptor, reference: Reference | None, tag: str | None) -> Root:
    if reference is not None:
        return Root(top, tag=reference.tag, name=reference)
    return Root(top, tag=tag, address=top.annotations.get(REF_NAME, ""))


class _Member:
    """A reader of a member from an offset on, which is closed as a file is."""

    def __init__(self, member: AbstractContextManager[_Readable], offset: int) -> None:
        self._member = member
        self._stream = member.__enter__()
        seek = getattr(self._stream, "seek", None)
        if seek is not None:
            seek(offset)
        while seek is None and offset > 0 and (data := self._stream.read(min(offset, _SKIPPED))):
            offset -= len(data)

    def read(self, n: int = _PIECE, /) -> bytes:
        return self._stream.read(n)

    def close(self) -> None:
        self._member.__exit__(None, None, None)
