"""``orlop have``."""

from __future__ import annotations

from orlop.cli.declared import argument, command
from orlop.cli.show import output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orlop.cli.session import Session


@command(epilog="Example: ssh HOST orlop have | orlop save --without - user/app:2.0 | ssh HOST orlop load")
@argument("names", metavar="[NAME...]", nargs=-1, complete="names")
def have(session: Session, names: tuple[str, ...]) -> None:
    """List the layers in the store, for `orlop save --without`.

    Prints one line for each: a digest and "blob", for the bytes of a layer as they are stored, or "chain", for a stack
    of uncompressed layers. The first line has the version of the format. With names, lists only layers of these images.
    """
    with session.open() as images:
        had = images.have(names)
    output.write("".join(f"{line}\n" for line in had.lines()))
    output.flush()
