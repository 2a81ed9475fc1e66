"""orlop: the Docker image store as a library, without a daemon.

    >>> import orlop, tempfile
    >>> with orlop.open(tempfile.mkdtemp()) as images:
    ...     images.images()
    []

Importing this module is light; what a name needs is imported when the name is first used.
"""

from __future__ import annotations

from orlop._version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os

    from orlop import errors
    from orlop.archive.reader import Archive, ArchivedArtifact, ArchivedImage, ArchivedLayer
    from orlop.archive.save_report import OmittedManifests, SaveReport
    from orlop.errors import OrlopError
    from orlop.inside.audit import Audit, LayerBytes
    from orlop.inside.finding import AuditFinding
    from orlop.inside.info import FileInfo
    from orlop.inside.view import ImageFiles
    from orlop.intake.report import LoadedImage, LoadReport, MovedReference
    from orlop.model.container import ContainerConfig
    from orlop.model.digest import ChainID, DiffID, Digest, ImageID
    from orlop.model.holdings import Holdings
    from orlop.model.image import History, Image, RootFS, V1Image
    from orlop.model.limits import Limits
    from orlop.model.platform import Platform
    from orlop.model.progress import LayerDone, LayerExists, LayerProgress, ProgressEvent
    from orlop.model.proxies import Proxies
    from orlop.model.reference import Reference
    from orlop.model.store_url import StoreURL
    from orlop.registry.registry import Registry
    from orlop.service import stores
    from orlop.service.archive import ArchiveService
    from orlop.service.copy import CopiedImage, CopyReport
    from orlop.service.image_service import ImageService
    from orlop.service.import_registry import ImportedManifest, RegistryImport
    from orlop.service.listing.history import HistoryEntry
    from orlop.service.listing.inspect import ImageDetails
    from orlop.service.listing.listed import ImageUsage, ListedImage
    from orlop.service.listing.manifests import ImageManifests, ManifestKind, ManifestSummary
    from orlop.service.listing.summaries import ImageSummary
    from orlop.service.listing.tree import ContentTree
    from orlop.service.pull import PullReport
    from orlop.service.push import PushedTag, PushReport
    from orlop.service.root import RootService
    from orlop.service.space.df import DiskUsage, FileUsage, ImageDiskUsage, LayerUsage
    from orlop.service.space.remove import RemoveReport
    from orlop.service.space.verdict import ImageVerdict, LayerVerdict, PruneReport
    from orlop.service.sync.plan import SyncEntry, SyncPlan
    from orlop.service.sync.report import SyncAction, SyncedTag, SyncReport
    from orlop.store.upkeep.gc import Garbage, GcReport

_HOMES = {
    "Archive": "orlop.archive.reader",
    "ArchiveService": "orlop.service.archive",
    "ArchivedArtifact": "orlop.archive.reader",
    "ArchivedImage": "orlop.archive.reader",
    "ArchivedLayer": "orlop.archive.reader",
    "Audit": "orlop.inside.audit",
    "AuditFinding": "orlop.inside.finding",
    "ChainID": "orlop.model.digest",
    "ContainerConfig": "orlop.model.container",
    "ContentTree": "orlop.service.listing.tree",
    "CopiedImage": "orlop.service.copy",
    "CopyReport": "orlop.service.copy",
    "DiffID": "orlop.model.digest",
    "Digest": "orlop.model.digest",
    "DiskUsage": "orlop.service.space.df",
    "FileInfo": "orlop.inside.info",
    "FileUsage": "orlop.service.space.df",
    "Garbage": "orlop.store.upkeep.gc",
    "GcReport": "orlop.store.upkeep.gc",
    "History": "orlop.model.image",
    "HistoryEntry": "orlop.service.listing.history",
    "Image": "orlop.model.image",
    "Holdings": "orlop.model.holdings",
    "ImageDetails": "orlop.service.listing.inspect",
    "ImageDiskUsage": "orlop.service.space.df",
    "ImageFiles": "orlop.inside.view",
    "ImageID": "orlop.model.digest",
    "ImageManifests": "orlop.service.listing.manifests",
    "ImageService": "orlop.service.image_service",
    "ImageSummary": "orlop.service.listing.summaries",
    "ImageUsage": "orlop.service.listing.listed",
    "ImageVerdict": "orlop.service.space.verdict",
    "ImportedManifest": "orlop.service.import_registry",
    "LayerBytes": "orlop.inside.audit",
    "LayerDone": "orlop.model.progress",
    "LayerExists": "orlop.model.progress",
    "LayerProgress": "orlop.model.progress",
    "LayerUsage": "orlop.service.space.df",
    "LayerVerdict": "orlop.service.space.verdict",
    "Limits": "orlop.model.limits",
    "ListedImage": "orlop.service.listing.listed",
    "LoadReport": "orlop.intake.report",
    "LoadedImage": "orlop.intake.report",
    "ManifestKind": "orlop.service.listing.manifests",
    "ManifestSummary": "orlop.service.listing.manifests",
    "MovedReference": "orlop.intake.report",
    "OmittedManifests": "orlop.archive.save_report",
    "OrlopError": "orlop.errors",
    "Platform": "orlop.model.platform",
    "ProgressEvent": "orlop.model.progress",
    "Proxies": "orlop.model.proxies",
    "PruneReport": "orlop.service.space.verdict",
    "PullReport": "orlop.service.pull",
    "PushReport": "orlop.service.push",
    "PushedTag": "orlop.service.push",
    "Reference": "orlop.model.reference",
    "Registry": "orlop.registry.registry",
    "RegistryImport": "orlop.service.import_registry",
    "RemoveReport": "orlop.service.space.remove",
    "RootFS": "orlop.model.image",
    "RootService": "orlop.service.root",
    "SaveReport": "orlop.archive.save_report",
    "SyncAction": "orlop.service.sync.report",
    "SyncEntry": "orlop.service.sync.plan",
    "SyncPlan": "orlop.service.sync.plan",
    "StoreURL": "orlop.model.store_url",
    "SyncReport": "orlop.service.sync.report",
    "SyncedTag": "orlop.service.sync.report",
    "V1Image": "orlop.model.image",
}
_ROOMS = (
    "api",
    "archive",
    "build",
    "cli",
    "foreign",
    "inside",
    "intake",
    "model",
    "page",
    "registry",
    "service",
    "store",
    "streams",
    "testing",
    "transfer",
)
_MODULES = {
    "errors": "orlop.errors",
    "stores": "orlop.service.stores",
} | {room: f"orlop.{room}" for room in _ROOMS}
"""What is there as ``orlop.…`` from the start, whichever names were used before."""

