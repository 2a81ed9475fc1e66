"""``orlop inspect``."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial

from orlop.cli.declared import WrongUsage, argument, command, option
from orlop.cli.show import output, terminal
from orlop.cli.source import archive_option, are_remote, authfile_option, opened, platform_option
from orlop.errors import InvalidTemplate, OrlopError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from orlop.cli.session import Session
    from orlop.model.digest import ImageID
    from orlop.model.names import Name
    from orlop.model.platform import Platform
    from orlop.service.listing.inspect import ImageDetails
    from orlop.service.look import RemoteImage


@command(epilog="Example: orlop inspect user/app:1.0")
@option("--raw", is_flag=True, help="Print the config of one image, byte for byte.")
@option("-f", "--format", "form", metavar="FORMAT", help="Print json, or a template such as {{.Config.Env}}.")
@platform_option("Show only images of this platform; fail if there are none.")
@archive_option
@authfile_option
@argument("names", metavar="NAME...", nargs=-1, complete="names")
def inspect(
    session: Session,
    names: tuple[str, ...],
    *,
    platform: Platform | None,
    archive: str | None,
    authfile: str | None,
    raw: bool,
    form: str | None,
) -> int:
    """Show details of images as JSON.

    Prints an array with the keys of the Docker Engine API, or one line per image with --format. A NAME that does not
    exist is skipped, and the command exits with an error. With --archive and no NAME, shows all images of the archive.

    docker://NAME looks into a registry, without pulling layers; sizes are then those of the compressed layers.
    """
    if not names and archive is None:
        raise WrongUsage("Missing argument 'NAME...'.")
    is_remote = are_remote(names, archive)
    if raw:
        if form:
            raise WrongUsage("--raw and --format cannot be used together")
        if len(names) > 1:
            raise WrongUsage("--raw prints the config of one image; name one only")
        if is_remote:
            with _remote(session, authfile, platform) as look_at:
                config = look_at(names[0]).raw
        elif archive is not None:
            with opened(session, archive, platform) as looked_into:
                config = looked_into.raw_config(*names)
        else:
            with session.open() as images:
                config = images.raw_config(*names, platform=platform)
        if output.is_terminal():
            config = terminal.harmless_json(config.decode("utf-8", "replace")).encode()
        output.write(config)
        return 0
    from orlop.cli.show.inspect_json import array  # noqa: PLC0415 - the raw bytes need none
    from orlop.service.listing.image_document import image_document  # noqa: PLC0415 - as above

    write = _parsed(form) if form else None
    found, errors = [], []
    place = _inspecting(session, authfile, platform) if is_remote else _looking(session, archive, platform)
    with place as (look, every):
        for name in names or every():
            try:
                found.append(image_document(look(name)))
            except OrlopError as error:
                errors.append(error)
    if write is None:
        text = array(found)
        output.write(f"{terminal.harmless_json(text) if output.is_terminal() else text}\n")
    else:
        for document in found:
            write(document)
    for missing in errors:
        output.complain(f"Error: {missing}")
    return errors[0].exit_code if errors else 0


def _parsed(form: str) -> Callable[[dict[str, Any]], None]:
    """Return what prints an image as ``--format`` asks for it."""
    from orlop.cli.show.template.fill import Template  # noqa: PLC0415 - few inspections have one
    from orlop.cli.show.template.image import fill  # noqa: PLC0415 - as above

    try:
        template = Template("{{json .}}" if form == "json" else form)
    except InvalidTemplate as error:
        raise WrongUsage(str(error), "--format") from error

    def write(document: dict[str, Any]) -> None:
        text = fill(template, document)
        output.write(f"{terminal.harmless_text(text) if output.is_terminal() else text}\n")

    return write


@contextmanager
def _remote(
    session: Session, authfile: str | None, platform: Platform | None
) -> Iterator[Callable[[str], RemoteImage]]:
    """Open what looks at one image in a registry."""
    from orlop.cli.remote import looking  # noqa: PLC0415 - most looks are into a store

    with looking(session, authfile, platform) as look_at:
        yield lambda name: look_at(name)[0]


@contextmanager
def _inspecting(
    session: Session, authfile: str | None, platform: Platform | None
) -> Iterator[tuple[Callable[[Any], ImageDetails], Callable[[], list[ImageID]]]]:
    """Open the same, for inspections; nothing lists all images of a registry."""
    with _remote(session, authfile, platform) as look_at:
        yield lambda name: look_at(name).details, list


@contextmanager
def _looking(
    session: Session, archive: str | None, platform: Platform | None
) -> Iterator[tuple[Callable[[Name], ImageDetails], Callable[[], list[ImageID]]]]:
    """Open what is looked into; yield what inspects one image in it, and what lists all of an archive."""
    if archive is None:
        with session.open() as images:
            yield partial(images.inspect, platform=platform), list
    else:
        with opened(session, archive, platform) as looked_into:
            yield looked_into.inspect, lambda: [image.id for image in looked_into.images(all=True)]
