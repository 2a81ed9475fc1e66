"""What a command reads instead of the store: an archive (a file, a directory, a pipe), or an image in a registry."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from orlop.cli.declared import WrongUsage, option
from orlop.cli.limits import archive_limit_option
from orlop.cli.shell.completion import complete_platforms

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orlop.cli.session import Session
    from orlop.model.platform import Platform
    from orlop.service.archive import ArchiveService


SCHEME: Final = "docker://"
"""What stands before the name of an image in a registry, which a command looks at there."""


def archive_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--archive`` to a command, which names an archive to look into instead of the store, and its limits."""
    return option("--archive", metavar="FILE", help="Read this archive instead of the store.")(
        archive_limit_option(command)
    )


def authfile_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--authfile`` to a command that may look into a registry."""
    return option("--authfile", metavar="FILE", help="With docker://NAME: use only the credentials in FILE.")(command)


def are_remote(names: Sequence[str | None], archive: str | None) -> bool:
    """Return whether names are those of images in registries; raise `WrongUsage` where only some are."""
    found = [name is not None and name.startswith(SCHEME) for name in names]
    if any(found) and (archive is not None or not all(found)):
        raise WrongUsage(f"{SCHEME} names an image in a registry; ask for others, and for archives, by themselves")
    return any(found)


def platform_option(help_: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that adds ``--platform`` to a command: a platform or None."""
    return option("--platform", read=read_platform, metavar="OS/ARCH", help=help_, shell_complete=complete_platforms)


def read_platform(value: str) -> Platform:
    """Return the platform that ``--platform`` names; raise `WrongUsage` where it is not a valid one."""
    from orlop.errors import InvalidPlatform  # noqa: PLC0415 - as above
    from orlop.intake.platforms import host_platform  # noqa: PLC0415 - only where the option is given
    from orlop.model.platform import Platform  # noqa: PLC0415 - as above

    try:
        return Platform.parse(value, default=host_platform())
    except InvalidPlatform as error:
        raise WrongUsage(str(error)) from error


def opened(session: Session, archive: str, platform: Platform | None = None) -> ArchiveService:
    """Open an archive to look into, with the session's limits; use it as a context manager.

    With a platform there are only the images of that one.

    Raises:
        InvalidInput, IntegrityError, NotFound, StorageError: see `orlop.Archive`.
    """
    import orlop  # noqa: PLC0415 - as for stores

    source = source_of(archive, option="--archive")
    return orlop.ArchiveService(source, platform=platform, limits=session.limits or orlop.Limits())


def source_of(name: str | None, *, option: str) -> BinaryIO | str:
    """Return what a command is to read: the standard input where it names ``-`` or nothing.

    Raises:
        WrongUsage: that is closed, or a terminal; ``option`` is what names a file instead.
    """
    if name is not None and name != "-":
        return name
    if sys.stdin is None:
        msg = f"the standard input is closed; name an archive with {option}, or redirect one into the command"
        raise WrongUsage(msg)
    if sys.stdin.isatty():
        msg = f"an archive does not come from a terminal; name a file with {option}, or redirect one into the command"
        raise WrongUsage(msg)
    return sys.stdin.buffer
