"""A store beyond one machine: the one place that composes PostgreSQL and an object store."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from orlop.errors import NotSupported
from orlop.model.limits import DEFAULT_LIMITS

if TYPE_CHECKING:
    from collections.abc import Callable

    from orlop.model.limits import Limits
    from orlop.model.store_url import StoreURL
    from orlop.store.root import Store


def remote_store(url: StoreURL, *, limits: Limits = DEFAULT_LIMITS, now: Callable[[], int] = time.time_ns) -> Store:
    """Open the store that a URL names."""
    raise NotSupported(f"{url} {limits} {now}")


def init_store(url: StoreURL) -> Store:
    """Prepare the database and the bucket that a URL names, and open the store in them."""
    raise NotSupported(f"{url}")
