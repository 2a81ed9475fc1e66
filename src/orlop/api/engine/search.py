"""``GET /images/search``: what a registry finds, in an engine's words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orlop.api.engine.call import Endpoint
from orlop.api.engine.elsewhere import check_number
from orlop.api.engine.registries import asking, given_keys
from orlop.api.engine.shapes.encoding import body
from orlop.api.engine.shapes.filters import check_filters, invalid_filter, parse_filters
from orlop.api.engine.versions import V1_42
from orlop.errors import InvalidFilter, InvalidInput
from orlop.model.reference import Reference
from orlop.registry.search import MOST, search

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.responses import Response

    from orlop.api.engine.call import Call
    from orlop.registry.search import FoundRepository

_FILTERS: Final = frozenset({"is-automated", "is-official", "stars"})
_LIMIT: Final = 25
_ANSWERS: Final = {"1": True, "true": True, "0": False, "false": False}


async def _search(call: Call) -> Response:
    asked = call.parameters
    values = parse_filters(asked.get("filters"))
    check_filters(values, _FILTERS, call.version)
    given = asked.get("limit")
    check_number(given)
    limit = int(given) if given else _LIMIT
    if not 1 <= limit <= MOST:
        word = "Limit" if call.version < V1_42 else "limit"
        raise InvalidInput(f"{word} {limit} is outside the range of [1, {MOST}]")
    host, term = _place(asked.get("term"))
    name = Reference.parse(f"{host}/search/term")
    invalid = invalid_filter(call.version)
    least = _least(values.get("stars", ()), invalid)
    wanted = [(key, _answer(key, values[key], invalid)) for key in ("is-official", "is-automated") if key in values]

    def find(call: Call) -> bytes:
        with call.service.reached(given_keys(call, name.domain)) as registries:
            found = search(registries.to_push(name)[0], term, limit=limit)
        return body([_shown(one) for one in found if one.stars >= least and _is_wanted(one, wanted)])

    return await asking(call, find)


def _place(text: str) -> tuple[str, str]:
    """Return the registry that is searched, and the word, which may begin with a host as a name does."""
    if "://" in text:
        raise InvalidInput(f"invalid repository name: repository name ({text}) should not have a scheme")
    host, _, rest = text.partition("/")
    is_named = rest and ("." in host or ":" in host or host == "localhost")
    host, term = (host, rest) if is_named else ("docker.io", text.removeprefix("library/"))
    if not term:
        raise InvalidInput("there is nothing to search for; give a term")
    return host, term


def _least(given: Collection[str], invalid: str) -> int:
    """Return how many stars what is shown has at least."""
    for text in given:
        if not text.isascii() or not text.isdecimal():
            raise InvalidFilter(f"{invalid} 'stars={text}'")
    return max((int(text[:9]) for text in given), default=0)


def _answer(key: str, given: Collection[str], invalid: str) -> bool:
    texts = {text.lower() for text in given}
    if len(texts) != 1 or not texts <= _ANSWERS.keys():
        raise InvalidFilter(f"{invalid} '{key}=[{' '.join(sorted(given))}]'")
    return _ANSWERS[texts.pop()]


def _is_wanted(found: FoundRepository, wanted: Collection[tuple[str, bool]]) -> bool:
    return all((found.is_official if key == "is-official" else found.is_automated) == is_so for key, is_so in wanted)


def _shown(found: FoundRepository) -> dict[str, object]:
    return {
        "star_count": found.stars,
        "is_official": found.is_official,
        "name": found.name,
        "is_automated": found.is_automated,
        "description": found.description,
    }


ENDPOINTS = (Endpoint("GET", "/images/search", _search),)
