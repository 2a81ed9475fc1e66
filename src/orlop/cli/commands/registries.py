"""``orlop pull``: what to use until orlop pulls from registries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orlop.cli.declared import argument, command
from orlop.errors import NotSupported

if TYPE_CHECKING:
    from orlop.cli.session import Session

_ANYTHING = {"ignore_unknown_options": True, "allow_interspersed_args": False}


def _named(words: tuple[str, ...]) -> str:
    return next((word for word in reversed(words) if not word.startswith("-")), "NAME")


@command(
    context_settings=_ANYTHING,
    epilog="Example: skopeo copy -q docker://alpine docker-archive:/dev/stdout:alpine | orlop load",
)
@argument("words", metavar="NAME", nargs=-1, type=click.UNPROCESSED)
def pull(session: Session, words: tuple[str, ...]) -> None:
    """Explain how to pull an image with skopeo.

    orlop cannot pull from registries yet.
    """
    del session
    name = _named(words)
    # An archive has no name for a digest.
    reference = "" if "@" in name else f":{name}"
    msg = (
        f"orlop does not talk to registries yet; let skopeo fetch the image:"
        f" skopeo copy -q docker://{name} docker-archive:/dev/stdout{reference} | orlop load"
    )
    raise NotSupported(msg)
