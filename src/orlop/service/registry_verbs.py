"""The verbs of a store that speak to registries."""

from __future__ import annotations

from orlop.model.names import image_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from orlop.model.limits import Limits
    from orlop.model.names import Name
    from orlop.model.platform import Platform
    from orlop.model.progress import Progress
    from orlop.model.proxies import Proxies
    from orlop.model.reference import Reference
    from orlop.registry.credentials import Keychain
    from orlop.registry.registries import Registries
    from orlop.service.copy import CopyReport
    from orlop.service.import_registry import RegistryImport
    from orlop.service.pull import PullReport
    from orlop.service.push import PushReport
    from orlop.service.saving import AskedPlatforms
    from orlop.service.sync.plan import SyncPlan
    from orlop.service.sync.report import SyncedTag, SyncReport
    from orlop.store.root import Store


class RegistryVerbs:
    """What `ImageService` does with registries."""

    _store: Store
    proxies: Proxies | None
    network: Callable[[Keychain], AbstractContextManager[Registries]] | None = None
    """Opens, for a block, registries with the credentials of a keychain; None: without files of mirrors and trust."""

    @property
    def store(self) -> Store:
        """The store itself, for the other verbs of this room."""
        return self._store

    def reached(self, keychain: Keychain) -> AbstractContextManager[Registries]:
        """Return registries for a block, as the owner of these credentials sees them."""
        from orlop.service.network import reached  # noqa: PLC0415 - few verbs need a network

        return reached(None, self.proxies, keychain) if self.network is None else self.network(keychain)

    def pull(
        self,
        name: str | Reference,
        registries: Registries | None = None,
        *,
        platform: Platform | str | None = None,
        exact: bool = False,
        referrers: bool = False,
        progress: Progress | None = None,
    ) -> PullReport:
        """Pull a name from its registry. All or nothing, but for layers, which a later pull need not fetch again.

        Manifests and indexes are kept as they came, and so are artifacts, and all that an index names where ``all``
        platforms are pulled. A layer whose content the store has is not fetched, in whichever form that is; one that
        breaks off goes on later, also in another process. Idempotent.

        Args:
            name: with a tag, by default ``latest``, or a digest, which decides where both are given.
            registries: how registries are reached; by default as anybody, through the proxies of `orlop.open`.
            platform: of an index, the image for this one, or ``all`` of them, where the name then points to this
                machine's; by default this machine's. What is not an index must be for it, where it is given.
            exact: fetch layers also that are there in another form only, so that the manifest can be written out
                unchanged.
            referrers: pull what refers to it, too: signatures, SBOMs and other artifacts.
            progress: called with one event at a time, by the threads that do the work; what it raises ends the pull.

        Raises:
            NotInRegistry: there is nothing of that name. PlatformNotFound: nor for the platform. RegistryDenied,
            RegistryBusy, RegistryUnreachable, RegistryError: the registry refuses or fails. IntegrityError,
            InvalidInput: what it sends is not what it says, or beyond a limit. StorageError: it cannot be kept. No
            name has changed then.
        """
        from orlop.model.names import pulled_name  # noqa: PLC0415 - few verbs need a network
        from orlop.service.network import reached  # noqa: PLC0415 - as above
        from orlop.service.pull import pull  # noqa: PLC0415 - as above

        wanted = pulled_name(name)
        with reached(registries, self.proxies) as found:
            return pull(self._store, wanted, found, platform, exact=exact, referrers=referrers, progress=progress)

    def push(
        self,
        names: Sequence[Name],
        registries: Registries | None = None,
        *,
        all_tags: bool = False,
        referrers: bool = False,
        platform: AskedPlatforms = None,
        compress: str | None = None,
        progress: Progress | None = None,
        begun: Callable[[Reference], object] | None = None,
    ) -> PushReport:
        """Push images and artifacts to the registries of their names. What is there is not sent again; idempotent.

        The manifest or index that an image came with goes out unchanged where the store has all that it names, so that
        its digest stays; else one is made, the same for equal images. A tag is set when all it stands for is there. A
        push that breaks off is gone on with by the next one: large layers from the last piece that was acknowledged.

        Args:
            names: what to push; a name without a tag stands for ``latest``.
            registries: how registries are reached; by default as anybody, through the proxies of `orlop.open`.
            all_tags: push all tags of each repository that is named.
            referrers: push what refers to the images, too: signatures, SBOMs and other artifacts.
            platform: the one that every image must be for, of an index its one manifest; or ``all``, whole indexes.
            compress: the form of layers, as `save` has it; by default as they came.
            progress: called with one event at a time, by a thread of its own; what it raises ends the push.
            begun: called with each repository before anything is sent there.

        Raises:
            InvalidInput: a name cannot be pushed. ReferenceNotFound: an image is not there. RegistryError: a registry
            refuses, or fails. IntegrityError: a layer is damaged. Conflict: the registry lacks a part of an index.
        """
        from orlop.service.network import reached  # noqa: PLC0415 - few verbs need a network
        from orlop.service.push import push  # noqa: PLC0415 - as above

        with reached(registries, self.proxies) as found:
            return push(
                self._store,
                image_names(names),
                found,
                all_tags=all_tags,
                referrers=referrers,
                platform=platform,
                compress=compress,
                progress=progress,
                begun=begun,
            )

    def import_registry(
        self,
        root: str | os.PathLike[str],
        *,
        host: str,
        untagged: bool = False,
        link: bool = False,
        progress: Progress | None = None,
        limits: Limits | None = None,
    ) -> RegistryImport:
        """Import what distribution (``registry:2``) keeps in a directory, under the digests that it has there.

        The registry may be running. Each manifest with a tag is taken in a transaction of its own, with all that it
        names and all that refers to it; every digest is verified. One that is damaged is reported, and the others are
        taken. Idempotent: what is there is not read again, so that an import that was interrupted can be repeated.

        Args:
            root: the root directory of its file system driver; nothing below it is written, but see ``link``.
            host: the host of the names that images get, as in ``registry.example.com``: the repository ``team/app``
                becomes ``registry.example.com/team/app``.
            untagged: take manifests without a tag, too.
            link: where the file system cannot clone files, make hard links to blobs that belong to the store's owner,
                instead of copies; they become read-only.
            progress: called with one event at a time, by the threads that do the work.
            limits: what an image may ask for, instead of the limits of the store.

        Raises:
            InvalidRoot: it is not such a directory. InvalidInput: ``host`` is not a host. StorageError: the directory
            cannot be read, or the store not be written; what was taken before stays.
        """
        from orlop.service.import_registry import import_registry  # noqa: PLC0415 - few stores ever need it

        return import_registry(
            self._store, root, host=host, untagged=untagged, link=link, progress=progress, limits=limits
        )

    def copy(
        self,
        source: str,
        target: str,
        registries: Registries | None = None,
        *,
        platform: Platform | str | None = None,
        all_platforms: bool = False,
        referrers: bool = False,
        progress: Progress | None = None,
    ) -> CopyReport:
        """Copy images from one place to another, of which either may be this store. Digests stay; idempotent.

        Args:
            source: ``docker://NAME``, ``oci:DIR[:NAME]``, ``oci-archive:FILE[:NAME]``, ``docker-archive:FILE[:NAME]``,
                ``dir:DIR``, ``store:NAME``; a path that is there, or begins with ``/``, ``./`` or ``../``; else a name
                in this store.
            target: the same. An archive or a new directory appears whole, or not at all; tags are set last.
            registries: how registries are reached; by default as anybody, through the proxies of `orlop.open`.
            platform: which image of an index is copied; by default the one for this machine.
            all_platforms: copy whole indexes.
            referrers: copy what refers to the images, too: signatures, SBOMs and other artifacts.
            progress: called with one event at a time, by a thread of its own; what it raises ends the copy.

        Raises:
            InvalidInput: a place cannot be read or written. NotFound: an image is not there. PlatformNotFound: nor for
            the platform. IntegrityError: something is damaged. RegistryError: a registry refuses, or fails.
            StorageError, TargetExists: the target cannot be written.
        """
        from contextlib import nullcontext  # noqa: PLC0415 - few verbs need a network

        from orlop.service.copy import Copy  # noqa: PLC0415 - as above
        from orlop.service.network import reached  # noqa: PLC0415 - as above

        with reached(registries, self.proxies) as found:
            return Copy(
                found,
                lambda: nullcontext(self),
                platform=platform,
                all_platforms=all_platforms,
                with_referrers=referrers,
                progress=progress,
                # A store elsewhere, or in memory, has a name here, which is not a path.
                store_root=(lambda: self._store.root) if self._store.is_local else None,
                limits=self._store.limits,
            ).run(source, target)

    def sync(
        self,
        plan: SyncPlan | str | os.PathLike[str],
        registries: Registries | None = None,
        *,
        dry_run: bool = False,
        delete: bool = False,
        state: str | os.PathLike[str] | None = None,
        progress: Progress | None = None,
        told: Callable[[SyncedTag], object] = lambda _: None,
    ) -> SyncReport:
        """Bring what targets have to what sources have, tag by tag, as a plan says. Idempotent; see `SyncPlan`.

        A tag, or an entry of the plan, that fails is in the report, and harms no other one. What is unchanged costs a
        HEAD request at each side. A run that was interrupted is gone on with by the next one.

        Args:
            plan: what is to be where, or the path of a file that says so. Places in it may be in this store.
            registries: how registries are reached; by default as anybody, through the proxies of `orlop.open`.
            dry_run: find out what would be done, and how many bytes that is, and change nothing.
            delete: remove what the sources of mirrors have dropped.
            state: a file in which is remembered what was done; without it, indexes of which some platforms are copied
                are read again in each run, and budgets count for this run alone.
            progress: called with one event of a layer at a time, by a thread of its own; what it raises ends the sync.
            told: called with each tag when it is done.

        Raises:
            ReadFailed, InvalidSettings: the file cannot be used. Conflict: another sync uses the state.
        """
        from contextlib import nullcontext  # noqa: PLC0415 - few verbs need a network

        from orlop.service.network import reached  # noqa: PLC0415 - as above
        from orlop.service.sync.plan import SyncPlan  # noqa: PLC0415 - as above
        from orlop.service.sync.state import SyncState, state_at  # noqa: PLC0415 - as above
        from orlop.service.sync.verb import Sync  # noqa: PLC0415 - as above

        wanted = plan if isinstance(plan, SyncPlan) else SyncPlan.read(plan)
        place = None if state is None else lambda: state_at(state)
        with reached(registries, self.proxies) as found, SyncState.opened(place) as remembered:
            return Sync(
                wanted,
                found,
                lambda: nullcontext(self),
                remembered,
                progress=progress,
                told=told,
                limits=self._store.limits,
            ).run(dry_run=dry_run, delete=delete)
