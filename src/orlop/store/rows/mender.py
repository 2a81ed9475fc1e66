"""Rows put right, as a seam: the questions and the changes that only a repair has."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orlop.model.digest import DiffID, Digest, ImageID
    from orlop.store.rows.content import BlobRow, ManifestRow
    from orlop.store.rows.rows import ChainRow, DiffRow


class RowMender(ABC):
    """Rows inside one read or write of a thread, which takes all changes back where it is undone.

    What is wrong is first found by `Metadata.problems`. What names damaged rows is a text: it need not be a digest.
    """

    def put_shape_right(self) -> list[tuple[str, str]]:
        """Bring the schema of rows back to what this version lays out; return what was wrong: a subject and a clause.

        A database in a file is made anew instead.
        """
        return []

    def put_values_right(self) -> list[tuple[str, str]]:
        """Put something else in place of what no column can hold, and return the tables and the keys of these rows.

        What follows from bytes or from other rows then contradicts them, and is put right after that. A database in a
        file is made anew instead.
        """
        return []

    # Rows under a wrong name.

    @abstractmethod
    def forget_invalid_keys(self) -> list[tuple[str, str]]:
        """Remove rows of layers that no digest names; return their tables and names. Others are to be adopted."""

    @abstractmethod
    def adopt_image(self, image: str) -> str | None:
        """Return an image whose config has another digest the ID that it should have, and return that.

        That is done only if others know it by that ID, and not by the one that it has, or if that is none: else the
        config may be what is damaged. One that cannot be read and has no ID goes. Gives nothing where the row stays.
        """

    @abstractmethod
    def adopt_manifest(self, digest: str) -> str | None:
        """Return a manifest whose bytes have another digest the name that it should have, and return that.

        That is done only if no image came with it by the name that it has, or if that is not a digest.
        """

    @abstractmethod
    def forget_loose_ends(self) -> list[tuple[str, str]]:
        """Remove what nothing refers to: chains that are not what they are called, and layers without bytes."""

    # What is missing.

    @abstractmethod
    def unlinked_blobs(self) -> list[Digest]:
        """Return the blobs that do not belong to a known layer, and those of which a link tells but no row."""

    @abstractmethod
    def bare_diffs(self) -> list[DiffID]:
        """Return the layers that something needs and of which there is no row, or no blob."""

    @abstractmethod
    def missing_images(self) -> list[ImageID]:
        """Return the images that names or children lead to and that are not there."""

    @abstractmethod
    def missing_manifests(self) -> list[Digest]:
        """Return the manifests that images came with and that are not there."""

    @abstractmethod
    def is_named(self, digest: Digest) -> bool:
        """Return whether a manifest names some content."""

    # What content says.

    @abstractmethod
    def set_blob(self, row: BlobRow) -> None:
        """Record what a blob is."""

    @abstractmethod
    def set_diff(self, row: DiffRow) -> None:
        """Record what a layer holds."""

    @abstractmethod
    def unlink(self, blob: Digest) -> None:
        """Record a blob as a form of no layer."""

    @abstractmethod
    def link(self, blob: Digest, diff_id: DiffID) -> None:
        """Record a blob as a form of a layer."""

    @abstractmethod
    def forget_blob(self, digest: Digest) -> None:
        """Forget a blob as a form of its layer."""

    @abstractmethod
    def set_config(self, image: ImageID, config: bytes) -> None:
        """Put the right bytes in place of a damaged config."""

    @abstractmethod
    def correct(self, digest: str, damaged: bytes, right: bytes) -> bool:
        """Put the right bytes in place of damaged ones of a config or a manifest; return whether they were."""

    @abstractmethod
    def set_manifest(self, row: ManifestRow) -> None:
        """Put the right bytes in place of a damaged or missing manifest."""

    @abstractmethod
    def manifest(self, digest: str) -> bytes | None:
        """Return the bytes that are kept of a manifest."""

    @abstractmethod
    def set_media_type(self, digest: str, media_type: str) -> None:
        """Record of what type a manifest is."""

    @abstractmethod
    def set_edges(self, digest: str) -> None:
        """Record where a manifest leads, as its bytes say, and with which images it came, as their names say."""

    # What follows from other rows.

    @abstractmethod
    def record_lost_names(self) -> list[tuple[str, str]]:
        """Name images again whose manifests or indexes names mean, and return the names with their images.

        Of several images of an index that is the one that the repository calls by its digest, else the first.
        """

    @abstractmethod
    def set_image(self, image: ImageID, config: bytes) -> bool:
        """Record what follows from an image's config, and return whether something else was recorded.

        Raises:
            InvalidInput: this is not an image config.
        """

    @abstractmethod
    def set_chain(self, row: ChainRow) -> bool:
        """Record what a chain consists of; return whether something else, or nothing, was recorded."""

    @abstractmethod
    def add_up_chains(self) -> list[str]:
        """Add up the sizes of all chains again, and return those whose size or depth was another."""

    @abstractmethod
    def mark_heads(self) -> list[str]:
        """Record which images have no children, and return those of which something else was recorded."""

    # What leads nowhere.

    @abstractmethod
    def forget_missing_parents(self) -> list[tuple[str, str]]:
        """Unlink images from parents that are not there; return each with the parent that it had."""

    @abstractmethod
    def open_loops(self) -> list[tuple[str, str]]:
        """Unlink one image of each circle of parents, and return it with the parent that it had.

        That is the one with the shortest history: it cannot have come from the others.
        """

    @abstractmethod
    def forget_nowhere(self) -> list[tuple[str, int]]:
        """Remove links whose ends are not there, and return the tables that they were in with their number."""

    @abstractmethod
    def forget_name(self, text: str) -> str | None:
        """Forget a whole name that is invalid if the image or manifest that it means has a valid tag; return that."""
