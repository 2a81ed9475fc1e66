"""``orlop push``: what to use until orlop talks to registries."""

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
    epilog="Example: orlop save -o app.tar user/app:1 && skopeo copy docker-archive:app.tar docker://user/app:1",
)
@argument("words", metavar="NAME", nargs=-1, type=click.UNPROCESSED)
def push(session: Session, words: tuple[str, ...]) -> None:
    """Explain how to push an image with skopeo.

    orlop cannot push to registries yet.
    """
    del session
    name = _named(words)
    msg = (
        f"orlop does not talk to registries yet; let skopeo send the image:"
        f" orlop save -o image.tar {name} && skopeo copy docker-archive:image.tar docker://{name}"
    )
    raise NotSupported(msg)
