"""The client of the tests refuses an answer whose status the documents do not list for its request."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import orlop
from orlop.errors import ReferenceNotFound
from tests.unit.served import served
from tests.unit.statuses import described, elsewhere, everywhere, listed

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("status", [202, 405, 409, 418, 422, 502])
def test_a_status_that_no_document_lists_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int):
    monkeypatch.setattr(ReferenceNotFound, "http_status", status)
    monkeypatch.setattr(orlop.errors.NotFound, "http_status", status)
    with orlop.open(tmp_path / "root") as images, served(images, tmp_path) as client:
        for ask in (client.get, client.delete):
            allowed = listed("DELETE" if ask == client.delete else "GET", "/images/nosuch")
            if status in allowed:
                continue
            with pytest.raises(AssertionError, match=f"nosuch.*{status}"):
                ask("/images/nosuch" + ("/json" if ask == client.get else ""))


def test_few_statuses_are_listed_for_all():
    assert everywhere() == {301, 400, 401, 403, 408, 413, 500, 503, 507}
    assert elsewhere() == {204, 404, 501, 503}


def test_each_request_has_statuses_of_its_own():
    assert listed("POST", "/v1.41/images/a/b/tag") == everywhere() | described()["POST", "/images/{name}/tag"]
    assert 200 not in listed("POST", "/images/x/tag")
    assert 201 not in listed("GET", "/images/json")
    assert 409 not in listed("GET", "/images/x/json")
    assert 200 not in listed("DELETE", "/volumes/x")
    assert 200 in listed("OPTIONS", "/nosuch")
