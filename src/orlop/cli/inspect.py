"""``orlop inspect``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orlop.cli import output
from orlop.cli.flags import Command
from orlop.errors import OrlopError

if TYPE_CHECKING:
    from orlop.cli.session import Session


@click.command(cls=Command, epilog="Example: orlop inspect user/app:1.0")
@click.option("--raw", is_flag=True, help="Print the config of one image, byte for byte as it was loaded.")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.pass_context
def inspect(context: click.Context, names: tuple[str, ...], *, raw: bool) -> None:
    """Print all that is known of images, as JSON.

    It is an array, with the keys of the Docker Engine API. Names that are not
    there are left out, and the command ends with an error.
    """
    session: Session = context.obj
    if raw:
        if len(names) > 1:
            raise click.UsageError("--raw prints the config of one image; name one only")
        with session.open() as images:
            config = images.raw_config(names[0])
        if output.is_terminal():
            config = output.harmless_json(config.decode("utf-8", "replace")).encode()
        output.write(config)
        return
    from orlop.cli.api_json import array, engine_image  # noqa: PLC0415 - the raw bytes need none

    found, errors = [], []
    with session.open() as images:
        for name in names:
            try:
                found.append(engine_image(images.inspect(name)))
            except OrlopError as error:
                errors.append(error)
    text = array(found)
    output.write(f"{output.harmless_json(text) if output.is_terminal() else text}\n")
    for missing in errors:
        output.complain(f"Error: {missing}")
    context.exit(errors[0].exit_code if errors else 0)
