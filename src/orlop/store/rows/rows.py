"""Rows: what is kept of images, names, layers, manifests, leases and events, as values and as a view of them.

All texts that name content are digests in their canonical form (``sha256:<hex>``), parsed before they come here. A
repository's name is the canonical one (``docker.io/library/alpine``).
"""

from __future__ import annotations

from abc import abstractmethod

from orlop.errors import InvalidDigest
from orlop.model.digest import Digest, ImageID
from orlop.model.tuples import NamedTuple
from orlop.store.rows.content import ContentRows, WritableContentRows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from typing import Final

    from orlop.model.digest import ChainID, DiffID
    from orlop.store.rows.content import BlobRow
    from orlop.store.rows.unneeded import Falling, Unneeded


MAX_SIZE = (1 << 63) - 1
"""The largest number of bytes that a row can hold."""

EVERYTHING: Final = Digest.unchecked("*")
"""What a lease protects that protects all content: for a copy of the whole store."""

PINNED: Final = "pinned"
"""The metadata of an image that stays until somebody removes it by its name or ID."""

LEFT: Final = "left"
"""The lease without an owner for what was released and only a removal takes."""

LOST_ROWS: Final = "until-999999999999999999-lost rows"
"""The lease without an owner for what rows may have named that a repair could not read: `EVERYTHING`, and for ever."""


class ImageRow(NamedTuple):
    """What a list of images needs, without the config: ``created`` in seconds and nanoseconds since 1970."""

    id: ImageID
    chain_id: ChainID | None
    created: tuple[int, int]
    size: int
    parent: ImageID | None = None


class DiffRow(NamedTuple):
    """A layer's content.

    ``size`` is the bytes of its tar, ``content_size`` the bytes of its files; ``partial`` says why its table of
    contents is not complete, if it is not.
    """

    diff_id: DiffID
    size: int
    content_size: int
    entries: int
    partial: str | None = None


class ChainRow(NamedTuple):
    """A layer in its place: ``size`` is the ``content_size`` of the whole chain, ``depth`` its number of layers.

    ``descriptor`` is a JSON object that says where else the layer's content lives, if it does.
    """

    chain_id: ChainID
    parent: ChainID | None
    diff_id: DiffID
    size: int
    depth: int
    descriptor: bytes | None = None


class ReferenceRow(NamedTuple):
    """A name of an image: ``suffix`` is ``:tag`` or ``@digest``, ``updated`` nanoseconds since 1970."""

    name: str
    suffix: str
    image: ImageID
    updated: int


class Event(NamedTuple):
    """Something that happened: ``action`` was done to the ``actor``, which is of a ``kind``.

    ``number`` orders the events of a store and is never used again; ``time`` is in nanoseconds since 1970; the
    attributes are those of docker's events.
    """

    number: int
    time: int
    kind: str
    action: str
    actor: str
    attributes: Mapping[str, str]


class RowProblem(NamedTuple):
    """A word for what is wrong, what it is about, and a sentence; ``harmless`` where nothing is lost."""

    kind: str
    subject: str
    message: str
    harmless: bool = False


