"""``orlop tag``."""

from __future__ import annotations

from orlop.cli.declared import argument, command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orlop.cli.session import Session


@command(epilog="Example: orlop tag alpine registry.example.com/mirror/alpine:3.20")
@argument("source", metavar="SOURCE", complete="names")
@argument("target", metavar="TARGET")
def tag(session: Session, source: str, target: str) -> None:
    """Add a name to an image.

    SOURCE may be an artifact, too. The new name of an index means all its platforms. TARGET without a tag gets the tag
    latest. If TARGET names another image already, the name moves.
    """
    with session.open() as images:
        images.tag(source, target)
