"""``pull``: images from a registry into the store."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from orlop.errors import ContentNotFound, NoSpace
from orlop.intake.commit import commit
from orlop.intake.platforms import chosen
from orlop.intake.taking import storing
from orlop.model.digest import ImageID
from orlop.model.values import dataclass
from orlop.registry.places import Places
from orlop.registry.source import RegistrySource

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orlop.intake.offer import Offer
    from orlop.intake.report import LoadReport
    from orlop.model.digest import Digest
    from orlop.model.limits import Limits
    from orlop.model.platform import Platform
    from orlop.model.progress import Progress
    from orlop.model.reference import Reference
    from orlop.registry.registries import Registries
    from orlop.store.root import Store
    from orlop.store.rows.metadata import Rows

_ALL: Final = "all"
_DAY: Final = 86_400
_KEPT_DAYS: Final = 14
_KEPT_BYTES: Final = 16 << 30
"""How long, and how much, what broke off is kept."""
_SECOND: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class PullReport:
    """What a pull did.

    ``name`` is what was pulled, ``digest`` that of the manifest or index that it leads to; ``images`` are the images
    and artifacts that came, or that were there; ``changed`` says that something is new: an image, an artifact, what
    refers to them, or what a name leads to. ``referrers`` is how many manifests refer to them.
    """

    name: Reference
    digest: Digest
    images: LoadReport
    changed: bool
    referrers: int = 0

    def messages(self) -> tuple[str, ...]:
        """Return the lines with which ``docker pull`` ends."""
        kind = "image" if self.images.images else "artifact"
        state = f"Downloaded newer {kind} for" if self.changed else f"{kind.capitalize()} is up to date for"
        return f"Digest: {self.digest}", f"Status: {state} {self.name.familiar}"


def pull(
    store: Store,
    name: Reference,
    registries: Registries,
    platform: Platform | str | None = None,
    *,
    exact: bool = False,
    referrers: bool = False,
    called: Reference | None = None,
    read: Mapping[Digest, bytes] = MappingProxyType({}),
    progress: Progress | None = None,
    limits: Limits | None = None,
) -> PullReport:
    """Pull a name from its registry. All or nothing, but for layers, which a later pull need not fetch again.

    Manifests and indexes are kept as they came, and so are artifacts, and what an index names of which ``all`` is
    pulled. A layer whose content the store has is not fetched, in whichever form that is; one that breaks off goes on
    later, also in another process. Idempotent.

    Args:
        store: where to.
        name: with a tag, or a digest, which decides where both are given; see `orlop.model.names.pulled_name`.
        registries: mirrors, credentials and trust.
        platform: of an index, the image for this one, or ``all`` of them, where the name then points to this machine's;
            by default this machine's. What is not an index must be for it, where it is given.
        exact: fetch layers also that are there in another form only, so that the manifest can be written out unchanged.
        referrers: pull what refers to it, too: signatures, SBOMs and other artifacts.
        called: the name that it gets in the store, instead of its own.
        read: manifests that were read before, by digest.
        progress: called with one event at a time, by the threads that do the work; what it raises ends the pull.
        limits: what the image may ask for, instead of the limits of the store.

    Raises:
        NotInRegistry: there is nothing of that name. PlatformNotFound: nor for the platform. RegistryDenied,
            RegistryBusy, RegistryUnreachable, RegistryError: the registry refuses or fails. IntegrityError,
            InvalidInput: what it sends is not what it says, or beyond a limit. StorageError: it cannot be kept. No
            name has changed then.
    """
    every = platform == _ALL
    store.require_writable()
    choice = chosen(None if every else platform)
    store.blobs.sweep_ingests()
    store.blobs.free_partials(most=_KEPT_BYTES, before=store.now() / _SECOND - _KEPT_DAYS * _DAY)

    def once() -> PullReport:
        with storing(store, limits=limits, progress=progress) as taking:
            source = RegistrySource(
                name,
                Places(registries.to_pull(name)),
                taking,
                held=lambda digest: read.get(digest) or _held(store, digest),
                is_known=_has_tag(store, name),
                every=every,
                exact=exact,
                referrers=referrers,
                called=called,
            )
            offer = source.offer(choice)
            with store.metadata.read() as rows:
                known = is_known(rows, offer)
            report = commit(store, source, offer)
        return PullReport(name, source.digest, report, not known, source.referrers)

    try:
        return once()
    except NoSpace:
        # What broke off goes first; what this pull has kept so far stays.
        if not store.blobs.free_partials(most=0, before=0):
            raise
        return once()
    except ContentNotFound:
        # What it relied on went away between its look and its hold.
        return once()


def _held(store: Store, digest: Digest) -> bytes | None:
    """Return the bytes of a manifest or a config that the store has."""
    with store.metadata.read() as rows:
        row = rows.manifest(digest)
        return rows.config(ImageID.wrap(digest)) if row is None else row.raw


def _has_tag(store: Store, name: Reference) -> bool:
    if name.tag is None or name.digest is not None:
        return False
    with store.metadata.read() as rows:
        suffix = f":{name.tag}"
        return rows.reference(name.name, suffix) is not None or rows.top(name.name, suffix) is not None


def is_known(rows: Rows, offer: Offer) -> bool:
    """Return whether all manifests of an offer are there, and every name leads to its image or manifest already."""
    for manifest in offer.manifests:
        meant = {row.digest if (row := rows.top(name.name, f":{name.tag}")) else None for name in manifest.names}
        if rows.manifest(manifest.row.digest) is None or meant - {manifest.row.digest}:
            return False
    return all(
        rows.image_row(entry.image.id) is not None
        and all(_leads(rows, name, entry.image.id) for name in (*entry.references, *entry.digests))
        for entry in offer.images
    )


def _leads(rows: Rows, name: Reference, image: ImageID) -> bool:
    suffix = f":{name.tag}" if name.tag is not None else f"@{name.digest}"
    row = rows.reference(name.name, suffix)
    return row is not None and row.image == image