class Rows(ContentRows):
    """A consistent view of all rows; valid only inside the block that gave it."""

    # Images and their metadata.

    @abstractmethod
    def image_ids(self) -> Iterator[ImageID]:
        """Yield the IDs of all images; those of this moment, whatever is changed since, as `image_rows`."""

    @abstractmethod
    def image_ids_with_prefix(self, prefix: str, limit: int | None) -> list[ImageID]:
        """Return the IDs that start with ``prefix`` (with its algorithm), at most ``limit`` if that is given."""

    @abstractmethod
    def config(self, image: Digest) -> bytes | None:
        """Return the exact config, or nothing where there is no such image."""

    @abstractmethod
    def image_rows(self, *, listed_only: bool) -> Iterator[ImageRow]:
        """Yield all images, or those that have no children or a name of their own, newest first.

        The rows are those of this moment, and may be gone through after the block has ended.
        """

    @abstractmethod
    def image_row(self, image: Digest) -> ImageRow | None:
        """Return one image's row."""

    @abstractmethod
    def labels(self, images: Sequence[Digest], *, most: int | None = None) -> dict[ImageID, Mapping[str, str]]:
        """Return the labels of some images, without those whose config has none.

        Args:
            images: which.
            most: leave out those that have more bytes as JSON, too; they are not even parsed.
        """

    @abstractmethod
    def heads(self) -> Iterator[ImageID]:
        """Yield the images that are nobody's parent, in no promised order; those of this moment, as `image_rows`."""

    @abstractmethod
    def has_lost_images(self) -> bool:
        """Return whether a name means an image that is not there: only that could tell which layers it had."""

    @abstractmethod
    def has_lost_meaning(self) -> bool:
        """Return whether a name means an image or a manifest that is not there: what it had may be anything."""

    @abstractmethod
    def children(self, image: Digest) -> list[ImageID]:
        """Return the images whose parent this is."""

    @abstractmethod
    def has_children(self, image: Digest) -> bool:
        """Return whether this is any image's parent."""

    @abstractmethod
    def metadata(self, image: Digest, key: str) -> bytes | None:
        """Return one value of an image's metadata."""

    @abstractmethod
    def metadata_of_all(self, key: str) -> dict[ImageID, bytes]:
        """Return the values that images have under one key."""

    # References.

    @abstractmethod
    def reference(self, name: str, suffix: str) -> ReferenceRow | None:
        """Return what a name points to."""

    def references_in(self, name: str, suffixes: Iterable[str]) -> list[ReferenceRow]:
        """Return what some tags and digests of a repository point to, asked at once."""
        return [row for suffix in suffixes if (row := self.reference(name, suffix)) is not None]

    @abstractmethod
    def references(
        self, image: Digest | None = None, name: str | None = None, *, most: int | None = None
    ) -> list[ReferenceRow]:
        """Return all references, or those of an image or of a repository, sorted by name and suffix.

        Tags come before digests. With ``most`` it returns only the first so many.
        """

    # Layers.

    @abstractmethod
    def chain(self, chain_id: ChainID) -> ChainRow | None:
        """Return one layer in its place."""

    @abstractmethod
    def chains(self) -> list[ChainRow]:
        """Return every layer in its place."""

    @abstractmethod
    def diff(self, diff_id: DiffID) -> DiffRow | None:
        """Return what is known of a layer's content."""

    @abstractmethod
    def blobs_of(self, diff_id: DiffID) -> list[BlobRow]:
        """Return the stored forms of a layer's content, plain ones first."""

    @abstractmethod
    def blob(self, digest: Digest) -> BlobRow | None:
        """Return what is known of stored bytes."""

    @abstractmethod
    def blobs(self) -> list[BlobRow]:
        """Return what is known of all stored bytes."""

    @abstractmethod
    def diffs_of(self, blob: Digest) -> list[DiffID]:
        """Return the layers' contents of which a blob is recorded as a stored form: one, in a store that is whole."""

    @abstractmethod
    def contents(self) -> list[tuple[DiffID, BlobRow | None]]:
        """Return every layer's content, sorted, once with each stored form of it, or with nothing where it has none."""

    @abstractmethod
    def diff_ids(self) -> list[DiffID]:
        """Return all layers' contents."""

    def standing(self, chains: Iterable[ChainID]) -> Iterable[ChainID]:
        """Return those of some layers in their place on which an image stands, in no promised order."""
        return {row.chain_id for row in self.image_rows(listed_only=False) if row.chain_id is not None} & set(chains)

    @abstractmethod
    def loose_of(self, digests: Iterable[Digest] | None) -> list[Digest]:
        """Return those of these layers and contents, or of all, that only leases keep."""

    def unneeded(self, ended: Collection[str]) -> Unneeded | None:  # noqa: ARG002 - for those that can tell
        """Return what nothing needs but leases that have ended, where a database tells it; else nothing."""
        return None

    def falling(self, unneeded: Unneeded, ended: Collection[str]) -> Falling | None:  # noqa: ARG002 - as above
        """Return what goes with what `unneeded` told, each sorted, where a database tells it; else nothing."""
        return None

    def state(self) -> str | None:
        """Return a text that is another one where images, names or content are others.

        Nothing where the database cannot tell that much sooner than it gives all rows. Leases do not count.
        """
        return None

    @abstractmethod
    def counts(self) -> Mapping[str, int]:
        """Return how many rows there are of each kind.

        These are ``images``, ``names``, ``chains``, ``layers``, ``blobs``, ``manifests``, and the ``blob_bytes`` of all
        blobs.
        """

    # Leases.

    @abstractmethod
    def leases_of(self, digest: Digest) -> list[str]:
        """Return the names of the leases that protect some content, sorted."""

    @abstractmethod
    def leases(self) -> list[str]:
        """Return the names of all leases that protect something."""

    @abstractmethod
    def lease_digests(self, lease: str) -> list[Digest]:
        """Return what a lease protects."""

    @abstractmethod
    def protected(self) -> dict[str, list[Digest]]:
        """Return what each lease protects, by their names."""

    # Events.

    @abstractmethod
    def events(self, after: int, *, most: int | None = None) -> list[Event]:
        """Return the events that are kept and came after the one with a number, oldest first.

        Args:
            after: that number.
            most: about how many bytes of them to read, and one event at least; by default all.
        """

    @abstractmethod
    def last_event(self) -> int:
        """Return the number of the newest event, 0 where there never was one."""


