"""Whole pulls, pushes and copies from and to registries that are busy or fail now and then."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import orlop
from orlop import errors
from orlop.testing.registry.quirks import Failure
from tests.unit.layouts import Layout
from tests.unit.pulling import pulling, push
from tests.unit.pushed import large, placed, simple

if TYPE_CHECKING:
    from pathlib import Path

AGAIN = ("Retry-After", "2")
PASSING = {
    "429": (Failure(429),) * 3,
    "429 after seconds": (Failure(429, (AGAIN,)),) * 3,
    "429 after a date": (Failure(429, (("Retry-After", "Fri, 15 Jan 2027 08:00:30 GMT"),)),),
    "503 twice": (Failure(503, (AGAIN,)), Failure(503)),
    "all that passes": tuple(Failure(status) for status in (408, 499, 500, 502, 503, 504, 522)),
    "a page of HTML": (Failure(502, (("Content-Type", "text/html"),), b"<html>bad gateway</html>"),) * 2,
    "hung up": (Failure(200, hang_up=True),) * 3,
}
KINDS = ("manifests", "blobs")


@pytest.mark.sampled(6)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", PASSING)
def test_a_pull_outlasts_what_passes(tmp_path: Path, name: str, kind: str):
    layout = Layout()
    failures = tuple(Failure(one.status, one.headers, one.body, path=f"/{kind}/", hang_up=one.hang_up)
                     for one in PASSING[name])  # fmt: skip
    with pulling(tmp_path, tries=9) as there:
        push(there.registry, layout, layout.image("one", "two"), "1")
        there.quirks(failures=failures)
        there.pull()
        assert len(there.registry.requests) == 4 + len(failures)
        assert there.images.inspect(there.name()).size
        assert orlop.stores.fsck(there.root).problems == ()


@pytest.mark.sampled(6)
@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT"])
@pytest.mark.parametrize("name", PASSING)
def test_a_push_outlasts_what_passes(tmp_path: Path, name: str, method: str):
    failures = tuple(Failure(one.status, one.headers, one.body, methods=method, hang_up=one.hang_up)
                     for one in PASSING[name][:4])  # fmt: skip
    with placed(tmp_path / "root") as place:
        place.load(simple(place.name("app:1"), "a", "b"))
        place.quirks(failures=failures)
        report = place.push("app:1")
        assert place.there.repository("app").tags == {"1": str(report.tags[0].digest)}


@pytest.mark.sampled(2)
def test_a_push_in_pieces_outlasts_what_passes(tmp_path: Path):
    with placed(tmp_path / "root") as place:
        place.load(large(place.name("app:1"), 40 << 20))
        place.quirks(failures=(Failure(503, methods="PATCH"), Failure(429, (AGAIN,), methods="PATCH")))
        place.push("app:1")
        sent = sum(one.received for one in place.there.requests)
        # Each refusal costs one piece of 20 MiB.
        assert sent < (40 + 2 * 20 + 1) << 20


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_a_wait_that_is_too_long_is_told_and_not_waited_for(tmp_path: Path, method: str):
    failures = (Failure(429, (("Retry-After", "3600"),), methods=method, path="/manifests/"),)
    with placed(tmp_path / "root") as place:
        place.load(simple(place.name("app:1"), "a"))
        if method == "GET":
            place.push("app:1")
            place.images.remove(place.name("app:1"))
        place.quirks(failures=failures)
        with pytest.raises(errors.RegistryBusy) as caught:
            place.push("app:1") if method == "PUT" else place.images.pull(place.name("app:1"), place.registries)
        assert caught.value.wait == 3600
        # What was sent or fetched until then stays.
        place.asked()
        place.push("app:1") if method == "PUT" else place.images.pull(place.name("app:1"), place.registries)
        assert not [one for one in place.asked() if one.startswith(("POST", "PATCH")) and method == "PUT"]


def test_a_registry_that_fails_for_good_is_an_error_and_changes_nothing(tmp_path: Path):
    with placed(tmp_path / "root") as place:
        place.load(simple(place.name("app:1"), "a"))
        place.quirks(failures=(Failure(503, methods="PUT", path="/manifests/"),) * 99)
        with pytest.raises(errors.RegistryError, match="503"):
            place.push("app:1")
        assert place.there.repository("app").tags == {}
