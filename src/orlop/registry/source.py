"""A name in a registry as a source of images: its documents are fetched to make an offer, its layers when asked for.

Theory of operation. `RegistrySource.offer` fetches what leads from the name to the configs of the wanted images, and
nothing else:

1. The manifest or index of the name. By a digest it is taken from what is held, if that has it. By a tag that is known
   here a HEAD request tells its digest first, so that nothing is fetched where nothing has changed.
2. Of an index, the manifests that are wanted: the one that fits the platform best, or all of them. Indexes in it are
   followed. A descriptor that does not name a platform is followed only where no other one fits.
3. The config of each image. What an artifact names is promised instead, and fetched as blobs when it is asked for; so
   is what an index of all platforms, or of no image at all, names besides.
4. Where that is wished, what refers to any of these manifests, and to that in turn.

What was fetched is then read by `orlop.intake.manifests`, as for an archive, which verifies every digest and size
again; what was left out is absent, as in an archive of one platform. A digest that the registry says is a promise: it
decides only what is asked for next.

Layers are bytes of a `Descriptor`. `RegistrySource.layer` hands them to the `Taking` as they come; several threads may
do so at once. A layer that breaks off goes on from the byte where it broke, and one of an earlier run from what that
run has left (`orlop.store.blobs.store.BlobStore.resume`).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar, Final, Generic, Protocol, TypeVar

from orlop.errors import (
    DigestMismatch,
    IntegrityError,
    InvalidInput,
    InvalidManifest,
    LimitExceeded,
    SizeMismatch,
)
from orlop.intake.beside_images import Top
from orlop.intake.manifests import MAX_NESTING, ManifestReader, is_image, names_layers
from orlop.intake.offering import offer_of
from orlop.intake.platforms import PlatformChoice
from orlop.intake.source import Found
from orlop.intake.taking import L, refused
from orlop.intake.words import Words
from orlop.model.descriptor import Descriptor
from orlop.model.digest import Digest
from orlop.model.logger import Logger
from orlop.model.manifest import INDEX_TYPES, MANIFEST_TYPES, OCI_LAYER, Index, Manifest, parse_manifest
from orlop.model.values import replace
from orlop.registry.client import MANIFEST_LIMIT
from orlop.registry.documents import RegistryDocuments, name_of
from orlop.registry.fetched import digest_of
from orlop.registry.rest import Rest
from orlop.store.blobs.ingest import TakenBlob
from orlop.streams.interruption import interrupted_by
from orlop.streams.pipeline import in_parallel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from orlop.intake.offer import Offer, OfferedBlob, OfferedLayer
    from orlop.intake.taking import Taking
    from orlop.model.limits import Limits
    from orlop.model.platform import Platform
    from orlop.model.progress import Progress
    from orlop.model.reference import Reference
    from orlop.registry.places import Places
    from orlop.store.blobs.store import Ingest
    from orlop.store.rows.metadata import BlobRow


class _Taken(Protocol):
    """What was taken: a layer or a blob."""

    @property
    def blob(self) -> BlobRow:
        """What is known of its bytes."""

    def discard(self) -> None:
        """Leave nothing behind of it."""


B = TypeVar("B", bound=_Taken)
CONNECTIONS: Final = 4
"""How many manifests are fetched at once; registries limit what one client may ask for."""
_MOST_MANIFESTS: Final = 1000
_UNKNOWN: Final = "unknown"
_log: Final = Logger("orlop.registry")
_ANY: Final = "application/octet-stream"


def words_for(name: Reference) -> Words:
    """Return how messages speak of a name in a registry."""
    return Words(
        name=name.name,
        part="blob",
        verb="pull",
        meanwhile="while the image was pulled",
        advice="pull the image with an engine that fetches such layers, and load what it saves",
        error=InvalidManifest,
    )


class RegistrySource(Generic[L]):
    """One name in a registry, an `orlop.intake.source.ImageSource`.

    Args:
        name: what is pulled; with a digest, that decides, and the tag counts for nothing.
        places: where it is.
        taking: takes its layers.
        held: returns the bytes of a manifest or a config that is here already.
        is_known: whether the tag leads to something here, so that it is worth while to look first.
        every: take the images of all platforms.
        exact: take layers as the registry has them, even where their content is here in another form.
        referrers: take what refers to the images and artifacts, too.
        called: the name that it gets here, instead of its own.
    """

    parallel: ClassVar[bool] = True
    remote: ClassVar[bool] = True

    def __init__(
        self,
        name: Reference,
        places: Places,
        taking: Taking[L],
        *,
        held: Callable[[Digest], bytes | None] = lambda _: None,
        is_known: bool = False,
        every: bool = False,
        exact: bool = False,
        referrers: bool = False,
        called: Reference | None = None,
    ) -> None:
        self.name = name
        self.words = words_for(name)
        self._places = places
        self._taking = taking
        self._held = held
        self._is_known = is_known
        self._every = every
        self._exact = exact
        self._with_referrers = referrers
        self._called = called
        self._documents = RegistryDocuments(self.words, taking.limits)
        self._read: dict[Digest, None] = {}
        self.referrers = 0
        self._top_found: Descriptor | None = None

    @property
    def digest(self) -> Digest:
        """The digest of the manifest or index that the name leads to, once `offer` has found it."""
        if self._top_found is None:
            msg = "nothing was looked for yet"
            raise ValueError(msg)
        return self._top_found.digest

    @property
    def limits(self) -> Limits:
        """What it may ask for."""
        return self._taking.limits

    @property
    def progress(self) -> Progress | None:
        """Told of every layer's bytes."""
        return self._taking.progress

    def offer(self, choice: PlatformChoice) -> Offer:
        """Return the wanted images of the name, or the artifact that it is; see the theory of operation above.

        Without a platform, an index stands for its image for this machine, or for all with ``every``; a manifest that
        is not in an index is taken whatever its platform is. An index without any image is taken whole.

        Raises:
            NotInRegistry, RegistryError: the registry does not have it, or refuses. PlatformNotFound: it has nothing
                for the platform. DigestMismatch, SizeMismatch, InvalidManifest, LimitExceeded: it is refused.
        """
        top, document = self._top()
        self._top_found = top
        if isinstance(document, Index):
            choice = self._fetch_index(document, choice)
        else:
            self._fetch_parts(document)
        about = self._fetch_referrers() if self._with_referrers else ()
        self.referrers = len({one.digest for one, _ in about})
        reader = ManifestReader(self._documents, name_of)
        tops = [self._named(reader, top), *(self._about(reader, *one) for one in about)]
        offer = offer_of(reader, [one for one in tops if one is not None], choice, form="registry", blobs=True)
        return offer if self._exact else _in_any_form(offer)

    def _named(self, reader: ManifestReader, top: Descriptor) -> Top | None:
        node = reader.node(top)
        name = self._called or (replace(self.name, tag=None) if self.name.digest is not None else self.name)
        if node is None:
            return None
        # An artifact gets no name by its digest, as it can be asked for by that anyhow.
        is_bare = name.tag is None and not reader.images(node)
        return Top(node, () if is_bare else (name,), "" if is_bare else None)

    def _about(self, reader: ManifestReader, referrer: Descriptor, tag: str | None) -> Top | None:
        node = reader.node(referrer)
        name = self._called or self.name
        return None if node is None else Top(node, () if tag is None else (name.with_tag(tag),), about=True)

    def find(self, layer: OfferedLayer) -> Found | None:
        """Return where a layer is: under its digest; whether the registry has it is seen when it is asked for."""
        return Found(str(layer.digest), layer.size)

    def missing(self, layer: OfferedLayer) -> InvalidInput:
        """Return the error for a layer that the registry does not have."""
        return self._documents.missing(layer.name, what="the layer")

    def layer(self, layer: OfferedLayer, *, check: Callable[[], None] | None = None) -> L:
        """Return a layer, fetched and taken; what an earlier pull has left of it is not fetched again.

        Raises:
            NotInRegistry, RegistryError: it cannot be had. DigestMismatch, SizeMismatch: it is another one.
            InvalidTar, InvalidCompression, LimitExceeded, StorageError: as `Taking.layer` raises them.
        """
        if layer.digest is None or layer.size is None:
            raise self.missing(layer)
        want = Descriptor(OCI_LAYER, layer.digest, layer.size, urls=layer.urls)

        def take(rest: Rest, content: Ingest | None) -> L:
            label, found = layer.label(remote=True), list[TakenBlob]()
            # What an earlier try has left is not worth the rest of it where it is wrong: all of it is fetched anew.
            other = None if content is not None and content.kept else found.append
            try:
                return self._taking.layer(rest, label=label, total=want.size, check=check, content=content, other=other)
            except InvalidInput as error:
                for one in found:
                    if one.blob.digest != want.digest:
                        raise self._damaged(want, one.blob.digest) from error
                raise

        try:
            return self._brought(want, take, self._taking.known, check)
        except InvalidInput as error:
            raise refused(error, "the layer", layer.name) from error

    def blob(self, blob: OfferedBlob, *, check: Callable[[], None] | None = None) -> TakenBlob:
        """Return a blob of an artifact, fetched and taken as it is; what an earlier pull has left is not fetched again.

        Raises:
            NotInRegistry, RegistryError: it cannot be had. DigestMismatch, SizeMismatch: it is another one.
            LimitExceeded, StorageError: as `Taking.blob` raises them.
        """
        want = Descriptor(_ANY, blob.digest, blob.size)

        def take(rest: Rest, content: Ingest | None) -> TakenBlob:
            label, algorithm = blob.digest.short, blob.digest.algorithm
            return self._taking.blob(
                rest, label=label, total=want.size, check=check, content=content, algorithm=algorithm
            )

        return self._brought(want, take, self._taking.known_blob, check)

    def _brought(
        self,
        want: Descriptor,
        take: Callable[[Rest, Ingest | None], B],
        known: Callable[[Digest], B | None],
        check: Callable[[], None] | None,
    ) -> B:
        """Return content, taken from what is left of it here and the rest of it from a place that has it."""
        places = self._places
        with interrupted_by(check):
            while True:
                content = self._taking.resume(want.digest, check)
                try:
                    # Another one may have brought it while this one waited.
                    found = known(want.digest)
                    if found is None:
                        found, places = self._fetched(want, content, places, take)
                    elif content is not None:
                        content.reject()
                except BaseException:
                    if content is not None:
                        content.discard()
                    raise
                if found is not None:
                    return found

    def _fetched(
        self,
        want: Descriptor,
        content: Ingest | None,
        places: Places,
        take: Callable[[Rest, Ingest | None], B],
    ) -> tuple[B | None, Places]:
        """Fetch the rest of some content.

        Returns:
            It; or nothing where what was left of it, or what a mirror sent, is wrong, and is forgotten now. With it
            the places to ask next.
        """
        kept = 0 if content is None else content.kept
        rest = Rest(content, places, want)
        try:
            if kept > want.size:
                raise SizeMismatch(f"{kept} bytes are left of {want.digest}, which has {want.size}")
            with rest:
                taken = take(rest, content)
            if taken.blob.digest != want.digest:
                if content is not None:
                    content.reject()
                taken.discard()
                raise self._damaged(want, taken.blob.digest)
        except (InvalidInput, IntegrityError) as error:
            if isinstance(error, LimitExceeded) and rest.others is None:
                raise
            if content is not None:
                content.reject()
            if kept:
                return None, places
            if rest.others is None:
                raise
            _log.warning(
                "a mirror of %s sends something else as %s; the next place is asked", self.words.name, want.digest
            )
            return None, rest.others
        return taken, places

    def _damaged(self, want: Descriptor, digest: Digest) -> DigestMismatch:
        return DigestMismatch(f"{self.words.name}'s blob {want.digest} has the digest {digest}; it is damaged")

    def top(self) -> bytes:
        """Return the bytes of what the name leads to. Raises what `offer` raises of it."""
        return self._top()[1].raw

    def manifest(self, choice: PlatformChoice) -> bytes:
        """Return the bytes of the manifest for a platform. Raises what `offer` raises."""
        digests = {entry.manifest for entry in self.offer(choice).images}
        return self._documents.document(str(next(iter(digests))), what="the manifest")

    # What leads to the images.

    def _top(self) -> tuple[Descriptor, Manifest | Index]:
        """Return what the name leads to, and keep it among the documents."""
        limit = min(MANIFEST_LIMIT, self.limits.manifest_size)
        asked = self.name.digest or self.name.tag or "latest"
        known = self.name.digest
        if known is None and self._is_known:
            known = self._places.head(asked).digest
        raw = None if known is None else self._kept(known)
        if raw is not None and known is not None:
            document = parse_manifest(raw)
            top = Descriptor(document.media_type, Digest.wrap(known), len(raw))
        else:
            fetched = self._places.manifest(asked, limit=limit)
            top, raw, document = fetched.descriptor, fetched.raw, fetched.parsed()
        self._documents.add(top.digest, raw)
        self._read[top.digest] = None
        return top, document

    def _fetch_index(self, index: Index, choice: PlatformChoice) -> PlatformChoice:
        """Fetch what is wanted of an index, and return the choice of platforms that this is."""
        named = list(self._leaves(index, 0, set()))
        leaves = [one for one in named if _is_manifest(one)]
        if self._every:
            self._fetch_whole(named)
            return choice
        one = PlatformChoice(choice.asked or choice.host, choice.asked or choice.host)
        told = [(leaf, platform) for leaf in leaves if (platform := _platform_of(leaf)) is not None]
        fitting = [(leaf, platform) for leaf, platform in told if one.keeps(platform)]
        if fitting:
            self._fetch_part(fitting[one.first([platform for _, platform in fitting])][0])
            return one
        untold = [leaf for leaf in leaves if leaf.platform is None]
        if not untold and told:
            raise one.nothing((platform for _, platform in told), self.words)
        documents = [parse_manifest(self._manifest(leaf)) for leaf in untold]
        if choice.asked is None and not told and not any(map(is_image, documents)):
            self._fetch_whole(named)
            return choice
        for document in documents:
            if isinstance(document, Manifest) and is_image(document):
                self._fetch_config(document)
        return one

    def _fetch_whole(self, named: Sequence[Descriptor]) -> None:
        """Fetch all manifests that an index names, with their configs, and promise what it names besides."""
        fetched = [partial(self._fetch_part, leaf) for leaf in named if _is_manifest(leaf)]
        in_parallel(fetched, workers=CONNECTIONS)
        for blob in named:
            # What is not a manifest may be anywhere.
            if not _is_manifest(blob) and self._places.has_blob(blob.digest):
                self._documents.promise(blob)

    def _fetch_referrers(self) -> Sequence[tuple[Descriptor, str | None]]:
        """Fetch what refers to the manifests that were fetched, and return it, with the tags that it needs."""
        found: dict[tuple[Digest, str | None], Descriptor] = {}
        asked: set[Digest] = set()
        while waiting := [digest for digest in self._read if digest not in asked]:
            asked.update(waiting)
            for subject in waiting:
                for referrer, tag in self._places.referrers(subject):
                    if (referrer.digest, tag) in found or not _is_manifest(referrer, or_index=True):
                        continue
                    document = parse_manifest(self._manifest(referrer))
                    # A list may say anything; what a manifest says itself is what leads to it.
                    if tag is None and (document.subject is None or document.subject.digest != subject):
                        continue
                    if len(found) >= _MOST_MANIFESTS:
                        msg = f"more than {_MOST_MANIFESTS} manifests refer to those of {self.words.name}"
                        raise self.words.error(f"{msg}; pull it without its referrers")
                    kind = document.media_type or referrer.media_type
                    found[referrer.digest, tag] = Descriptor(kind, referrer.digest, len(document.raw))
                    if isinstance(document, Index):
                        self._fetch_whole(list(self._leaves(document, 0, set())))
                    else:
                        self._fetch_parts(document)
        return tuple((descriptor, tag) for (_, tag), descriptor in found.items())

    def _leaves(self, index: Index, depth: int, seen: set[Digest]) -> Iterator[Descriptor]:
        """Yield what an index names that is not an index, through all indexes in it, each once."""
        if depth >= MAX_NESTING:
            raise self.words.error(
                f"the indexes of {self.words.name} are nested more than {MAX_NESTING} deep; it is refused"
            )
        for child in index.manifests:
            if child.digest in seen:
                continue
            seen.add(child.digest)
            if len(seen) > _MOST_MANIFESTS:
                msg = f"the index of {self.words.name} names more than {_MOST_MANIFESTS} manifests"
                raise self.words.error(f"{msg}; name one by its digest")
            if child.media_type in INDEX_TYPES:
                found = parse_manifest(self._manifest(child))
                if isinstance(found, Index):
                    yield from self._leaves(found, depth + 1, seen)
            else:
                yield child

    def _fetch_part(self, leaf: Descriptor, check: Callable[[], None] | None = None) -> None:
        with interrupted_by(check):
            document = parse_manifest(self._manifest(leaf))
            if isinstance(document, Manifest):
                self._fetch_parts(document)

    def _fetch_parts(self, document: Manifest) -> None:
        """Fetch the config of an image, or promise what an artifact names."""
        if is_image(document):
            self._fetch_config(document)
        else:
            self._promise(document)

    def _fetch_config(self, document: Manifest) -> None:
        config = document.config
        for layer in document.layers:
            # The registry may have what is at a place of its own; else that place does.
            if layer.urls:
                self._documents.promise(layer)
        if config.size > self.limits.config_size:
            raise self.limits.exceeded("config_size", f"the config {config.digest} has {config.size} bytes")
        raw = self._kept(config.digest)
        if raw is None:
            raw = self._places.document(config)
        self._documents.add(config.digest, raw)
        if not names_layers(raw, unread=True):
            self._promise(document)

    def _promise(self, document: Manifest) -> None:
        for blob in (document.config, *document.layers):
            self._documents.promise(blob)

    def _kept(self, digest: Digest) -> bytes | None:
        """Return a document that is here already, if it is what its digest says."""
        raw = self._held(digest)
        return raw if raw is not None and digest_of(raw, digest.algorithm) == Digest.wrap(digest) else None

    def _manifest(self, descriptor: Descriptor) -> bytes:
        """Return the manifest or index of a descriptor, and keep it among the documents."""
        limit = min(MANIFEST_LIMIT, self.limits.manifest_size)
        if descriptor.size > limit:
            raise self.limits.exceeded("manifest_size", f"the manifest {descriptor.digest} has {descriptor.size} bytes")
        raw = self._kept(descriptor.digest)
        if raw is None:
            raw = self._places.manifest(descriptor.digest, limit=limit).raw
        self._documents.add(descriptor.digest, raw)
        self._read[descriptor.digest] = None
        return raw


def _in_any_form(offer: Offer) -> Offer:
    """Return an offer whose layers need not be in the registry's own form."""
    images = (
        replace(entry, layers=tuple(replace(layer, any_form=True) for layer in entry.layers)) for entry in offer.images
    )
    return replace(offer, images=tuple(images))


def _platform_of(leaf: Descriptor) -> Platform | None:
    """Return the platform that a descriptor names, if it is one that an image can be for."""
    platform = leaf.platform
    return None if platform is None or _is_attestation(leaf) or not platform.os else platform


def _is_manifest(named: Descriptor, *, or_index: bool = False) -> bool:
    return not named.media_type or named.media_type in MANIFEST_TYPES or (or_index and named.media_type in INDEX_TYPES)


def _is_attestation(leaf: Descriptor) -> bool:
    return leaf.platform is not None and _UNKNOWN in {leaf.platform.os, leaf.platform.architecture}
