"""The one way to open a store by its name: the path of a directory, or the URL of a store beyond one machine."""

from __future__ import annotations

from functools import partial

from orlop.model.limits import DEFAULT_LIMITS
from orlop.store.local import local_store
from orlop.streams.given import path_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from typing import TypeAlias

    from orlop.model.limits import Limits
    from orlop.model.store_url import StoreURL
    from orlop.store.root import Store

    Root: TypeAlias = str | os.PathLike[str] | StoreURL


def url_of(root: object) -> StoreURL | None:
    """Return the URL of a store beyond one machine, or nothing where a root is a directory.

    Raises:
        InvalidInput: it is a URL, and not a valid one.
    """
    if not isinstance(root, str):
        from orlop.model.store_url import StoreURL  # noqa: PLC0415 - most roots are texts

        return root if isinstance(root, StoreURL) else None
    if "://" in root:
        from orlop.model.store_url import StoreURL, is_store_url  # noqa: PLC0415 - as above

        return StoreURL.parse(root) if is_store_url(root) else None
    return None


def open_store(
    root: Root,
    *,
    create: bool = True,
    allow_network: bool = False,
    allow_foreign: bool = False,
    mending: bool = False,
    limits: Limits = DEFAULT_LIMITS,
    now: Callable[[], int] | None = None,
) -> Store:
    """Open the store that a root names.

    Args:
        root: a directory, see `orlop.store.local.local_store`, or a URL, see `orlop.store.remote.remote_store`.
        create: make a store where there is none. One beyond this machine is made by `orlop.stores.init` alone.
        allow_network: see `local_store`, as for the next; what is not on a file system has none of that.
        allow_foreign: as above.
        mending: believe nothing that can be looked at, see both.
        limits: what an archive or a layer may ask for that comes in.
        now: the clock, in nanoseconds since 1970; by default that of this machine, or of the database.

    Raises:
        WrongType: the root is neither a path nor a URL. InvalidInput: it is a URL, and not a valid one. Beside it, what
        opens the store raises.
    """
    url = url_of(root)
    if url is not None:
        from orlop.store.remote import remote_store  # noqa: PLC0415 - most stores are directories

        return remote_store(url, mending=mending, limits=limits, now=now)
    opened = partial(
        local_store,
        path_text(root, "the root of a store"),  # type: ignore[arg-type]  # a path, or refused here
        create=create,
        allow_network=allow_network,
        allow_foreign=allow_foreign,
        mending=mending,
        limits=limits,
    )
    return opened() if now is None else opened(now=now)
