"""Answers of the Engine API beside those that daemons gave about the same images."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from tests.unit.served import served

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orlop.service.image_service import ImageService
    from tests.unit.served import Client

DANGLING = "?filters=%7B%22dangling%22%3A%5B%22true%22%5D%7D"
LISTS = {"images": "/images/json", "images-all": "/images/json?all=1", "images-dangling": f"/images/json{DANGLING}"}
NAMES = {
    "example_dup_v1": "example/dup:v1",
    "example_imported_latest": "example/imported:latest",
    "example_tiny_1.0": "example/tiny:1.0",
    "registry.example.com_5000_team_committed_2.0": "registry.example.com:5000/team/committed:2.0",
}
NOSUCH = {
    "err-delete": ("DELETE", "/images/nosuch"),
    "err-nosuch": ("GET", "/images/nosuch/json"),
    "err-tag": ("POST", "/images/nosuch/tag?repo=a"),
    "err-upper": ("GET", "/images/UPPER/json"),
}
TINY, COMMITTED = "example/tiny:1.0", "registry.example.com:5000/team/committed:2.0"
LOADED = (
    ("load-multi.stream.json", "POST", "/images/load", "multi.tar"),
    ("load-multi-again.stream.json", "POST", "/images/load", "multi.tar"),
    ("delete-tiny.http", "DELETE", f"/images/{TINY}", None),
    ("delete-committed.http", "DELETE", f"/images/{COMMITTED}", None),
    ("prune.http", "POST", "/images/prune", None),
)
Difference = tuple[str, str]


@dataclass(frozen=True)
class Engine:
    """A server that is asked what a daemon was asked; the bodies of requests are archives in a folder, or texts."""

    client: Client
    archives: Path

    def answer(self, method: str, url: str, content: str | None) -> tuple[int, str]:
        body = None if content is None else content.encode()
        if content is not None and content.endswith(".tar"):
            body = (self.archives / content).read_bytes()
        answer = self.client.ask(method, url, body=body)
        return answer.status, answer.body.decode(errors="replace")


@contextmanager
def engine(tmp_path_factory: pytest.TempPathFactory, archives: Path) -> Iterator[tuple[Engine, ImageService]]:
    folder = tmp_path_factory.mktemp("engine")
    with orlop.open(folder / "store") as images, served(images, folder) as client:
        yield Engine(client, archives), images


def compared(text: str, *, by: str) -> Any:
    """Read a body for comparison: images under their IDs or names, for their order is open; progress by itself."""
    found = [json.loads(line) for line in text.splitlines() if line]
    if any({"progressDetail", "stream", "error"} & line.keys() for line in found if isinstance(line, dict)):
        return {
            "progress": [line for line in found if "id" in line],
            "rest": [line for line in found if "id" not in line],
        }
    return keyed(found[0], by) if len(found) == 1 else found


def keyed(value: Any, by: str) -> Any:
    if isinstance(value, list) and value and isinstance(value[0], dict) and "ParentId" in value[0]:
        images = {str(image[by] if by == "Id" else image[by][0]): image for image in value if image[by]}
        return dict(sorted(images.items()))
    return {key: keyed(member, by) for key, member in value.items()} if isinstance(value, dict) else value


def differences(ours: Any, theirs: Any, path: str = "") -> Iterator[str]:
    """Yield where two documents differ, by paths such as ``RootFS.Layers.0``; the order of keys counts too."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in {**theirs, **ours}:
            if key in ours and key in theirs:
                yield from differences(ours[key], theirs[key], f"{path}.{key}".lstrip("."))
            else:
                yield f"{path}.{key}".lstrip(".")
        if [key for key in ours if key in theirs] != [key for key in theirs if key in ours]:
            yield f"{path} order"
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from differences(one, other, f"{path}.{number}".lstrip("."))
    elif ours != theirs or type(ours) is not type(theirs):
        yield path


def requests_of(folder: Path, version: str) -> Iterator[tuple[str, str, int, str]]:
    """Yield the requests that the files of an `api/` folder answer, with statuses and bodies."""
    for file in sorted(folder.iterdir()):
        kind, _, image = file.stem.partition("-")
        if file.stem in LISTS:
            yield "GET", f"/v{version}{LISTS[file.stem]}", 200, file.read_text()
        elif file.stem == "df":
            yield "GET", f"/v{version}/system/df", 200, file.read_text()
        elif image in NAMES:
            what = {"inspect": "json", "history": "history"}[kind]
            yield "GET", f"/v{version}/images/{NAMES[image]}/{what}", 200, file.read_text()
        elif file.stem in NOSUCH:
            method, path = NOSUCH[file.stem]
            yield method, f"/v{version}{path}", *answer_of(file)


