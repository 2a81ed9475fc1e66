"""Whatever a registry does otherwise at the same time: a transfer ends right or with one error, and the next one right.

What goes to its token server and to its store is looked at, too: no password and no token goes to the store.
"""

from __future__ import annotations

import tempfile
from email.utils import formatdate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import pytest
from hypothesis import Phase, given, settings

from orlop.errors import OrlopError
from orlop.registry.credentials import Credentials
from orlop.testing.registry.quirks import Failure
from tests.crash.pace import LONG
from tests.unit.pulling import Keys
from tests.unit.pushed import large, placed

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.pushed import Place

NOW = 1_800_000_000.0
"""The time by the clock of the tests' clients."""
USERS = {"me": "secret"}
WAYS: dict[str, tuple[Any, ...]] = {
    "anonymous": ("", "pull"),
    "challenge_at_root_only": (True,),
    "denied_is_403": (True,),
    "token_get": (404, 405),
    "token_post": (404,),
    "carrier": ("token", "access_token"),
    "expires_in": (0, None, -5, 10**40),
    "token_uses": (1, 2, 3),
    "first_scope_only": (True,),
    "all_or_nothing": (True,),
    "commit_expires": (True,),
    "digest_header": ("missing", "wrong"),
    "head": (405, 404),
    "head_length": (False,),
    "manifest_suffix": ("; charset=utf-8",),
    "manifest_type": ("application/json", "text/plain"),
    "redirect_expired": (1, 2),
    "ranges": ("ignored", "wrong", "none"),
    "cut": (0, 1, 100, 70_000),
    "cuts": (2, 3),
    "length": (False,),
    "longer": (1,),
    "corrupt": (True,),
    "encoding": ("label", "real"),
    "location": ("absolute", "bare", "store"),
    "location_query": ("?a=b%3D", "?x", "?", "?digest=sha256:0"),
    "patch": (201, 204),
    "patch_range": ("missing", "stuck", "minus"),
    "takes": (0, 10),
    "chunks": (404, 405, 416),
    "body_limit": (50_000,),
    "upload_cut": (0, 1000, 60_000),
    "upload_kept": (True,),
    "commit_cut": (True,),
    "commit": (200, 202, 204),
    "commit_told": (False,),
    "blob_head": (401, 403),
    "mount": (202, 400, 401, 500),
    "missing_blob_once": (True,),
    "put_digest": ("missing",),
    "referrers": ("none", "html"),
    "html_errors": (True,),
    "http": ("1.0",),
}
WAITS = ("", "0", "5", "-1", "1e309", "Wed, 99 Foo", formatdate(NOW + 5, usegmt=True), formatdate(0))
FAILURES = st.builds(
    lambda status, wait, methods, hang_up: Failure(
        status, (("Retry-After", wait),) if wait else (), methods=methods, hang_up=hang_up
    ),
    st.sampled_from([401, 403, 404, 408, 429, 500, 502, 503, 504]),
    st.sampled_from(WAITS),
    st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "GET HEAD"]),
    st.booleans(),
)
ODD: st.SearchStrategy[dict[str, Any]] = st.builds(
    dict,
    st.lists(
        st.sampled_from(sorted(WAYS)).flatmap(lambda name: st.tuples(st.just(name), st.sampled_from(WAYS[name]))),
        max_size=6,
    ),
    auth=st.sampled_from(["bearer", "basic", "both", "none"]),
    redirect=st.sampled_from([307, 302, 303, 308, 0]),
    failures=st.lists(FAILURES, max_size=3).map(tuple),
)


def pull(place: Place) -> None:
    place.images.pull(place.name("team/app:1"), registries=place.registries)


def push(place: Place) -> None:
    place.push("team/app:1")
    assert set(place.there.repository("team/app").tags) == {"1"}


def copy(place: Place) -> None:
    source, target = (f"docker://{place.name(one)}" for one in ("team/app:1", "team/new:1"))
    place.images.copy(source, target, place.registries)
    assert place.there.repository("team/new").tags == place.there.repository("team/app").tags


@pytest.mark.sampled(3)
@pytest.mark.parametrize("work", [pull, push, copy])
@settings(max_examples=400 if LONG else 4, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(quirks=ODD)
def test_a_transfer_ends_right_or_with_one_error_and_the_next_one_right(
    work: Callable[[Place], None], quirks: dict[str, Any]
) -> None:
    keys = Keys(Credentials(user="me", password="secret"))
    with tempfile.TemporaryDirectory() as folder, placed(Path(folder) / "root", users=USERS, keychain=keys) as place:
        place.load(large(place.name("team/app:1"), 150_000))
        if work is not push:
            place.push("team/app:1")
        if work is pull:
            place.images.prune(all=True)
            place.images.gc()
        place.quirks(**quirks)
        place.there.requests.clear()
        said = ""
        try:
            work(place)
        except OrlopError as error:
            said = str(error)
        assert "secret" not in said
        assert len(place.there.requests) < 200
        assert not [one for one in place.there.requests if one.site == "store" and "authorization" in one.headers]
        place.quirks()
        work(place)
