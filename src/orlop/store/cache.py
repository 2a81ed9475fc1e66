"""The build cache: finds the image that a build step would make, if it was made before.

The counterparts of ``LocalImageCache`` and ``ImageCache`` of the Go package ``docker/image/cache``, with the rules that
later engines added: a cache that compares too little can be poisoned by an image that was made for that purpose
(CVE-2024-24557).
"""

from __future__ import annotations

from dataclasses import astuple, replace
from typing import TYPE_CHECKING

from orlop.errors import OrlopError
from orlop.model.dialect import Dialect
from orlop.model.image import Image, RootFS, V1Image, check_history
from orlop.model.logger import Logger
from orlop.model.timestamp import ZERO

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orlop.model.container import ContainerConfig
    from orlop.model.digest import DiffID, ImageID
    from orlop.model.image import History
    from orlop.model.platform import Platform
    from orlop.store.images import ImageStore

_log = Logger(__name__)

# The variant that a processor has where none is named.
_USUAL_VARIANTS = {"amd64": "v1", "arm": "v7", "arm64": "v8"}


class LocalImageCache:
    """Finds images that were built here, by their parents and the containers that they were committed from."""

    def __init__(self, images: ImageStore) -> None:
        self._images = images

    def get_cache(
        self, parent: ImageID | None, config: ContainerConfig, platform: Platform | None = None
    ) -> ImageID | None:
        """Return the newest image that the step would make, or nothing.

        It is a child of the parent (without one, an image without a parent), was built here, names its operating system
        and its architecture, says when it was made, and its container config is the wanted one in every field but
        ``image``, ``hostname`` and ``domainname``. A damaged image is passed over with a warning.

        Args:
            parent: the image that the step starts from; none for a build from nothing.
            config: the config of the step's container.
            platform: what the result is to run on; any that is named if not given.
        """
        wanted = _comparable(config)
        newest: Image | None = None
        for image in self._built_here(self._orphans() if parent is None else self._images.children(parent)):
            if not _is_for(image.platform, platform) or image.v1.created is None or image.created.is_zero:
                continue
            if _comparable(image.container_config) == wanted and (newest is None or newest.created < image.created):
                newest = image
        return None if newest is None else newest.id

    def _built_here(self, image_ids: Iterable[ImageID]) -> Iterator[Image]:
        for image_id in image_ids:
            # The mark is looked at first: it costs less than reading a config.
            if not self._images.is_built_locally(image_id):
                continue
            try:
                yield self._images.get(image_id)
            except OrlopError as error:
                _log.warning("skipping the image %s: %s", image_id, error)

    def _orphans(self) -> Iterator[ImageID]:
        return (image_id for image_id in self._images.ids() if self._images.get_parent(image_id) is None)