def answer_of(file: Path) -> tuple[int, str]:
    """Read a recorded answer: its status and body, or a body that came with 200."""
    head, _, text = file.read_text().partition("\n\n")
    return (int(head.split()[1]), text) if file.suffix == ".http" else (200, file.read_text())


def replayed(
    asked: Engine, exchange: tuple[str, str, int, str], body: str | None = None, *, by: str = "Id"
) -> set[Difference]:
    """Ask what a daemon was asked, and return how the answers differ."""
    method, url, status, text = exchange
    own_status, own = asked.answer(method, url, body)
    found = set() if own_status == status else {"status"}
    # Saved archives are compared elsewhere.
    if status != 200 or not re.search(r"/get(\?|$)", url):
        found |= set(differences(compared(own, by=by), compared(text, by=by)))
    return {(f"{method} {url}", path) for path in found}


def explained(data: Path) -> list[Difference]:
    """Read the table of differences: patterns of requests, and of places in their answers."""
    page = (data.parents[1] / "docs" / "engine-api.md").read_text()
    rows = re.findall(r"^\| `((?:20\.10|29|\*)\S* [^`]+)` \| ([^|]+) \|", page, re.MULTILINE)
    return [(request, place) for request, places in rows for place in re.findall(r"`([^`]+)`", places)]


@pytest.fixture(scope="module")
def found(data: Path, tmp_path_factory: pytest.TempPathFactory) -> set[Difference]:
    """All differences from all recorded answers."""
    differing: set[Difference] = set()
    folder = data / "dockerd-20.10-overlay2"
    with engine(tmp_path_factory, folder) as (asked, _):
        for line in (folder / "exchanges.jsonl").read_text().splitlines():
            said = json.loads(line)
            exchange = (said["method"], said["url"], said["status"], said["answer"])
            differing |= {(f"20.10 {url}", path) for url, path in replayed(asked, exchange, said.get("body"))}
    with engine(tmp_path_factory, folder) as (asked, _):
        for file, method, path, body in LOADED:
            exchange = (method, f"/v1.41{path}", *answer_of(folder / "api" / file))
            differing |= {(f"20.10-loaded {url}", place) for url, place in replayed(asked, exchange, body)}
        bad = (folder / "api" / "load-bad.http").read_text().split("###")[1:]
        for said, body in zip(bad, ("junk\n", ""), strict=False):
            seen = replayed(asked, ("POST", "/v1.41/images/load", 200, said.partition("\n\n")[2]), body)
            differing |= {(f"20.10-loaded {url}", place) for url, place in seen}
    for name, engine_name, version in (
        ("dockerd-20.10-overlay2", "20.10", "1.41"),
        ("dockerd-29-overlay2", "29", "1.55"),
        ("dockerd-29-containerd", "29-containerd", "1.55"),
    ):
        # With containerd's storage neither IDs nor the images without a name are the same.
        other = engine_name == "29-containerd"
        with engine(tmp_path_factory, data / name) as (asked, images):
            for archive in ("multi.tar", "dup.tar", *(() if other else ("parent-child.tar",))):
                images.load(data / name / archive)
            images.tag("example/tiny:1.0", "example/tiny:latest")
            for exchange in requests_of(data / name / "api", version):
                if not (other and "?" in exchange[1]):
                    seen = replayed(asked, exchange, by="RepoTags" if other else "Id")
                    differing |= {(f"{engine_name}-built {url}", path) for url, path in seen}
    return differing


@pytest.mark.sampled(4)
def test_every_difference_from_a_recorded_answer_is_explained(found: set[Difference], data: Path) -> None:
    table = explained(data)
    unexplained = {
        (request, place)
        for request, place in found
        if not any(fnmatchcase(request, rule) and fnmatchcase(place, path) for rule, path in table)
    }
    assert sorted(unexplained) == []


def test_every_explanation_is_needed(found: set[Difference], data: Path) -> None:
    needless = [
        (rule, path)
        for rule, path in explained(data)
        if not any(fnmatchcase(request, rule) and fnmatchcase(place, path) for request, place in found)
    ]
    assert needless == []
