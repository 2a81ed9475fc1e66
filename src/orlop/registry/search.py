"""Search: repositories that a registry finds for a word, by the interface that Docker Hub has kept (``/v1/search``).

Few other registries have it. What Docker Hub finds is asked of a host of its own, which gets no credentials.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from orlop.errors import InvalidAnswer, InvalidJSON, NotInRegistry, RegistryUnsupported
from orlop.model import gojson
from orlop.model.values import dataclass
from orlop.registry.access import Wants

if TYPE_CHECKING:
    from orlop.registry.client import RegistryClient

MOST: Final = 100
"""How many repositories one search finds at most."""
_LIMIT: Final = 1 << 20
_HUB: Final = "registry-1.docker.io"
_HUB_SEARCH: Final = "https://index.docker.io"


@dataclass(frozen=True, slots=True)
class FoundRepository:
    """A repository that was found, as its registry describes it."""

    name: str
    description: str = ""
    stars: int = 0
    is_official: bool = False
    is_automated: bool = False


def search(client: RegistryClient, term: str, *, limit: int = 25) -> tuple[FoundRepository, ...]:
    """Return repositories that a registry finds for a word, in its order, and at most ``limit`` of them.

    Raises:
        RegistryUnsupported: it cannot be searched. InvalidAnswer: it sends something else. RegistryError: it refuses.
    """
    what = f"search for {term!r}"
    try:
        answer = client.exchange.ask("GET", place(client.host, term, limit), Wants(), what=what, expect={200})
    except NotInRegistry as error:
        raise RegistryUnsupported(
            f"{client.host} cannot be searched; ask its own site, or list the tags of a repository with `orlop tags`",
            registry=client.host,
            answered=error.answered,
        ) from error
    with answer:
        raw = answer.document(_LIMIT, what=f"the answer to {what}")
    try:
        document = gojson.loads(raw)
    except InvalidJSON:
        document = None
    found = document.get("results") if isinstance(document, dict) else None
    if not isinstance(found, list):
        raise InvalidAnswer(f"{client.host} does not answer with a list when asked to {what}", registry=client.host)
    return tuple(_described(one) for one in found[:limit] if isinstance(one, dict) and _text(one, "name"))


def place(host: str, term: str, limit: int) -> str:
    """Return where a registry is asked: a path, or a URL of another host that searches for it."""
    where = f"/v1/search?{urlencode({'q': term, 'n': limit})}"
    return f"{_HUB_SEARCH}{where}" if host == _HUB else where


def _described(result: dict[str, Any]) -> FoundRepository:
    stars = result.get("star_count")
    return FoundRepository(
        _text(result, "name"),
        _text(result, "description"),
        stars if isinstance(stars, int) and not isinstance(stars, bool) else 0,
        result.get("is_official") is True,
        result.get("is_automated") is True,
    )


def _text(result: dict[str, Any], name: str) -> str:
    value = result.get(name)
    return value if isinstance(value, str) else ""
