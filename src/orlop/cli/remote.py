"""Images in registries that a command only looks at (``docker://NAME``): no layer is fetched, no store opened."""

from __future__ import annotations

import os
from contextlib import contextmanager

from orlop.cli.source import SCHEME
from orlop.errors import InvalidReference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Final

    from orlop.cli.session import Session
    from orlop.model.platform import Platform
    from orlop.service.look import RemoteImage

_ELSEWHERE: Final = frozenset(
    (
        "containers-storage",
        "dir",
        "docker-archive",
        "docker-daemon",
        "oci",
        "oci-archive",
        "ostree",
        "root",
        "sif",
        "store",
    )
)
"""The words before the colon of `orlop copy`, skopeo and podman that name something other than a registry."""


def registry_name(text: str) -> str:
    """Return a name without ``docker://``, which may stand before it where a registry is meant anyway.

    Raises:
        InvalidReference: it names a place that is not a registry. As a repository of Docker Hub with a tag it would
            make a registry look for something else.
    """
    if text.startswith(SCHEME):
        return text.removeprefix(SCHEME)
    word, colon, _ = text.partition(":")
    if colon and word in _ELSEWHERE:
        raise InvalidReference(
            f"{text!r} is not in a registry, where this command looks; copy it with `orlop copy`, or write"
            f" {SCHEME} before the name of a repository"
        )
    return text


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
