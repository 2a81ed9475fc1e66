"""``orlop copy``."""

from __future__ import annotations

import os

from orlop.cli.declared import argument, command, option
from orlop.cli.limits import archive_limit_option
from orlop.cli.show import output, terminal
from orlop.cli.show.units import referring
from orlop.cli.source import platform_option, temporary_folder
from orlop.model.limits import DEFAULT_LIMITS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orlop.cli.session import Session
    from orlop.model.platform import Platform


@command(epilog="Example: orlop copy --all-platforms docker://alpine oci:layout")
@platform_option("Copy the image for this platform if there are several. Default: this machine's.")
@option("--all-platforms", is_flag=True, help="Copy whole indexes, with all platforms.")
@option("--referrers", is_flag=True, help="Also copy the signatures, SBOMs and other artifacts that refer to an image.")
@archive_limit_option
@option("--authfile", metavar="FILE", help="Use only the credentials in FILE. Default: those of docker and podman.")
@option("-q", "--quiet", is_flag=True, help="Print only digests, without progress.")
@argument("source", metavar="SOURCE", required=True)
@argument("target", metavar="TARGET", required=True)
def copy(
    session: Session,
    source: str,
    target: str,
    *,
    platform: Platform | None,
    all_platforms: bool,
    referrers: bool,
    authfile: str | None,
    quiet: bool,
) -> None:
    """Copy images between registries, archives and the store.

    SOURCE and TARGET are docker://NAME, oci:DIR[:NAME], oci-archive:FILE[:NAME], docker-archive:FILE[:NAME], dir:DIR,
    store:NAME, a path that exists or begins with /, ./ or ../, or else a name in the store. SOURCE may also be
    root:ROOT[:NAME], for what another engine left on a disk. Digests do not change.
    Content that the target already has is not sent. A copy within one registry moves no layers.
    """
    from orlop.cli import network  # noqa: PLC0415 - help needs none of it
    from orlop.service.copy import Copy  # noqa: PLC0415 - as above
    from orlop.streams.arenas import share_arenas  # noqa: PLC0415 - as above
    from orlop.transfer.sessions import Sessions  # noqa: PLC0415 - as above

    session.log()
    share_arenas()
    with (
        network.registries(os.environ, authfile=authfile) as registries,
        output.progress(quiet=quiet) as progress,
    ):
        report = Copy(
            registries,
            session.open,
            platform=platform,
            all_platforms=all_platforms,
            with_referrers=referrers,
            sessions=Sessions(lambda: network.state_folder(os.environ, "uploads")),
            progress=progress,
            store_root=session.place,
            temporary=temporary_folder(os.environ),
            limits=session.limits or DEFAULT_LIMITS,
        ).run(source, target)
    for image in report.images:
        words = str(image.digest)
        if not quiet:
            state = "" if image.is_new else " (was there)"
            words = f"{f'{image.name}: ' if image.name else ''}digest: {image.digest} size: {image.size}{state}"
        output.write(f"{terminal.harmless(words)}\n")
    if report.referrers and not quiet:
        output.write(f"Copied {referring(report.referrers)} to them\n")
