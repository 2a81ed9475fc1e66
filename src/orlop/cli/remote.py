"""Images in registries that a command only looks at (``docker://NAME``): no layer is fetched, no store opened."""

from __future__ import annotations

import os
from contextlib import contextmanager

from orlop.cli.source import SCHEME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orlop.cli.session import Session
    from orlop.model.platform import Platform
    from orlop.service.look import RemoteImage


@contextmanager
def looking(
    session: Session, authfile: str | None, platform: Platform | None, *, every: bool = False
) -> Iterator[Callable[[str], list[RemoteImage]]]:
    """Return, for a block, what looks at a name in its registry."""
    from orlop.cli import network  # noqa: PLC0415 - most looks need no network
    from orlop.model.names import pulled_name  # noqa: PLC0415 - as above
    from orlop.service.look import images_of  # noqa: PLC0415 - as above

    session.log()
    with network.registries(os.environ, authfile=authfile) as registries:
        yield lambda name: images_of(registries, pulled_name(name.removeprefix(SCHEME)), platform, every=every)