class WritableRows(WritableContentRows, Rows):
    """Rows that may be changed; all changes of one block become visible together or not at all."""

    @abstractmethod
    def put_image(
        self,
        image: Digest,
        config: bytes,
        *,
        chain_id: ChainID | None,
        created: tuple[int, int],
        labels: Mapping[str, str] | None = None,
    ) -> None:
        """Keep a config with what lists tell of it; one that is there already stays, unless it is damaged."""

    @abstractmethod
    def delete_image(self, image: Digest) -> bool:
        """Forget a config with its metadata and its links to manifests; return whether it was there."""

    @abstractmethod
    def set_metadata(self, image: Digest, key: str, value: bytes) -> None:
        """Set one value of an image's metadata."""

    @abstractmethod
    def delete_metadata(self, image: Digest, key: str) -> bool:
        """Delete one value of an image's metadata; return whether it was there."""

    @abstractmethod
    def put_reference(self, row: ReferenceRow) -> None:
        """Point a name to an image."""

    def delete_reference(self, name: str, suffix: str) -> bool:
        """Forget a name; return whether it was there."""
        return self.delete_references([(name, suffix)]) > 0

    @abstractmethod
    def delete_references(self, names: Iterable[tuple[str, str]]) -> int:
        """Forget names, each with its suffix, and what they mean, at once; return how many were there."""

    @abstractmethod
    def put_diff(self, row: DiffRow, blob: BlobRow) -> None:
        """Keep a layer's content and one stored form of it; what is there already stays."""

    @abstractmethod
    def put_chain(self, row: ChainRow) -> None:
        """Keep a layer in its place; one that is there already stays."""

    @abstractmethod
    def prune_chain(self, chain_id: ChainID) -> tuple[list[ChainRow], list[Digest], list[DiffID]]:
        """Drop a layer and those below it as far as nothing refers to them.

        Gives the layers that went, top first, and the blobs and diffs whose last user went with them.
        """

    @abstractmethod
    def put_event(self, event: Event, *, keep: int, times: int = 1) -> None:
        """Add an event, once or several times, with the next numbers, and forget all but the newest ``keep``."""

    @abstractmethod
    def put_lease(self, lease: str, digests: Iterable[Digest]) -> None:
        """Add content to what a lease protects."""

    @abstractmethod
    def delete_lease(self, lease: str, digests: Iterable[Digest] | None = None) -> None:
        """Take content, or all, from a lease."""

    @abstractmethod
    def will_go(self, *, blobs: Iterable[Digest] = (), contents: Iterable[DiffID] = ()) -> None:
        """Note that files of stored bytes and of tables of contents go when this write is durable.

        Before it commits, the rows themselves are asked whether one of them needs what goes, here or with rows that
        were deleted; if one does, the write raises `DatabaseDamaged` and is undone.
        """

    @abstractmethod
    def prune_diff(self, diff_id: DiffID) -> list[Digest] | None:
        """Drop a layer's content if no chain and no lease needs it; return its blobs, or nothing where it stays."""

    @abstractmethod
    def before_commit(self, action: Callable[[], object]) -> None:
        """Call ``action`` once before the changes are made durable, however often it is asked for."""

    @abstractmethod
    def after_commit(self, action: Callable[[], object]) -> None:
        """Call ``action`` once the changes are durable and the write lock is free again."""

    @abstractmethod
    def after_rollback(self, action: Callable[[], object], *, if_sure: bool = False) -> None:
        """Call ``action``, still under the write lock, if the changes are undone.

        Where a commit fails it may be open whether a crash would bring the changes back: what must not happen then, as
        the removal of what the rows name, is only done ``if_sure``.
        """


def parent_of(value: bytes | None) -> ImageID | None:
    """Return the image that metadata under the key ``parent`` names; nothing for what is not an ID."""
    try:
        return None if value is None else ImageID.parse(value.decode("ascii"))
    except (UnicodeDecodeError, InvalidDigest):
        return None


def only_leased(rows: Rows, digests: Iterable[Digest]) -> list[Digest]:
    """Return those of these layers and contents that nothing but leases keeps; with `EVERYTHING`, all such.

    A release of single things costs what these are, and not what the store is.
    """
    wanted = list(digests)
    return rows.loose_of(None if EVERYTHING in wanted else wanted)