class ImageCache:
    """Finds images by history: those of images that were named as sources, else those that were built here.

    A source, such as an image that was pulled, carries no intermediate images. Where its history goes on from the
    parent's with the wanted step, the image after that step is made again from it. Not safe to share between threads.
    """

    def __init__(self, images: ImageStore, *, docker_version: str = "", dialect: Dialect = Dialect.REFERENCE) -> None:
        """Make a cache without sources.

        Args:
            images: the store.
            docker_version: what images that are made again name as the engine that made them.
            dialect: how they are written, so what their IDs are.
        """
        self._images = images
        self._local = LocalImageCache(images)
        self._docker_version = docker_version
        self._dialect = dialect
        self._sources: list[Image] = []

    def populate(self, image: Image) -> None:
        """Add a source: an image of the store, as `ImageStore.get` gives it.

        Raises:
            InvalidImage: its history names more layers than it has.
        """
        check_history(image)
        self._sources.append(image)

    def get_cache(
        self, parent: ImageID | None, config: ContainerConfig, platform: Platform | None = None
    ) -> ImageID | None:
        """Return the image that the step would make, or nothing; see `LocalImageCache.get_cache` for the arguments.

        An image that was built here counts where a source descends from it. Else a source counts whose history begins
        with all of the parent's, and goes on with the words of ``config.cmd``; the image after that step is created,
        with its parent, and from then on only that source counts.

        Raises:
            ImageNotFound: the parent, or a source, is not in the store. LayerNotFound: a layer of a source is not.
        """
        found = self._local.get_cache(parent, config, platform)
        if found is not None and any(self._descends(source.id, found) for source in self._sources):
            return found
        below = None if parent is None else self._images.get(parent)
        done = 0 if below is None else len(below.history)
        for source in self._sources:
            if not _continues(source, below) or " ".join(config.cmd or ()) != source.history[done].created_by:
                continue
            if platform is not None and not _is_for(source.platform, platform):
                continue
            if len(source.history) == done + 1:
                made = source.id
            else:
                made = self._images.create(self._step(below, source, config).to_json(self._dialect))
                # Another source might go on otherwise: a build follows one.
                self._sources = [source]
            if parent is not None:
                self._images.set_parent(made, parent)
            return made
        return None

    def _step(self, below: Image | None, source: Image, config: ContainerConfig) -> Image:
        """Make the image after the first step of a source that the parent does not have."""
        history = () if below is None else below.history
        rootfs = RootFS() if below is None else below.rootfs
        step = source.history[len(history)]
        diff_id = _diff_id_of(source, len(history))
        return Image(
            v1=V1Image(
                created=step.created,
                docker_version=self._docker_version,
                author=source.author,
                config=config,
                architecture=source.architecture,
                variant=source.variant,
                os=source.os,
            ),
            rootfs=rootfs if diff_id is None else rootfs.append(diff_id),
            history=(*history, step),
            os_version=source.os_version,
            os_features=source.os_features,
        )

    def _descends(self, image_id: ImageID, ancestor: ImageID) -> bool:
        seen: set[ImageID] = set()
        above = self._images.get_parent(image_id)
        while above is not None and above not in seen:
            if above == ancestor:
                return True
            seen.add(above)
            above = self._images.get_parent(above)
        return False


def _comparable(config: ContainerConfig) -> tuple[object, ...]:
    """Return all that two configs must share; nothing and an empty list or map are the same to engines."""
    health = config.healthcheck
    return tuple(
        _plain(value)
        for value in (
            *astuple(replace(config, image="", hostname="", domainname="", healthcheck=None, labels=None)),
            None if health is None else tuple(map(_plain, astuple(health))),
            dict(config.labels or {}),
        )
    )


def _plain(value: object) -> object:
    return None if value in ((), frozenset()) else value


def _is_for(platform: Platform, wanted: Platform | None) -> bool:
    if not platform.os or not platform.architecture:
        return False
    if wanted is None:
        return True
    # Windows runs images of its own version alone; elsewhere a version says nothing.
    return (platform.os, platform.architecture, _variant(platform)) == (
        wanted.os,
        wanted.architecture,
        _variant(wanted),
    ) and not (platform.os == "windows" and wanted.os_version and platform.os_version != wanted.os_version)


def _variant(platform: Platform) -> str:
    return platform.variant or _USUAL_VARIANTS.get(platform.architecture, "")


def _continues(image: Image, below: Image | None) -> bool:
    """Return whether an image's history and layers begin with all of another's, and its history goes on."""
    if below is None:
        return bool(image.history)
    steps, layers = len(below.history), len(below.rootfs.diff_ids)
    return (
        len(image.history) > steps
        and image.rootfs.diff_ids[:layers] == below.rootfs.diff_ids
        and all(_same_step(one, other) for one, other in zip(below.history, image.history, strict=False))
    )


def _same_step(one: History, other: History) -> bool:
    return replace(one, created=one.created or ZERO) == replace(other, created=other.created or ZERO)


def _diff_id_of(image: Image, index: int) -> DiffID | None:
    """Return the layer that one step of an image's history made, if it made one."""
    if image.history[index].empty_layer:
        return None
    return image.rootfs.diff_ids[sum(not step.empty_layer for step in image.history[:index])]
