"""Signatures of AWS, version 4: of the headers of a request, and of URLs that somebody else may use for a while.

A signature covers the method, the path, the query, some headers with the host among them, and the hash of the body or
the words ``UNSIGNED-PAYLOAD``. Source: "Signature Version 4" in the documentation of Amazon S3.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from orlop.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orlop.store.blobs.s3.settings import Credentials, Place

UNSIGNED: Final = "UNSIGNED-PAYLOAD"
EMPTY: Final = hashlib.sha256().hexdigest()
LONGEST: Final = 7 * 24 * 3600
"""Seconds that a signed URL may be good for."""
_METHOD: Final = "AWS4-HMAC-SHA256"


def quoted(text: str, *, safe: str = "") -> str:
    """Return a text as the signature and the URL have it; ``safe`` characters stay beside letters and digits."""
    return quote(text, safe=f"{safe}-_.~")


def query_string(query: Mapping[str, str]) -> str:
    """Return a query, sorted and quoted as it is signed."""
    return "&".join(f"{quoted(name)}={quoted(value)}" for name, value in sorted(query.items()))


def signed_headers(
    method: str,
    path: str,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    *,
    payload: str,
    credentials: Credentials,
    region: str,
    now: float,
) -> dict[str, str]:
    """Return the headers of a request with its signature.

    Args:
        method: of the request.
        path: from the root of the server on, quoted.
        query: not quoted.
        headers: all of them with lower-case names, ``host`` among them; all are signed.
        payload: the hex SHA-256 of the body, or `UNSIGNED`.
        credentials: what signs; nothing is signed without an access key.
        region: of the bucket.
        now: seconds since 1970, by the server's clock.
    """
    found = {**headers, "x-amz-content-sha256": payload}
    if not credentials.access_key:
        return found
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    found["x-amz-date"] = moment
    if credentials.session_token:
        found["x-amz-security-token"] = credentials.session_token
    names = ";".join(sorted(found))
    scope = _scope(moment, region)
    request = _request(method, path, query_string(query), found, payload)
    signature = _signature(credentials, moment, scope, request)
    identity = f"Credential={credentials.access_key}/{scope}"
    found["authorization"] = f"{_METHOD} {identity}, SignedHeaders={names}, Signature={signature}"
    return found


def signed_url(
    place: Place,
    key: str,
    *,
    expires: int,
    credentials: Credentials,
    region: str,
    now: float,
    query: Mapping[str, str] | None = None,
) -> str:
    """Return a URL with which anybody may GET an object, whole or in ranges, for some seconds.

    It ends earlier where the credentials are temporary and end earlier. Without credentials the plain URL is returned.

    Raises:
        InvalidInput: it would be good for less than a second or more than seven days.
    """
    require_expiry(expires)
    path = place.path + quoted(key, safe="/")
    if not credentials.access_key:
        return f"{place.scheme}://{place.host}{path}"
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    scope = _scope(moment, region)
    terms = {
        **(query or {}),
        "X-Amz-Algorithm": _METHOD,
        "X-Amz-Credential": f"{credentials.access_key}/{scope}",
        "X-Amz-Date": moment,
        "X-Amz-Expires": str(expires),
        "X-Amz-SignedHeaders": "host",
    }
    if credentials.session_token:
        terms["X-Amz-Security-Token"] = credentials.session_token
    asked = query_string(terms)
    request = _request("GET", path, asked, {"host": place.host}, UNSIGNED)
    signature = _signature(credentials, moment, scope, request)
    return f"{place.scheme}://{place.host}{path}?{asked}&X-Amz-Signature={signature}"


def require_expiry(seconds: int) -> None:
    """Raise `InvalidInput` where a URL cannot be good for so long."""
    if not 1 <= seconds <= LONGEST:
        raise InvalidInput(f"a signed URL cannot be good for {seconds} seconds; use 1 to {LONGEST}")


def _scope(moment: str, region: str) -> str:
    return f"{moment[:8]}/{region}/s3/aws4_request"


def _request(method: str, path: str, query: str, headers: Mapping[str, str], payload: str) -> str:
    lines = "".join(f"{name}:{' '.join(value.split())}\n" for name, value in sorted(headers.items()))
    return "\n".join((method, path, query, lines, ";".join(sorted(headers)), payload))


def _signature(credentials: Credentials, moment: str, scope: str, request: str) -> str:
    text = "\n".join((_METHOD, moment, scope, hashlib.sha256(request.encode()).hexdigest()))
    key = f"AWS4{credentials.secret_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()
