"""``orlop pull``."""

from __future__ import annotations

import os

from orlop.cli.declared import WrongUsage, argument, command, option
from orlop.cli.limits import limit_option
from orlop.cli.show import output, terminal
from orlop.cli.show.units import referring
from orlop.cli.source import platform_option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orlop.cli.session import Session
    from orlop.model.platform import Platform
    from orlop.model.reference import Reference


@command(epilog="Example: orlop pull --platform linux/arm64 alpine:3.20")
@platform_option("Pull the image for this platform. Default: this machine's.")
@option("--all-platforms", is_flag=True, help="Pull the images for all platforms.")
@option("--exact", is_flag=True, help="Pull layers even if the store has their content in another form.")
@option("--referrers", is_flag=True, help="Also pull the signatures, SBOMs and other artifacts that refer to an image.")
@option("--authfile", metavar="FILE", help="Use only the credentials in FILE. Default: those of docker and podman.")
@limit_option
@option("-q", "--quiet", is_flag=True, help="Print only names, without progress.")
@argument("names", metavar="NAME...", nargs=-1)
def pull(
    session: Session,
    names: tuple[str, ...],
    *,
    platform: Platform | None,
    all_platforms: bool,
    exact: bool,
    referrers: bool,
    authfile: str | None,
    quiet: bool,
) -> None:
    """Pull images and artifacts from registries.

    A NAME can have a tag (default: latest), a digest, or both; if both, the digest decides. Layers that are already in
    the store are not pulled again. An interrupted pull resumes when the command is run again.
    """
    if not names:
        raise WrongUsage("Missing argument 'NAME...'.")
    if all_platforms and platform is not None:
        raise WrongUsage("--platform and --all-platforms cannot be used together")
    asked = "all" if all_platforms else platform
    from orlop.cli import network  # noqa: PLC0415 - help needs none of it
    from orlop.cli.remote import registry_name  # noqa: PLC0415 - as above
    from orlop.model.names import pulled_name  # noqa: PLC0415 - as above
    from orlop.model.reference import Reference  # noqa: PLC0415 - as above
    from orlop.streams.arenas import share_arenas  # noqa: PLC0415 - as above

    share_arenas()
    wanted = [Reference.parse(registry_name(name)) for name in names]
    with session.open(downloads=True) as images, network.registries(os.environ, authfile=authfile) as registries:
        for given in wanted:
            name = pulled_name(given)
            if not quiet:
                _announce(given, name)
            with output.progress(quiet=quiet) as progress:
                report = images.pull(
                    name, registries, platform=asked, exact=exact, referrers=referrers, progress=progress
                )
            if report.referrers and not quiet:
                output.write(f"Pulled {referring(report.referrers)} to it\n")
            for line in (*(() if quiet else report.messages()), str(report.name)):
                output.write(f"{terminal.harmless(line) if output.is_terminal() else line}\n")


def _announce(given: Reference, name: Reference) -> None:
    if given.is_name_only:
        output.write(f"Using default tag: {name.tag}\n")
    output.write(f"{name.digest or name.tag}: Pulling from {name.path}\n")
    output.flush()
