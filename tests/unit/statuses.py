"""Which statuses an answer may have: those that `docs/openapi.json` and a table of `docs/engine-api.md` list."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Final

from orlop.api.engine.app import ENDPOINTS

_DOCS: Final = Path(__file__).parents[2] / "docs"


@cache
def everywhere() -> frozenset[int]:
    """Return the statuses that any endpoint may answer with."""
    table = (_DOCS / "engine-api.md").read_text().partition("| status | when |")[2].partition("\n\n")[0]
    return frozenset(map(int, re.findall(r"^\| (\d{3}) \|", table, re.MULTILINE)))


@cache
def elsewhere() -> frozenset[int]:
    """Return the statuses of what is not served."""
    text = (_DOCS / "engine-api.md").read_text()
    found = re.search(r"^Other requests are answered with .*?\n\n", text, re.MULTILINE | re.DOTALL)
    assert found is not None
    return frozenset(map(int, re.findall(r"\b[1-5]\d\d\b", found[0])))


@cache
def described() -> dict[tuple[str, str], frozenset[int]]:
    """Return the statuses of each endpoint, by method and path."""
    paths = json.loads((_DOCS / "openapi.json").read_text())["paths"]
    return {
        (method.upper(), path): frozenset(int(status) for status in operation["responses"] if status != "default")
        for path, operations in paths.items()
        for method, operation in operations.items()
    }


def listed(method: str, target: str) -> frozenset[int]:
    """Return the statuses that the documents list for a request."""
    path = re.sub(r"^/v[0-9.]+(?=/)", "", target.partition("?")[0])
    for endpoint in ENDPOINTS:
        if method in (endpoint.methods or ()) and endpoint.path_regex.match(path):
            return everywhere() | described()[method, endpoint.path.replace(":path", "")]
    return everywhere() | elsewhere() | ({200} if method == "OPTIONS" else set())
