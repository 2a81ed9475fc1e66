"""``orlop tags`` and ``orlop manifest``: looks into a registry, without pulling."""

from __future__ import annotations

import os

from orlop.cli.declared import argument, command, option
from orlop.cli.show import output, terminal
from orlop.cli.source import platform_option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from orlop.cli.session import Session
    from orlop.model.platform import Platform

_AUTHFILE: Final = "Use only the credentials in FILE. Default: those of docker and podman."


@command(epilog="Example: orlop tags docker://registry.example.com/team/app")
@option("--authfile", metavar="FILE", help=_AUTHFILE)
@argument("repository", metavar="REPOSITORY")
def tags(session: Session, repository: str, *, authfile: str | None) -> None:
    """List the tags of a repository in its registry, one per line.

    REPOSITORY is a name such as alpine or docker://registry.example.com/team/app. A tag in it is ignored.
    """
    from orlop.cli import network  # noqa: PLC0415 - help needs none of it
    from orlop.cli.remote import registry_name  # noqa: PLC0415 - as above
    from orlop.model.reference import Reference  # noqa: PLC0415 - as above
    from orlop.service.look import tags_of  # noqa: PLC0415 - as above

    session.log()
    name = Reference.parse(registry_name(repository))
    with network.registries(os.environ, authfile=authfile) as registries:
        for tag in tags_of(registries, name):
            output.write(f"{tag}\n")


@command(epilog="Example: orlop manifest --platform linux/arm64 docker://alpine:3.20")
@platform_option("Print the manifest for this platform. Default: what the name points to, which may be an index.")
@option("--authfile", metavar="FILE", help=_AUTHFILE)
@argument("name", metavar="NAME")
def manifest(session: Session, name: str, *, platform: Platform | None, authfile: str | None) -> None:
    """Print a manifest or an index from a registry, byte for byte.

    NAME is a name such as alpine:3.20 or docker://registry.example.com/team/app@sha256:…. No layer is fetched.
    """
    from orlop.cli import network  # noqa: PLC0415 - as above
    from orlop.cli.remote import registry_name  # noqa: PLC0415 - as above
    from orlop.model.names import pulled_name  # noqa: PLC0415 - as above
    from orlop.service.look import manifest_of  # noqa: PLC0415 - as above

    session.log()
    wanted = pulled_name(registry_name(name))
    with network.registries(os.environ, authfile=authfile) as registries:
        raw = manifest_of(registries, wanted, platform)
    if output.is_terminal():
        raw = f"{terminal.harmless_json(raw.decode('utf-8', 'replace'))}\n".encode()
    output.write(raw)
