"""What a word may become: the names of images in a store, and platforms."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from typing import Final

    import click

    from orlop.service.listing.summaries import ImageSummary

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
    """Return the names of images that begin so, and IDs where that could be one; a store that is not there has none."""
    given = context.params.get(parameter.name or "")
    taken = given if isinstance(given, (tuple, list)) else ()
    return names_in(context.find_root().params.get("root"), incomplete, taken)


def names_in(root: str | None, incomplete: str, taken: Collection[str]) -> list[str]:
    """Return the names of images in a store that begin so, without those that were given already."""
    from orlop.errors import OrlopError  # noqa: PLC0415 - only shells ask for it

    try:
        found = [name for name in _found(root, incomplete) if name not in taken]
    except (OrlopError, OSError):
        return []
    return list(dict.fromkeys(found))[:_MOST]


def complete_platforms(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the usual platforms that begin so."""
    del context, parameter
    return [platform for platform in _PLATFORMS if platform.startswith(incomplete)]


COMPLETIONS: Final = {"names": complete_names, "platforms": complete_platforms}
"""What completes a word, by the name that declarations of commands have for it."""


def _found(root: str | None, incomplete: str) -> Iterator[str]:
    import orlop  # noqa: PLC0415 - only shells ask for it

    root = root or orlop.default_root()
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
