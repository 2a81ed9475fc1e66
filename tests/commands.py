"""The commands that there are, by the words that call them."""

from __future__ import annotations

from orlop.cli.declared import DeclaredGroup
from orlop.cli.root import orlop


def places(group: DeclaredGroup = orlop, *above: str) -> dict[str, str]:
    """Return where each command is, such as ``commands.images:images`` for ``images`` and for ``image ls``."""
    found: dict[str, str] = {}
    for name, place in group.places.items():
        command = group.find(name)
        words = (*above, name)
        found |= places(command, *words) if isinstance(command, DeclaredGroup) else {" ".join(words): place}
    return found
