"""What a command reads instead of the store: an archive, a data root of another engine, or an image in a registry."""

from __future__ import annotations

import sys

from orlop.cli.declared import WrongUsage, option
from orlop.cli.limits import archive_limit_option
from orlop.cli.show import output, terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, BinaryIO, Final

    from orlop.cli.session import Session
    from orlop.model.platform import Platform
    from orlop.service.archive import ArchiveService
    from orlop.service.outside import OutsideService


class DataRoot(str):
    """The path of a data root of another engine, in place of that of an archive."""

    __slots__ = ()


SCHEME: Final = "docker://"
"""What stands before the name of an image in a registry, which a command looks at there."""


def archive_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add what names an archive, or a data root, to look into instead of the store, and its limits.

    The command gets one value for both, ``archive``.
    """

    def run(session: Session, *, archive: str | None, root_of: str | None, **values: Any) -> int | None:
        if root_of is not None:
            if archive is not None:
                raise WrongUsage("--archive and --root-of cannot be used together")
            archive = DataRoot(root_of)
        status: int | None = command(session, archive=archive, **values)
        return status

    run.__dict__.update(command.__dict__)
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    return option("--archive", metavar="FILE", help="Read this archive instead of the store.")(
        root_option(archive_limit_option(run))
    )


def root_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--root-of`` to a command, which names a data root to look into instead of the store."""
    return option(
        "--root-of",
        metavar="ROOT",
        help="Read what Docker, Podman or containerd left in ROOT instead of the store; see `orlop rescue --help`.",
    )(command)


def authfile_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--authfile`` to a command that may look into a registry."""
    return option("--authfile", metavar="FILE", help="With docker://NAME: use only the credentials in FILE.")(command)


def are_remote(names: Sequence[str | None], archive: str | None) -> bool:
    """Return whether names are those of images in registries; raise `WrongUsage` where only some are."""
    found = [name is not None and name.startswith(SCHEME) for name in names]
    if any(found) and (archive is not None or not all(found)):
        raise WrongUsage(f"{SCHEME} names an image in a registry; use separate commands for other images and archives")
    return any(found)


def platform_option(help_: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that adds ``--platform`` to a command: a platform or None."""
    return option("--platform", read=read_platform, metavar="OS/ARCH", help=help_, complete="platforms")


def read_platform(value: str) -> Platform:
    """Return the platform that ``--platform`` names; raise `WrongUsage` where it is not a valid one."""
    from orlop.errors import InvalidPlatform  # noqa: PLC0415 - as above
    from orlop.intake.platforms import host_platform  # noqa: PLC0415 - only where the option is given
    from orlop.model.platform import Platform  # noqa: PLC0415 - as above

    try:
        return Platform.parse(value, default=host_platform())
    except InvalidPlatform as error:
        raise WrongUsage(str(error)) from error


def temporary_folder(environment: Mapping[str, str]) -> str | None:
    """Return where the environment wants temporary files, if it says so."""
    return next((environment[name] for name in ("TMPDIR", "TEMP", "TMP") if environment.get(name)), None)


def opened(session: Session, archive: str, platform: Platform | None = None) -> OutsideService[Any]:
    """Open an archive or a data root to look into, with the session's limits; use it as a context manager.

    With a platform there are only the images of that one.

    Raises:
        InvalidInput, IntegrityError, NotFound, StorageError: see `orlop.Archive` and `orlop.RootService`.
    """
    if not isinstance(archive, DataRoot):
        return opened_archive(session, archive, platform)
    import orlop  # noqa: PLC0415 - as for stores

    session.log()
    service = orlop.RootService(archive, platform=platform, limits=session.limits or orlop.Limits())
    if not service.is_whole:
        note = (
            f"note: images of {archive} are lost, and are not among these; orlop rescue {archive} tells which and why"
        )
        output.complain(terminal.harmless(note))
    return service


def opened_archive(session: Session, archive: str, platform: Platform | None = None) -> ArchiveService:
    """Open an archive alone; see `opened`."""
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
