"""What is too much to be listed: a count, and a digest that tells whether it is the same."""

from __future__ import annotations

import hashlib
from typing import Final

__all__ = ["Rest"]

# More than what two chunks of a content share can hold, which is looked into twice.
_RECENT: Final = 2000


class Rest:
    """What is not listed, by texts that tell one from another; one that comes twice soon after another counts once."""

    def __init__(self) -> None:
        self.count = 0
        self._digest = hashlib.sha256()
        self._recent: dict[str, None] = {}

    def add(self, text: str) -> None:
        """Count one."""
        if text in self._recent:
            return
        self._recent[text] = None
        if len(self._recent) > _RECENT:
            del self._recent[next(iter(self._recent))]
        self.count += 1
        # The order counts too. A sum of digests would not need it, but whoever has very many can choose their sum.
        self._digest.update(f"{text}\0".encode("utf-8", "surrogateescape"))

    @property
    def fingerprint(self) -> str:
        """What differs where any of it does."""
        return self._digest.hexdigest()[:16]
