"""`ImageService`: the verbs of the store, composed."""

from __future__ import annotations

from orlop.model.given import Single
from orlop.model.limits import DEFAULT_LIMITS
from orlop.model.names import ImageName, image_names, listed_name, tag_name
from orlop.service.registry_verbs import RegistryVerbs
from orlop.service.space_verbs import SpaceVerbs
from orlop.store.opening import open_store

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import BinaryIO, Self

    from orlop.archive.save_report import SaveReport
    from orlop.inside.audit import Audit
    from orlop.inside.finding import AuditFinding
    from orlop.inside.view import ImageFiles
    from orlop.intake.report import LoadReport
    from orlop.model.digest import ImageID
    from orlop.model.holdings import Holdings
    from orlop.model.limits import Limits
    from orlop.model.names import Name
    from orlop.model.platform import Platform
    from orlop.model.progress import Progress
    from orlop.model.proxies import Proxies
    from orlop.model.reference import Reference
    from orlop.service.listing.history import HistoryEntry
    from orlop.service.listing.inspect import ImageDetails
    from orlop.service.listing.listed import ImageUsage, ListedImage
    from orlop.service.listing.manifests import ImageManifests
    from orlop.service.listing.summaries import ImageSummary
    from orlop.service.listing.tree import ContentTree
    from orlop.service.saving import AskedPlatforms
    from orlop.service.space.remove import RemoveReport
    from orlop.store.events import Event
    from orlop.store.images import ImageStore
    from orlop.store.layers import LayerStore
    from orlop.store.opening import Root
    from orlop.store.references import ReferenceStore
    from orlop.store.root import Store