__all__ = [
    "Archive",
    "ArchiveService",
    "ArchivedArtifact",
    "ArchivedImage",
    "ArchivedLayer",
    "Audit",
    "AuditFinding",
    "ChainID",
    "ContainerConfig",
    "ContentTree",
    "CopiedImage",
    "CopyReport",
    "DiffID",
    "Digest",
    "DiskUsage",
    "FileInfo",
    "FileUsage",
    "Garbage",
    "GcReport",
    "History",
    "HistoryEntry",
    "Holdings",
    "Image",
    "ImageDetails",
    "ImageDiskUsage",
    "ImageFiles",
    "ImageID",
    "ImageManifests",
    "ImageService",
    "ImageSummary",
    "ImageUsage",
    "ImageVerdict",
    "ImportedManifest",
    "LayerBytes",
    "LayerDone",
    "LayerExists",
    "LayerProgress",
    "LayerUsage",
    "LayerVerdict",
    "Limits",
    "ListedImage",
    "LoadReport",
    "LoadedImage",
    "ManifestKind",
    "ManifestSummary",
    "MovedReference",
    "OmittedManifests",
    "OrlopError",
    "Platform",
    "ProgressEvent",
    "Proxies",
    "PruneReport",
    "PullReport",
    "PushReport",
    "PushedTag",
    "Reference",
    "Registry",
    "RegistryImport",
    "RemoveReport",
    "RootFS",
    "RootService",
    "SaveReport",
    "StoreURL",
    "SyncAction",
    "SyncEntry",
    "SyncPlan",
    "SyncReport",
    "SyncedTag",
    "V1Image",
    "__version__",
    "default_root",
    "errors",
    "open",
    "stores",
]


def open(  # noqa: A001 - orlop.open reads as what it does
    root: str | os.PathLike[str] | StoreURL,
    *,
    create: bool = True,
    allow_network: bool = False,
    allow_foreign: bool = False,
    limits: Limits | None = None,
    proxies: Proxies | None = None,
) -> ImageService:
    """Open the store in a directory, creating it if there is none, or the store beyond this machine that a URL names.

    Args:
        root: the store's directory, or a URL such as ``postgresql://USER@HOST/DATABASE?blobs=s3://BUCKET/PREFIX``. A
            new directory gets the mode 0700; one that cannot be written is opened for reading. For a URL as text,
            passwords and other settings come from the usual environment variables; a `StoreURL` brings its own.
        create: create a directory's store if there is none. `orlop.stores.init` creates one that a URL names.
        allow_network: also write on network and FUSE file systems, where a store is otherwise opened for reading. This
            is safe if only one machine at a time uses the store.
        allow_foreign: also write to a store if it, or a part of it, belongs to another user or can be written by
            everybody. Otherwise such a store is opened for reading. Root, and in a store for a group its members, do
            not count as other users. This is safe if you trust everyone who can write there.
        limits: the limits on archives and layers that come in. Default: those of `Limits`.
        proxies: the proxies for downloads of URLs. Default: none. The environment is not read;
            ``Proxies.from_variables(os.environ)`` does that.

    Raises:
        StoreNotFound: the store does not exist, and ``create`` is false.
        UnsafeFileSystem: a new store would be on a network or FUSE file system.
        PermissionDenied, ReadOnlyStore, NoSpace, StoreDamaged, StorageError: it cannot be opened or created.
    """
    from orlop.model.limits import DEFAULT_LIMITS, limits_or  # noqa: PLC0415 - importing orlop is light
    from orlop.service.image_service import open_service  # noqa: PLC0415 - as above

    if isinstance(root, str) and "://" in root:
        import os  # noqa: PLC0415 - as above

        from orlop.model.store_url import StoreURL, is_store_url  # noqa: PLC0415 - most stores are directories

        if is_store_url(root):
            root = StoreURL.parse(root, os.environ)
    return open_service(
        root,
        create=create,
        allow_network=allow_network,
        allow_foreign=allow_foreign,
        limits=limits_or(limits, DEFAULT_LIMITS),
        proxies=proxies,
    )


def default_root() -> str:
    """Return the root that the command line takes where none is named and ``ORLOP_ROOT`` is not set."""
    from platformdirs import user_data_dir  # noqa: PLC0415 - only where it is asked for

    return user_data_dir("orlop", appauthor=False)


if not TYPE_CHECKING:
    # Type checkers read what is imported for them above: they would take any other name for an object.
    def __getattr__(name: str) -> object:
        from importlib import import_module  # noqa: PLC0415 - importing orlop is light

        if name in _MODULES:
            value: object = import_module(_MODULES[name])
        elif name in _HOMES:
            value = getattr(import_module(_HOMES[name]), name)
        else:
            msg = f"module 'orlop' has no attribute {name!r}"
            raise AttributeError(msg)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
