"""A repository of a registry as a target: what it has is not sent, and what a neighbour has is shared.

For each blob, in a few threads at once:

    HEAD ── there ──► done
         ── an upload was kept ──► GET: how far? ──► the rest, in chunks
         ── a home is known ──► POST ?mount=&from= ── 201 ──► done
                                                   ── 202 ──► a session: all of it
         ── else ──► POST ──► all of it, in one piece or in chunks

Then the manifests, children first, and tags last: before that nobody sees anything of it. A registry that does not find
a blob which it said it has gets that blob once more. What is put under a tag to which others add, as cosign does, is
joined with what is there (`orlop.transfer.signatures`).
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Final

from orlop.errors import NotInRegistry, RegistryError, RegistryUnreachable, UploadLost
from orlop.model.descriptor import Descriptor
from orlop.model.progress import LayerDone, LayerExists, LayerProgress
from orlop.registry import referrers
from orlop.registry.conditions import ALWAYS, FIRST
from orlop.registry.fetched import digest_of
from orlop.registry.messages import OpenedBody
from orlop.registry.places import read_blob
from orlop.registry.pushing import BlobPush, is_missing
from orlop.streams.pipeline import in_parallel, one_at_a_time
from orlop.transfer import signatures
from orlop.transfer.graph import Node

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from orlop.model.digest import Digest
    from orlop.model.progress import Progress
    from orlop.registry.client import RegistryClient
    from orlop.registry.conditions import Condition, Tries
    from orlop.registry.uploads import Upload, UploadState
    from orlop.streams.compression import OpenReadable
    from orlop.transfer.graph import Graph
    from orlop.transfer.sessions import Session, Sessions
    from orlop.transfer.source import Home, Root, Source

CONNECTIONS: Final = 4
_MIB: Final = 1 << 20
_WHOLE: Final = 32 * _MIB
"""Blobs up to this size are sent in one piece: that is the most that is sent again after a break."""
_PIECE: Final = 20 * _MIB
"""Larger ones in pieces of this size: a break costs one. Registries sync after each, so that many would take long."""


class RegistryTarget:
    """A repository of a registry.

    Args:
        client: of the registry.
        repository: its path there.
        sessions: where uploads are kept that another process may go on with; None where they are not.
        progress: hears of each blob that has a label.
    """

    def __init__(
        self,
        client: RegistryClient,
        repository: str,
        *,
        sessions: Sessions | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.client = client
        self.repository = repository
        self._sessions = sessions
        self._tell = one_at_a_time(progress or (lambda _: None))

    def has(self, reference: str | Digest, want: Digest) -> bool:
        """Return whether a tag or digest leads to a manifest. Raises `RegistryError` where the registry fails."""
        try:
            return self.client.head_manifest(self.repository, reference).digest == want
        except RegistryUnreachable:
            raise
        except (RegistryError, NotInRegistry) as error:
            if is_missing(error):
                return False
            raise

    def lacking(self, source: Source, referring: Mapping[Digest, Sequence[Root]]) -> list[Root]:
        """Return those of some referrers, by their subjects, that are not here, or that nobody would find here."""
        found: dict[tuple[Digest, str | None], Root] = {}
        for subject, roots in referring.items():
            listed = {one.digest for one in self.client.referrers(self.repository, subject)}
            for root in roots:
                digest = root.descriptor.digest
                is_found = digest in listed if root.tag is None else self.has(root.tag, digest)
                is_here = is_found and self.has(digest, digest)
                if not is_here and not (root.tag is not None and self.has_list(source, root, root.tag)):
                    found.setdefault((digest, root.tag), root)
        return list(found.values())

    def has_list(self, source: Source, root: Root, tag: str) -> bool:
        """Return whether a list of signatures under a tag has all that another one has.

        Raises:
            Conflict: it can neither be replaced nor joined. RegistryError: the registry fails.
        """
        if not signatures.grows(tag):
            return False
        try:
            there = self.client.get_manifest(self.repository, tag)
        except NotInRegistry:
            return False
        return self._joined(source.manifest(root.descriptor), there.raw, tag).raw == there.raw

    def take(self, source: Source, graph: Graph, tags: dict[Digest, list[str]]) -> Mapping[str, Descriptor]:
        """Take manifests with all that they name, and return what tags lead to now if that is not what was sent.

        Args:
            source: where they are.
            graph: what is to be taken.
            tags: those that each manifest gets.

        Raises:
            RegistryError: the registry refuses something. Conflict: there are signatures under a tag that can neither
            be replaced nor joined. What reading from the source raises.
        """
        self._send(source, graph.blobs)
        joined: dict[str, Descriptor] = {}
        for node in graph.nodes:
            references: Sequence[str | Digest] = tags.get(node.descriptor.digest, ())
            for reference in references or (node.descriptor.digest,):
                found = self._put(source, graph, node, reference)
                if found.digest != node.descriptor.digest:
                    joined[str(reference)] = found
        return joined

    def tag(self, node: Node, tag: str) -> None:
        """Put a manifest under a tag, where all that it names is there already."""
        self.client.put_manifest(self.repository, tag, node.raw, node.descriptor.media_type)

    def _put(self, source: Source, graph: Graph, node: Node, reference: str | Digest) -> Descriptor:
        """Put a manifest, and return what the tag or digest leads to then."""
        try:
            return self._put_once(node, reference)
        except RegistryError as error:
            again = [blob for blob in graph.blobs if str(blob.digest) in error.missing]
            if not again:
                raise
            self._send(source, again, is_missing=True)
            return self._put_once(node, reference)

    def _put_once(self, node: Node, reference: str | Digest) -> Descriptor:
        if isinstance(reference, str) and signatures.grows(reference):
            return referrers.while_others_write(self.client, partial(self._put_list, node, reference))
        return self._put_node(node, reference)

    def _put_node(self, node: Node, reference: str | Digest, condition: Condition = ALWAYS) -> Descriptor:
        media_type = node.descriptor.media_type
        pushed = self.client.put_manifest(self.repository, reference, node.raw, media_type, condition)
        if node.subject is not None and not pushed.lists_referrers:
            found = referrers.described(node.raw, media_type)
            referrers.add(self.client, self.repository, node.subject, found)
        return node.descriptor

    def _put_list(self, node: Node, tag: str, tries: Tries) -> Descriptor:
        """Put a list under its tag, with what the one that is there has besides."""
        try:
            there = self.client.get_manifest(self.repository, tag)
        except NotInRegistry:
            return self._put_node(node, tag, tries.next(FIRST))
        joined = self._joined(node.raw, there.raw, tag)
        if joined.raw == there.raw:
            return there.descriptor
        if joined.config is not None:
            self._add(joined.config)
            wanted = Descriptor(there.media_type, digest_of(joined.raw), len(joined.raw))
            subject = there.parsed().subject
            node = Node(wanted, joined.raw, None if subject is None else subject.digest)
        return self._put_node(node, tag, tries.next(there.condition))

    def _joined(self, ours: bytes, theirs: bytes, tag: str) -> signatures.Joined:
        where = f"{self.client.host}/{self.repository}:{tag}"
        return signatures.joined(ours, theirs, where, partial(read_blob, self.client, self.repository))

    def _add(self, content: bytes) -> None:
        """Add a small blob that was made here."""
        digest = digest_of(content)
        if not self.client.has_blob(self.repository, digest):
            body = OpenedBody(lambda offset: BytesIO(content[offset:]), len(content))
            BlobPush(self.client, self.repository, digest, body).run()

    def _send(self, source: Source, blobs: Sequence[Descriptor], *, is_missing: bool = False) -> None:
        # The largest first, so that no thread is left alone with it.
        order = sorted(blobs, key=lambda blob: -blob.size)
        tasks = [partial(self._send_one, source, blob, is_missing) for blob in order]
        in_parallel(tasks, workers=CONNECTIONS)

    def _send_one(
        self,
        source: Source,
        blob: Descriptor,
        is_missing: bool,  # noqa: FBT001 - called here alone
        _: Callable[[], None],
    ) -> None:
        label = source.label(blob)
        if not is_missing and self.client.has_blob(self.repository, blob.digest):
            if label:
                self._tell(LayerExists(label))
            return
        with self._session(blob) as session:
            upload, home = self._begun(source, blob, session)
            if home is None:
                self._upload(source, blob, label, session, upload)
            elif label:
                self._tell(LayerExists(label, mounted_from=home.repository))

    def _session(self, blob: Descriptor) -> AbstractContextManager[Session | None]:
        if self._sessions is None or blob.size <= _WHOLE:
            return nullcontext()
        return self._sessions.of(str(self.client.exchange.origin), self.repository, blob.digest)

    def _begun(self, source: Source, blob: Descriptor, session: Session | None) -> tuple[Upload | None, Home | None]:
        """Return the session in which a blob is to be sent, if there is one, or from where the registry took it."""
        state = None if session is None else session.state()
        if state is not None:
            upload = self._resumed(state, blob)
            if upload is not None:
                return upload, None
        for home in self._neighbours(source, blob):
            upload = self.client.mount_blob(self.repository, blob.digest, home.repository)
            return upload, home if upload is None else None
        return None, None

    def _resumed(self, state: UploadState, blob: Descriptor) -> Upload | None:
        try:
            upload = self.client.resume_upload(state)
        except RegistryUnreachable:
            raise
        except RegistryError:
            return None
        return upload if upload.offset <= blob.size else None

    def _neighbours(self, source: Source, blob: Descriptor) -> Iterator[Home]:
        """Yield the other repositories of this registry that are known to have a blob."""
        for home in source.homes(blob):
            if home.client.host == self.client.host and home.repository != self.repository:
                yield home

    def _upload(
        self, source: Source, blob: Descriptor, label: str, session: Session | None, upload: Upload | None
    ) -> None:
        def opened(offset: int) -> OpenReadable:
            return _Told(source.open_blob(blob, offset), offset, step)

        def step(done: int) -> None:
            self.client.waiting.check()
            if label:
                self._tell(LayerProgress(label, done, blob.size))

        push = BlobPush(
            self.client,
            self.repository,
            blob.digest,
            OpenedBody(opened, blob.size),
            chunk=_WHOLE if blob.size <= _WHOLE else _PIECE,
            save=(lambda _: None) if session is None else session.save,
        )
        try:
            push.run(upload)
        except (RegistryUnreachable, UploadLost):
            raise
        except RegistryError:
            # A registry that refuses wrong bytes does not know whose fault they are.
            source.check_blob(blob)
            raise
        if label:
            self._tell(LayerDone(label))


class _Told:
    """A reader that tells how far it is."""

    def __init__(self, stream: OpenReadable, offset: int, tell: Callable[[int], None]) -> None:
        self._stream = stream
        self._done = offset
        self._tell = tell

    def read(self, n: int = -1, /) -> bytes:
        data = self._stream.read(n)
        self._done += len(data)
        self._tell(self._done)
        return data

    def close(self) -> None:
        self._stream.close()
