"""The page over a store: access to its parts and to its data. It changes nothing."""

from __future__ import annotations

import http.client
import io
import json
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from unittest.mock import ANY

import pytest

import orlop
from orlop.api.doors import Security
from orlop.api.engine.app import Page
from orlop.api.server import Options
from orlop.api.web.headers import HEADERS, is_page
from orlop.api.web.site import ENDPOINTS, PARTS
from orlop.page.document import image_document
from tests.unit.images_made import image, layer
from tests.unit.served import serving
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SHOWN = Options(page=Page(ENDPOINTS, is_page, PARTS, HEADERS))
TOKEN = "s3cret-token"
BASE = layer(("base", b"b" * 1000))


@pytest.fixture
def images(tmp_path: Path) -> Iterator[orlop.ImageService]:
    with orlop.open(tmp_path / "root") as service:
        service.load(io.BytesIO(image(BASE, layer(("one", b"1" * 10)), tag="a:1")))
        service.load(io.BytesIO(image(BASE, layer(("two", b"2" * 20)), tag="b:1")))
        service.pin("b:1")
        yield service


def ask(place: str, target: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(place.removeprefix("tcp://"), timeout=60)
    try:
        connection.request(method, target, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


@pytest.fixture
def place(images: orlop.ImageService) -> Iterator[str]:
    with serving(images, "tcp://127.0.0.1:0", security=Security(anonymous=True), options=SHOWN) as (where,):
        yield where


def test_images_are_listed_with_what_they_share(place: str, images: orlop.ImageService) -> None:
    _, _, body = ask(place, "/ui/images")
    found: dict[str, Any] = json.loads(body)
    usage = {str(one.summary.id): one for one in images.df().images}
    for one in found["images"]:
        known = usage[one["id"]]
        assert (one["size"], one["shared"], one["unique"]) == (known.summary.size, 1000, known.unique_size)
        assert one["pinned"] == ("b:1" in str(one["names"]))
        assert len(one["layers"]) == 2
    assert found["layers"] == {"size": 1030, "shared": 1000, "unique": 30}


def test_an_image_is_sent_with_its_difference(place: str) -> None:
    status, _, body = ask(place, "/ui/image?name=a:1&old=b:1")
    assert status == 200
    found = json.loads(body)
    assert found["image"]["sums"]["size"] == 1010
    assert found["comparison"]["columns"]["changes"].count(1) == 1
    assert ask(place, "/ui/image?name=none:1")[0] == 404


def test_an_image_of_more_entries_than_memory_is_meant_for_is_refused(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each of the two images has two layers of one entry.
    monkeypatch.setattr("orlop.api.web.site.MOST_ENTRIES", 2)
    assert ask(place, "/ui/image?name=a:1&old=b:1")[0] == 200
    monkeypatch.setattr("orlop.api.web.site.MOST_ENTRIES", 1)
    status, _, body = ask(place, "/ui/image?name=a:1")
    assert status == 400
    assert "orlop audit --html FILE a:1" in json.loads(body)["message"]


def test_one_image_is_made_at_a_time(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once, most = 0, 0

    def watched(*words: Any) -> dict[str, Any]:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        time.sleep(0.02)
        try:
            return image_document(*words)
        finally:
            at_once -= 1

    monkeypatch.setattr("orlop.api.web.site.image_document", watched)
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda _: ask(place, "/ui/image?name=a:1"), range(8)))
    assert {status for status, _, _ in answers} == {200}
    assert most == 1


def active(place: str) -> int:
    """Return on how many requests a server works, this one included."""
    found = re.search(r"^orlop_http_requests_active (\d+)$", ask(place, "/metrics")[2].decode(), re.MULTILINE)
    assert found is not None
    return int(found[1])


def test_nothing_is_made_for_clients_that_have_hung_up(
    place: str, images: orlop.ImageService, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    goes_on = threading.Event()

    def watched(name: str, *words: Any) -> dict[str, Any]:
        made.append(name)
        assert goes_on.wait(60)
        return image_document(name, *words)

    monkeypatch.setattr("orlop.api.web.site.image_document", watched)
    images.tag("a:1", "gone:1")
    host, _, port = place.removeprefix("tcp://").partition(":")
    with ThreadPoolExecutor(2) as clients:
        first = clients.submit(ask, place, "/ui/image?name=a:1")
        while not made:
            time.sleep(0.01)
        for _ in range(5):
            with socket.create_connection((host, int(port))) as connection:
                connection.sendall(b"GET /ui/image?name=gone:1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
                # It waits before it hangs up.
                until(lambda: active(place) >= 3)
        last = clients.submit(ask, place, "/ui/image?name=b:1")
        # The first, the last, and who asks for this.
        until(lambda: active(place) == 3)
        goes_on.set()
        assert [one.result()[0] for one in (first, last)] == [200, 200]
    assert made == ["a:1", "b:1"]


def test_what_is_sent_is_bounded_whatever_the_names_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orlop.page.rows._MOST_TEXT", 20_000)

    def size(count: int) -> int:
        members = [(f"{number:05}\N{SNOWMAN}" + "\N{SNOWMAN}" * 70, b"x") for number in range(count)]
        with orlop.open(tmp_path / str(count)) as service:
            service.load(io.BytesIO(image(layer(*members), tag="long:1")))
            security = Security(anonymous=True)
            with serving(service, "tcp://127.0.0.1:0", security=security, options=SHOWN) as (where,):
                return len(ask(where, "/ui/image?name=long:1")[2])

    assert size(400) <= size(200) + 100


@pytest.mark.sampled(2)
@pytest.mark.parametrize("path", [*sorted(PARTS), "/ui/images", "/ui/image?name=a:1"])
def test_a_browser_is_told_what_it_may_do(place: str, path: str) -> None:
    _, headers, _ = ask(place, path, Sec_Fetch_Site="same-origin")
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"


@pytest.mark.sampled(3)
@pytest.mark.parametrize("path", [*sorted(PARTS), "/ui/images", "/ui/image?name=a:1"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Host": "evil.example"},
    ],
    ids=["origin", "cross-site", "same-site", "rebound name"],
)
def test_other_pages_and_other_names_get_nothing(place: str, path: str, headers: dict[str, str]) -> None:
    status, _, body = ask(place, path, **headers)
    assert status == 403
    assert list(json.loads(body)) == ["message"]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("path", ["/ui/", "/ui/images", "/ui/image"])
def test_nothing_can_be_changed(place: str, path: str, method: str) -> None:
    assert ask(place, path, method)[0] == 403


@pytest.mark.sampled(2)
@pytest.mark.parametrize("path", ["/ui", "/ui/", "/ui/page.js", "/ui/page.css", "/ui/images", "/ui/image?name=a:1"])
def test_a_head_is_that_of_the_answer(place: str, path: str) -> None:
    status, headers, body = ask(place, path)
    assert ask(place, path, "HEAD") == (status, {**headers, "date": ANY}, b"")
    assert int(headers["content-length"]) == len(body)


def test_the_api_stays_closed_to_pages(place: str) -> None:
    assert ask(place, "/images/json", Sec_Fetch_Site="same-origin")[0] == 403
    assert ask(place, "/v1.44/ui/images", Sec_Fetch_Site="same-origin")[0] == 403


def test_data_needs_the_token_and_parts_do_not(images: orlop.ImageService) -> None:
    with serving(images, "tcp://127.0.0.1:0", security=Security(token=TOKEN), options=SHOWN) as (where,):
        for path in PARTS:
            assert ask(where, path)[0] in {200, 301}
        for path in ("/ui/images", "/ui/image?name=a:1", "/ui/other"):
            assert ask(where, path)[0] == 401
            assert ask(where, f"{path}?token={TOKEN}")[0] == 401
        assert ask(where, "/ui/images", Authorization=f"Bearer {TOKEN}")[0] == 200


def test_without_the_option_there_is_no_page(images: orlop.ImageService) -> None:
    with serving(images, "tcp://127.0.0.1:0", security=Security(anonymous=True)) as (where,):
        assert ask(where, "/ui/")[0] == 404


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("target", "method", "headers", "expected"),
    [
        ("/ui/nothing", "GET", {}, 404),
        ("/ui/image?name=none:1", "GET", {}, 404),
        ("/ui/image", "GET", {}, 400),
        ("/ui/image?name=a:1&old=none:1", "GET", {}, 404),
        ("/ui/images", "POST", {}, 403),
        ("/ui/images/..%2f", "GET", {}, None),
        ("/ui/%00", "GET", {}, 404),
        ("/ui/images", "GET", {"Host": "evil.example"}, 403),
        ("/ui/images", "GET", {"Transfer_Encoding": "odd"}, None),
        ("/ui/" + "x" * 70_000, "GET", {}, None),
        ("/ui/images", "GET", {"A": "x" * 70_000}, None),
        ("/ui", "GET", {}, 301),
    ],
)
def test_a_browser_is_told_the_same_with_errors(
    place: str, target: str, method: str, headers: dict[str, str], expected: int | None
) -> None:
    status, told, _ = ask(place, target, method, **{"Sec_Fetch_Site": "same-origin"} | headers)
    assert expected in (status, None)
    assert {name.decode(): value.decode() for name, value in HEADERS}.items() <= told.items()


def test_a_browser_is_told_the_same_where_a_server_fails(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("orlop.api.web.site.to_json", fail)
    status, told, _ = ask(place, "/ui/images")
    assert status == 500
    assert {name.decode(): value.decode() for name, value in HEADERS}.items() <= told.items()
