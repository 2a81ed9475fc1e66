"""``import``: the tar of a root file system becomes an image of one layer."""

from __future__ import annotations

import os
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

from orlop.build.changes import apply_changes
from orlop.errors import InvalidInput
from orlop.intake.platforms import host_platform
from orlop.intake.taking import refused
from orlop.model.container import ContainerConfig
from orlop.model.dialect import Dialect
from orlop.model.image import History, Image, RootFS, V1Image
from orlop.model.timestamp import Timestamp
from orlop.model.urls import without_credentials
from orlop.registry.download import downloaded, is_url
from orlop.service.listing.lookup import platform_of
from orlop.streams.files import afterwards, explained, explaining, open_source
from orlop.streams.given import check_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orlop.model.digest import DiffID, ImageID
    from orlop.model.limits import Limits
    from orlop.model.platform import Platform
    from orlop.model.proxies import Proxies
    from orlop.model.reference import Reference
    from orlop.registry.download import Readable
    from orlop.store.root import Store

_SECOND = 1_000_000_000


def import_image(
    store: Store,
    source: BinaryIO | str | os.PathLike[str],
    name: Reference | None = None,
    *,
    changes: Sequence[str] = (),
    message: str | None = None,
    platform: Platform | str | None = None,
    limits: Limits | None = None,
    proxies: Proxies | None = None,
) -> ImageID:
    """See `orlop.service.ImageService.import_image`."""
    check_file(source, "what is imported")
    store.require_writable()
    # Everything that may be wrong is looked at before a byte is read.
    config = apply_changes(ContainerConfig(), changes)
    host = host_platform()
    wanted = platform_of(platform) or host
    comment = (
        message or f"Imported from {without_credentials(source) if isinstance(source, str) and is_url(source) else '-'}"
    )
    with _opened(source, proxies) as stream:
        layer = store.layers.register(stream, limits=limits)
    with afterwards(partial(store.layers.release, layer)):
        created = Timestamp.from_unix(*divmod(store.now(), _SECOND))
        raw = _image(layer.diff_id, config, wanted, created, comment).to_json(Dialect.ENGINE_20_10)
        image = Image.from_json(raw)
        with store.metadata.write():
            image_id = store.images.keep(image)
            store.images.set_last_used(image_id)
            if name is not None:
                store.references.set(name, image_id)
                store.events.image("tag", image_id, name=name.familiar, labels=config.labels)
            store.events.image("import", image_id, labels=config.labels)
    return image_id


def _image(diff_id: DiffID, config: ContainerConfig, platform: Platform, created: Timestamp, comment: str) -> Image:
    return Image(
        V1Image(
            comment=comment,
            created=created,
            config=config,
            architecture=platform.architecture,
            variant=platform.variant,
            os=platform.os,
        ),
        rootfs=RootFS(diff_ids=(diff_id,)),
        history=(History(created=created, comment=comment),),
    )


@contextmanager
def _opened(source: BinaryIO | str | os.PathLike[str], proxies: Proxies | None) -> Iterator[Readable]:
    if isinstance(source, str) and is_url(source):
        with downloaded(source, proxies) as body:
            yield body
    elif isinstance(source, (str, os.PathLike)):
        name = os.fspath(source)
        file = open(open_source(source), "rb", buffering=0)  # noqa: SIM115 - a close that fails is explained as well
        try:
            yield _Explained(file, name)
        except InvalidInput as error:
            raise refused(error, "the file", name) from error
        finally:
            with explaining("read", name):
                file.close()
    else:
        yield _Explained(source, "the stream")


class _Explained:
    """A stream whose errors of the system are explained."""

    def __init__(self, source: Readable, what: str) -> None:
        self._source = source
        self._what = what

    def read(self, n: int, /) -> bytes:
        """Return at most ``n`` bytes."""
        try:
            return self._source.read(n)
        except OSError as error:
            raise explained(error, "read", self._what) from error