class ImageService(RegistryVerbs, SpaceVerbs, Single):
    """An open store with Docker's verbs. `orlop.open` returns one; it is a context manager that closes the store.

    A *name* is a reference (``alpine``, ``user/app:1.0``), an image ID, or a unique prefix of one, as text or as a
    `Reference`, `ImageID` or `Digest`. A value of another type raises `WrongType`.

    Threads may share one service and call anything at once. After a fork the child can continue with the same object:
    it gets its own connection and lease, and does not protect what its parent protects. Iterators that were begun
    before the fork belong to the parent.
    """

    def __init__(self, store: Store, *, proxies: Proxies | None = None) -> None:
        self._store = store
        self.proxies = proxies
        """What URLs are downloaded through; None where they are fetched directly."""

    @property
    def root(self) -> str:
        """The store's directory, or its URL."""
        return self._store.root

    @property
    def read_only(self) -> bool:
        """Whether nothing can be changed."""
        return self._store.read_only

    @property
    def image_store(self) -> ImageStore:
        """The images, as the Go package ``docker/image`` has them."""
        return self._store.images

    @property
    def layer_store(self) -> LayerStore:
        """The layers."""
        return self._store.layers

    @property
    def references(self) -> ReferenceStore:
        """The names of images."""
        return self._store.references

    def load(
        self,
        source: BinaryIO | str | os.PathLike[str],
        *,
        platform: Platform | str | None = None,
        only: Sequence[Name] = (),
        progress: Progress | None = None,
        limits: Limits | None = None,
    ) -> LoadReport:
        """Load all images of an archive, in any format, compressed or not. Atomic and idempotent.

        Archives of Docker since its first version, podman's, skopeo's (a ``dir:`` too) and OCI image layouts are read,
        each as a file, through a pipe or unpacked in a directory.

        Args:
            source: a path, or a binary file or stream, which is read to its end and not closed.
            platform: load only images for this platform, such as ``linux/arm64``. Default: all. If a name stands for
                several platforms, it points to the image for this machine, or else to the first.
            only: load only the images with these names, under these names. Default: all.
            progress: called with one event at a time, by the thread that does the work.
            limits: the limits on the archive, instead of those of the store.

        Raises:
            InvalidInput: the source is not an archive, or is incomplete, contradictory or beyond a limit.
                IntegrityError: a part of it does not match its digest. PlatformNotFound, ImageNotFound: it does not
                hold the wanted images. NotFound, StorageError: it cannot be read or stored. The store is then
                unchanged.
        """
        from orlop.service.load import load  # noqa: PLC0415 - listing images needs no archives

        wanted = image_names(only)
        return load(self._store, source, platform=platform, only=wanted, progress=progress, limits=limits)

    def import_image(
        self,
        source: BinaryIO | str | os.PathLike[str],
        reference: str | Reference | None = None,
        *,
        changes: Sequence[str] = (),
        message: str | None = None,
        platform: Platform | str | None = None,
        limits: Limits | None = None,
    ) -> ImageID:
        """Make an image of one layer from the tar of a root file system, plain or compressed, and return its ID.

        Its config is the one that ``docker import`` makes, without a version of docker. The layer keeps its bytes.

        Args:
            source: a path, a URL (``http://…``, ``https://…``, downloaded through the proxies of `orlop.open`), or a
                binary stream, which is read to its end.
            reference: the name of the image, which moves if another image has it. Without a tag it gets ``latest``.
            changes: Dockerfile instructions, such as ``CMD ["/bin/sh"]``, that change the config.
            message: the comment. Default: the source of the import.
            platform: the platform of the image. Default: that of this machine.
            limits: the limits on the tar, instead of those of the store.

        Raises:
            InvalidReference, InvalidInstruction, InvalidPlatform: an argument is not valid. InvalidTar,
                InvalidCompression: the source is not a tar. LimitExceeded: it exceeds a limit. NotFound, StorageError,
                DownloadFailed: it cannot be read, stored or downloaded. The store is then unchanged.
        """
        from orlop.service.import_image import import_image  # noqa: PLC0415 - listing images needs no archives

        named = None if reference is None else tag_name(reference)
        return import_image(
            self._store,
            source,
            named,
            changes=changes,
            message=message,
            platform=platform,
            limits=limits,
            proxies=self.proxies,
        )

    def save(
        self,
        names: Sequence[Name],
        target: BinaryIO | str | os.PathLike[str],
        *,
        format: str = "docker",  # noqa: A002 - the word that users know
        platform: AskedPlatforms = None,
        compress: str | None = None,
        since: Sequence[Name] = (),
        without: Holdings | None = None,
        append: bool = False,
        progress: Progress | None = None,
    ) -> SaveReport:
        """Write images to an archive, or to a directory; equal images give equal bytes.

        Args:
            names: what to save, in order. A repository's bare name saves all its tags; an ID saves no tag.
            target: a path, or a binary stream. A regular file or a new directory appears complete and on disk, or not
                at all. To an existing layout the images are added, and their names move.
            format: ``docker`` (the layout of Engine 25 and later), ``docker-20.10``, ``oci`` (an OCI layout, with
                manifests and indexes as they came) or ``oci-dir`` (a directory that is one).
            platform: the platform to save, such as ``linux/arm64``; every image must have it. In all formats except
                ``docker-20.10`` it can be several platforms or ``all``, which are saved with their index.
            compress: ``none``, ``gzip`` or ``zstd``, the last two with a level as in ``zstd:9``: the form of the layers
                in an OCI layout. A manifest of layers in another form is new. Default: layers as they came.
            since: images that the reader of the archive has: their layers are left out.
            without: what else the reader has, as `have` returned it there. OCI layouts leave out layers by their
                digests, docker's formats by their chain IDs.
            append: add the images to an existing archive in one of docker's formats or ``oci``; names move to them. The
                new archive replaces the old one in one step.
            progress: called with one event at a time, by the thread that does the work.

        Returns:
            A report of what may surprise, such as content that an index names and the store does not have.

        Raises:
            ImageNotFound, ReferenceNotFound: a name is not there. PlatformNotFound: an image is for another platform.
            IntegrityError: a layer is damaged. StorageError: the target cannot be written. TargetExists: the target
            exists and is not a layout. InvalidArchive: an existing layout cannot be read.
        """
        from orlop.service.save import save  # noqa: PLC0415 - listing images needs no archives

        return save(
            self._store,
            image_names(names),
            target,
            format=format,
            platform=platform,
            compress=compress,
            since=image_names(since),
            without=without,
            append=append,
            progress=progress,
        )

    def have(self, names: Sequence[Name] = ()) -> Holdings:
        """Return which layers are here, for `save` elsewhere to leave out: all, or those of some images.

        Raises what `save` raises for names.
        """
        from orlop.service.have import have  # noqa: PLC0415 - one verb needs one verb's code

        return have(self._store, image_names(names))

    def save_chunks(
        self,
        names: Sequence[Name],
        *,
        format: str = "docker",  # noqa: A002 - the word that users know
        platform: AskedPlatforms = None,
        compress: str | None = None,
        since: Sequence[Name] = (),
        without: Holdings | None = None,
        progress: Progress | None = None,
    ) -> Generator[bytes, None, SaveReport]:
        """Yield the bytes that `save` writes, for a pipe or a socket; a damaged layer raises before its last byte.

        Close the generator if it is not read to its end; what `save` returns is the value with which it ends.
        """
        from orlop.service.save import save_chunks  # noqa: PLC0415 - listing images needs no archives

        return save_chunks(
            self._store,
            image_names(names),
            format=format,
            platform=platform,
            compress=compress,
            since=image_names(since),
            without=without,
            progress=progress,
        )

    def images(
        self,
        name: Name | None = None,
        *,
        all: bool = False,  # noqa: A002 - docker's word
        filters: Sequence[str] = (),
    ) -> list[ImageSummary]:
        """List images, newest first.

        Args:
            name: list only images with this repository, reference, ID or first digits of an ID, or whose name matches
                this pattern (``team/*``).
            all: intermediate images too.
            filters: docker's, such as ``label=stage=test``, ``dangling=true``, ``reference=team/*:1.*``,
                ``before=NAME``, ``since=NAME``, ``until=24h``. An image must match all of them, but only one of several
                patterns.

        Raises:
            InvalidReference: the name is not valid. InvalidFilter: a filter is not valid. ImageNotFound: the image of
                ``before`` or ``since`` does not exist.
        """
        return list(self.iter_images(name, all=all, filters=filters))

    def iter_images(
        self,
        name: Name | None = None,
        *,
        all: bool = False,  # noqa: A002 - as above
        filters: Sequence[str] = (),
    ) -> Iterator[ImageSummary]:
        """Yield what `images` lists, of the moment of the call, one at a time: for a store of very many images."""
        from orlop.service.listing.images import images  # noqa: PLC0415 - one verb needs one verb's code

        return images(self._store, None if name is None else listed_name(name), all=all, filters=filters)

    def listed_images(
        self,
        *,
        all: bool = False,  # noqa: A002 - as above
        filters: Sequence[str] = (),
        shared_size: bool = False,
        manifests: bool = False,
        canonical_names: bool = True,
    ) -> Iterator[ListedImage]:
        """Yield the images of `iter_images` with labels and more, as the Engine API needs them.

        Args:
            all: intermediate images too.
            filters: as `images` has them.
            shared_size: compute how much each image shares with others.
            manifests: list the manifests of each, and which of them are here.
            canonical_names: match patterns against names with ``docker.io/``, too, not only familiar ones.
        """
        from orlop.service.listing.listed import listed_images  # noqa: PLC0415 - one verb needs one verb's code

        return listed_images(
            self._store,
            all=all,
            filters=filters,
            shared_size=shared_size,
            manifests=manifests,
            canonical_names=canonical_names,
        )

    def image_usage(self, *, listed_only: bool = False) -> ImageUsage:
        """Return how much of the disk the images take, and how much of that each shares with others.

        Args:
            listed_only: do not count what an image shares with one that only serves as a parent.
        """
        from orlop.service.listing.listed import image_usage  # noqa: PLC0415 - one verb needs one verb's code

        return image_usage(self._store, listed_only=listed_only)

    def manifests(self, name: Name) -> ImageManifests | None:
        """Return the manifest or index after which an image is named, and which manifests it has.

        Returns None for an image that came without one. Raises what `inspect` raises.
        """
        from orlop.service.listing.manifests import image_manifests  # noqa: PLC0415 - one verb needs one verb's code

        return image_manifests(self._store, ImageName.parse(name))

    def tree(self, name: Name | None = None) -> tuple[ContentTree, ...]:
        """Return what one name or all names lead to: images, indexes and artifacts, with content and referrers."""
        from orlop.service.listing.tree import content_tree  # noqa: PLC0415 - one verb needs one verb's code

        return content_tree(self._store, None if name is None else ImageName.parse(name))

    def inspect(self, name: Name, *, platform: Platform | str | None = None) -> ImageDetails:
        """Return all details of an image.

        Args:
            name: the image.
            platform: the platform that it must have, such as ``linux/arm64``.

        Raises:
            ImageNotFound, AmbiguousID, InvalidReference: the name leads to no image. DigestMismatch: it is damaged.
            PlatformNotFound: it is for another platform.
        """
        from orlop.service.listing.inspect import inspect  # noqa: PLC0415 - one verb needs one verb's code

        return inspect(self._store, ImageName.parse(name), platform=platform)

    def raw_config(self, name: Name, *, platform: Platform | str | None = None) -> bytes:
        """Return the exact bytes of an image's config, verified; takes and raises what `inspect` does."""
        from orlop.service.listing.inspect import raw_config  # noqa: PLC0415 - one verb needs one verb's code

        return raw_config(self._store, ImageName.parse(name), platform=platform)

    def history(self, name: Name, *, platform: Platform | str | None = None) -> list[HistoryEntry]:
        """Return the steps by which an image was made, newest first. Raises what `inspect` raises."""
        from orlop.service.listing.history import history  # noqa: PLC0415 - one verb needs one verb's code

        return history(self._store, ImageName.parse(name), platform=platform)

    def files(
        self,
        name: Name,
        *,
        platform: Platform | str | None = None,
        layer: int | None = None,
        up_to: int | None = None,
        resolve_links: bool = False,
    ) -> ImageFiles:
        """Return what is inside an image, as a container sees it: a mapping of paths, and a context manager.

        Only of the layer number ``layer``, or of those up to ``up_to``, counted from 1. See `orlop.inside.merge` for
        ``resolve_links``. Raises what `inspect` raises, and what reading the layers' tables of contents does.
        """
        from orlop.service.files import files  # noqa: PLC0415 - one verb needs one verb's code

        asked = ImageName.parse(name)
        return files(self._store, asked, platform=platform, layer=layer, up_to=up_to, resolve_links=resolve_links)

    def audit(
        self,
        name: Name,
        *,
        platform: Platform | str | None = None,
        resolve_links: bool = False,
        contents: bool = True,
        visible_only: bool = False,
        allow: Sequence[str] = (),
        baseline: Iterable[AuditFinding] | None = None,
    ) -> Audit:
        """Audit an image: where its bytes are, which of them are hidden, and what somebody should look at.

        Only findings that a ``baseline`` does not have count, such as those of an earlier audit, or of a report
        (`orlop.inside.baseline.read_reports`). For the rest see `orlop.inside.audit.audit`.

        Raises:
            InvalidFilter: a pattern of ``allow`` is malformed. Beside it, what `files` raises.
        """
        from orlop.inside.audit import audit  # noqa: PLC0415 - one verb needs one verb's code

        with self.files(name, platform=platform, resolve_links=resolve_links) as files:
            return audit(files, contents=contents, visible_only=visible_only, allow=allow, baseline=baseline)

    def tag(self, source: Name, target: str | Reference) -> None:
        """Add a name to an image, an index or an artifact; a name that pointed elsewhere moves. Atomic, idempotent.

        Raises:
            ImageNotFound: the image does not exist. InvalidReference: the target cannot be a tag, or the source is a
                blob without a manifest, which has no name.
        """
        from orlop.service.tag import tag  # noqa: PLC0415 - one verb needs one verb's code

        tag(self._store, ImageName.parse(source), tag_name(target))

    def remove(
        self, name: Name, *, force: bool = False, prune: bool = True, platform: Platform | str | None = None
    ) -> RemoveReport:
        """Remove a name, and the image and its layers if nothing else needs them. Atomic.

        Args:
            name: a reference, to remove that name; or an ID, to remove the image with its only name.
            force: remove an image even if it has names in several repositories, or is a platform that other names lead
                to.
            prune: also remove its parents that have no name.
            platform: such as ``linux/arm64``. Of an index of which several images are here, only the image for it
                goes, and the name stays; any other image must be for it.

        Raises:
            ImageNotFound: there is no such image. PlatformNotFound: it is for another platform. ImageInUse: it has
                children, several names, or is a platform that other names lead to.
            DatabaseDamaged: a row still needs what was to go; nothing was removed.
        """
        from orlop.service.space.remove import remove  # noqa: PLC0415 - one verb needs one verb's code

        return remove(self._store, ImageName.parse(name), force=force, prune=prune, platform=platform)

    def events(self, after: int = 0, *, most: int | None = None) -> tuple[Event, ...]:
        """Return the events of images that the store still has, about the last thousand, oldest first.

        They include loads, imports, saves, tags and removals of all processes, each as soon as it is done. A caller
        that passes the number of the last event that it got misses none; `last_event` returns where to begin.

        Args:
            after: the number of an event; return only later ones.
            most: about how many bytes of events to read, but at least one event. Default: all.
        """
        return self._store.events.since(after, most=most)

    def last_event(self) -> int:
        """Return the number of the newest event, or 0 if there is none."""
        return self._store.events.last()

    def counts(self) -> Mapping[str, int]:
        """Return how many images, names, chains, layers, blobs and manifests there are, and the bytes of all blobs."""
        with self._store.metadata.read() as rows:
            return rows.counts()

    def close(self) -> None:
        """Release the store."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._store.__exit__(kind, error, trace)


def open_service(
    root: Root,
    *,
    create: bool = True,
    allow_network: bool = False,
    allow_foreign: bool = False,
    limits: Limits = DEFAULT_LIMITS,
    proxies: Proxies | None = None,
) -> ImageService:
    """Open the store that a root names, or make one in a directory, see `orlop.open`."""
    store = open_store(root, create=create, allow_network=allow_network, allow_foreign=allow_foreign, limits=limits)
    return ImageService(store, proxies=proxies)
