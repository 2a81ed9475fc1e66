"""``orlop push``."""

from __future__ import annotations

import os
from contextlib import contextmanager

from orlop.cli.declared import WrongUsage, argument, command, option
from orlop.cli.show import output, terminal
from orlop.cli.show.units import referring
from orlop.cli.source import read_platform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.cli.session import Session
    from orlop.model.platform import Platform
    from orlop.model.progress import Progress, ProgressEvent
    from orlop.model.reference import Reference


def _read_platform(value: str) -> Platform | str:
    return value if value == "all" else read_platform(value)


@command(epilog="Example: orlop push registry.example.com/team/app:1.0")
@option("-a", "--all-tags", is_flag=True, help="Push all tags of each named repository.")
@option("--referrers", is_flag=True, help="Also push the signatures, SBOMs and other artifacts that refer to an image.")
@option(
    "--platform",
    read=_read_platform,
    metavar="OS/ARCH",
    help="Push only the image for this platform; fail if there is none. With all, push whole indexes or fail.",
    complete="platforms",
)
@option(
    "--compress",
    metavar="FORM",
    help="Compress layers as none, gzip[:LEVEL] or zstd[:LEVEL] instead of keeping their form. Manifests and digests"
    " change.",
)
@option("--authfile", metavar="FILE", help="Use only the credentials in FILE. Default: those of docker and podman.")
@option("-q", "--quiet", is_flag=True, help="Print only the pushed names, without progress.")
@argument("names", metavar="NAME...", nargs=-1, required=True, complete="names")
def push(
    session: Session,
    names: tuple[str, ...],
    *,
    all_tags: bool,
    referrers: bool,
    platform: Platform | str | None,
    compress: str | None,
    authfile: str | None,
    quiet: bool,
) -> None:
    """Push images and artifacts to their registries.

    NAME begins with a registry, as in registry.example.com/team/app:1.0; without one, it is on Docker Hub. The default
    tag is latest. An image that came with a manifest keeps it, and so its digest. Layers that the registry already has
    are not sent. An interrupted push resumes when the command is run again.
    """
    from orlop.cli import network  # noqa: PLC0415 - help needs none of it
    from orlop.model.names import image_names  # noqa: PLC0415 - as above

    if compress is not None:
        _check(compress)
    wanted = image_names(names)
    with (
        session.open() as images,
        network.registries(os.environ, authfile=authfile) as registries,
        _progress(quiet=quiet) as progress,
    ):
        report = images.push(
            wanted,
            registries,
            all_tags=all_tags,
            referrers=referrers,
            platform=platform,
            compress=compress,
            progress=progress,
            begun=None if quiet else _begin,
        )
    for line in report.messages():
        output.complain(terminal.harmless(line))
    for one in report.tags:
        text = str(one.reference) if quiet else f"{one.reference.tag}: digest: {one.digest} size: {one.size}"
        output.write(f"{text}\n")
    if report.referrers and not quiet:
        output.write(f"Pushed {referring(report.referrers)} to them\n")


def _check(compress: str) -> None:
    """Raise `WrongUsage` for what is not a compression."""
    from orlop.errors import InvalidInput  # noqa: PLC0415 - only where the option is given
    from orlop.streams.compressing import Recipe  # noqa: PLC0415 - as above

    try:
        Recipe.parse(compress)
    except InvalidInput as error:
        raise WrongUsage(str(error), "--compress") from error


def _begin(repository: Reference) -> None:
    output.write(f"The push refers to repository [{repository.name}]\n")
    output.flush()


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Progress | None]:
    """Return, for a block, what draws a bar for each layer, or prints a line for it where nobody sees bars."""
    with output.progress(quiet=quiet) as drawn:
        yield drawn if drawn is not None or quiet else _tell


def _tell(event: ProgressEvent) -> None:
    from orlop.model.progress import LayerDone, LayerExists  # noqa: PLC0415 - as above

    if isinstance(event, LayerExists):
        what = f"Mounted from {event.mounted_from}" if event.mounted_from else "Layer already exists"
    elif isinstance(event, LayerDone):
        what = "Pushed"
    else:
        return
    output.write(f"{event.layer}: {what}\n")
    output.flush()
