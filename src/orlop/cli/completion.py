"""Completion in shells: names of images for every NAME, and scripts that ask this program for them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    import click

    from orlop.service.images import ImageSummary

VARIABLE: Final = "_ORLOP_COMPLETE"
"""The variable of the environment by which a shell asks for completions."""

_MOST: Final = 1000
_PLATFORMS: Final = (
    "linux/386",
    "linux/amd64",
    "linux/arm/v5",
    "linux/arm/v6",
    "linux/arm/v7",
    "linux/arm64",
    "linux/loong64",
    "linux/mips64le",
    "linux/ppc64le",
    "linux/riscv64",
    "linux/s390x",
    "windows/amd64",
)
"""Those that images are published for; others are taken, too."""


def complete_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Give the names of images that begin so, and IDs where that could be one; a store that is not there has none."""
    from orlop.errors import OrlopError  # noqa: PLC0415 - only shells ask for it

    given = context.params.get(parameter.name or "")
    taken = set(given) if isinstance(given, (tuple, list)) else set()
    try:
        found = [name for name in _names(context, incomplete) if name not in taken]
    except (OrlopError, OSError):
        return []
    return list(dict.fromkeys(found))[:_MOST]


def complete_platforms(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the usual platforms that begin so."""
    del context, parameter
    return [platform for platform in _PLATFORMS if platform.startswith(incomplete)]


def _names(context: click.Context, incomplete: str) -> Iterator[str]:
    import orlop  # noqa: PLC0415 - only shells ask for it

    root = context.find_root().params.get("root") or orlop.default_root()
    # A shell that asks makes no store.
    if not os.path.isfile(os.path.join(root, "metadata.db")):
        return
    with orlop.open(root) as images:
        for image in images.iter_images():
            yield from _names_of(image, incomplete)


def _names_of(image: ImageSummary, incomplete: str) -> Iterator[str]:
    for reference in image.repo_tags:
        if reference.familiar.startswith(incomplete):
            yield reference.familiar
    if incomplete and image.id.hex.startswith(incomplete):
        yield image.id.short if image.id.short.startswith(incomplete) else image.id.hex


def answer(instruction: str) -> int:
    """Do what a shell asks for: print its script (``bash_source``), or completions (``bash_complete``).

    Args:
        instruction: the value of `VARIABLE`; what is to be completed lies in other variables.

    Returns:
        The exit status: 0, or 1 where there is no such shell or instruction.
    """
    from click.shell_completion import add_completion_class, shell_complete  # noqa: PLC0415 - only shells ask for it

    from orlop.cli.completion_bash import Bash  # noqa: PLC0415 - as above
    from orlop.cli.root import orlop  # noqa: PLC0415 - as above
    from orlop.cli.session import Session  # noqa: PLC0415 - as above

    add_completion_class(Bash)
    return shell_complete(orlop.command(), {"obj": Session()}, "orlop", VARIABLE, instruction)
