"""What happened in the registry, for those who keep a record of it or tell others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Happened:
    """Something that was done to a repository, and has succeeded.

    ``action`` is ``pull``, ``push``, ``mount`` or ``delete``. ``digest`` is that of the manifest or blob, ``tag`` the
    tag by which it was asked for or put, if there was one: several tags that are put at once happen once each.
    ``media_type`` is that of a manifest, and ``application/octet-stream`` for a blob; ``size`` is in bytes, 0 where it
    is not known. ``who`` is the client's name, as whoever guards the registry has put it into ``scope["orlop.user"]``,
    or empty; ``source`` the repository that a mount came from.
    """

    action: str
    repository: str
    digest: str = ""
    tag: str = ""
    media_type: str = ""
    size: int = 0
    who: str = ""
    source: str = ""


Listener = Callable[[Happened], object]
"""Called in the thread of the event loop once something has happened, before its answer is sent; it must not block."""
