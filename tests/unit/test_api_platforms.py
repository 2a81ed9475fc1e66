"""Requests about one platform of an image: what each version of the API knows, and that nothing else is touched."""

from __future__ import annotations

import json
from io import BytesIO
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop.cli.main import run
from orlop.errors import ImageNotFound, InvalidPlatform, PlatformNotFound
from orlop.model.platform import Platform
from tests.unit.served import served

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orlop.service.image_service import ImageService
    from tests.unit.served import Client

TINY = "example/tiny:1.0"
OWN, OTHER = (json.dumps({"os": "linux", "architecture": name}) for name in ("amd64", "s390x"))
MISSING = (
    "image with reference {} was found but its platform (linux/amd64) does not match"
    " the specified platform (linux/s390x)"
)
SEVERAL = (
    "multiple platforms not supported for this image store;"
    " use a multi-platform image store such as containerd-snapshotter"
)
TOO_EARLY = "multiple platform parameters are not supported in this API version; use API version 1.52 or later"
BOTH = "both OS and Architecture must be provided"


@pytest.fixture
def archive(data: Path) -> Path:
    return data / "dockerd-20.10-overlay2" / "multi.tar"


@pytest.fixture
def images(tmp_path: Path, archive: Path) -> Iterator[ImageService]:
    with orlop.open(tmp_path / "root") as images:
        images.load(archive)
        yield images


@pytest.fixture
def client(images: ImageService, tmp_path: Path) -> Iterator[Client]:
    with served(images, tmp_path) as client:
        yield client


def test_an_image_of_another_platform_is_not_removed(client: Client, images: ImageService):
    identifier = str(images.inspect(TINY).image.id)
    before = images.images(all=True)
    for name in (TINY, "example/tiny:1.0", identifier, identifier[7:19]):
        for query in ({"platforms": OTHER}, {"platforms": OTHER, "force": "1"}):
            answer = client.delete(f"/v1.50/images/{name}", query)
            assert (answer.status, answer.message) == (404, MISSING.format(name))
    assert client.delete("/images/nosuch", {"platforms": OTHER}).message == "No such image: nosuch:latest"
    assert images.images(all=True) == before


def test_several_platforms_are_refused_and_nothing_is_removed(client: Client, images: ImageService):
    for given in ([OWN, OTHER], [OWN, OWN]):
        answer = client.delete(f"/images/{TINY}", {"platforms": given})
        assert (answer.status, answer.message) == (400, SEVERAL)
    assert images.inspect(TINY).references


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "failed to parse platform: "),
        ("linux/amd64", "failed to parse platform: "),
        (f"[{OWN}]", "failed to parse platform: "),
        (f"{OWN} {OWN}", "failed to parse platform: "),
        ('{"os":1}', "failed to parse platform: "),
        ("null", BOTH),
        ("{}", BOTH),
        ('{"os":"linux"}', BOTH),
        ('{"architecture":"amd64","variant":"v1"}', BOTH),
        ('{"variant":"v1"}', "optional platform fields provided, but OS and Architecture are missing"),
        ('{"os.version":"1"}', "optional platform fields provided, but OS and Architecture are missing"),
    ],
)
def test_what_is_not_a_platform_is_refused_everywhere(client: Client, images: ImageService, text: str, message: str):
    asked = [
        client.delete(f"/images/{TINY}", {"platforms": text}),
        client.get(f"/images/{TINY}/get", {"platform": text}),
        client.get("/images/get", {"names": TINY, "platform": text}),
        client.post("/images/load", {"platform": text}),
    ]
    if text:
        # Of a parameter with one value an empty one is none.
        asked += [client.get(f"/images/{TINY}/{what}", {"platform": text}) for what in ("json", "history")]
        asked.append(client.post(f"/images/{TINY}/push", {"platform": text}))
    for answer in asked:
        assert answer.status == 400
        assert answer.message.startswith(message)
    assert images.inspect(TINY).references


def test_members_that_are_not_known_are_passed_over_and_case_does_not_count(client: Client):
    text = '{"OS":"linux","Architecture":"amd64","nosuch":[1]}'
    assert client.delete(f"/images/{TINY}", {"platforms": text}).status == 200


def test_versions_that_do_not_know_the_parameter_ignore_it(client: Client, archive: Path):
    for what, since in (("json", 49), ("history", 48), ("get", 48)):
        for given in (OTHER, "junk", [OWN, OTHER]):
            assert client.get(f"/v1.{since - 1}/images/{TINY}/{what}", {"platform": given}).status == 200
            assert client.get(f"/v1.{since}/images/{TINY}/{what}", {"platform": given}).status != 200 or given == [
                OWN,
                OTHER,
            ]
    assert client.post("/v1.47/images/load", {"platform": [OTHER, "junk"]}, body=archive.read_bytes()).status == 200
    for given in ("junk", OTHER, [OWN, OTHER]):
        client.post("/images/example/imported/tag", {"repo": "again"})
        assert client.delete("/v1.49/images/again", {"platforms": given}).status == 200


def test_of_several_platforms_of_one_image_the_first_is_asked_for(client: Client):
    for what in ("json", "history"):
        assert client.get(f"/images/{TINY}/{what}", {"platform": [OWN, OTHER]}).status == 200
        assert client.get(f"/images/{TINY}/{what}", {"platform": [OTHER, OWN]}).status == 404


def test_no_platform_is_left_out_of_a_saved_archive(client: Client):
    for target, query in ((f"/images/{TINY}/get", {}), ("/images/get", {"names": TINY})):
        for version in ("", "/v1.52"):
            answer = client.get(f"{version}{target}", query | {"platform": [OWN, OTHER]})
            assert (answer.status, answer.message) == (404, MISSING.format(TINY))
            assert client.get(f"{version}{target}", query | {"platform": [OWN, OWN]}).status == 200
        answer = client.get(f"/v1.51{target}", query | {"platform": [OWN, OTHER]})
        assert (answer.status, answer.message) == (400, TOO_EARLY)
        answer = client.get(target, query | {"platform": OTHER})
        assert (answer.status, answer.message) == (404, MISSING.format(TINY))
        assert client.get(target, query | {"platform": OWN}).status == 200


def test_one_of_several_images_that_is_of_another_platform_stops_a_save(client: Client, images: ImageService):
    made = images.import_image(BytesIO(bytes(1024)), "other:1", platform="linux/s390x")
    answer = client.get("/images/get", {"names": [TINY, "other"], "platform": OWN})
    assert answer.status == 404
    assert "image with reference other was found but its platform (linux/s390x)" in answer.message
    with pytest.raises(PlatformNotFound):
        list(images.save_chunks([TINY, str(made)], platform="linux/amd64"))


def test_several_platforms_of_a_load(client: Client, archive: Path):
    query = {"platform": [OWN, OTHER]}
    answer = client.post("/v1.51/images/load", query, body=archive.read_bytes())
    assert (answer.status, answer.message) == (400, TOO_EARLY)
    (line,) = client.post("/images/load", query, body=archive.read_bytes()).lines
    assert line["error"] == SEVERAL


def test_manifests_and_a_platform_exclude_each_other(client: Client):
    answer = client.get(f"/images/{TINY}/json", {"manifests": "1", "platform": OWN})
    assert answer.message == "conflicting options: manifests and platform options cannot both be set"
    assert client.get(f"/v1.48/images/{TINY}/json", {"manifests": "1", "platform": OWN}).status == 200
    assert client.get(f"/images/{TINY}/json", {"manifests": "0", "platform": OWN}).status == 200


# The library.


@pytest.mark.parametrize(
    "wanted", ["linux/s390x", Platform("linux", "s390x"), "s390x", "windows/amd64", "linux/amd64/v3"]
)
def test_the_library_asks_for_platforms_too(images: ImageService, tmp_path: Path, wanted: Platform | str):
    for ask in (images.inspect, images.history, images.remove):
        with pytest.raises(PlatformNotFound):
            ask(TINY, platform=wanted)
    with pytest.raises(PlatformNotFound):
        images.save([TINY], tmp_path / "saved.tar", platform=wanted)
    assert not (tmp_path / "saved.tar").exists()
    assert images.inspect(TINY, platform="linux/amd64").references


def test_a_platform_is_read_before_anything_is_done(images: ImageService):
    with pytest.raises(InvalidPlatform):
        images.remove(TINY, platform="nintendo64")
    with pytest.raises(ImageNotFound):
        images.remove("nosuch", platform="linux/amd64")
    assert images.remove(TINY, platform=Platform("linux", "amd64")).untagged == (TINY,)


# The command line.


def test_the_command_line_removes_and_saves_one_platform_only(
    images: ImageService, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    target = tmp_path / "saved.tar"

    def done(*arguments: str) -> tuple[int, str]:
        status = run(["--root", str(images.root), *arguments])
        return status, capsys.readouterr().err

    for command in (["rmi", "-f"], ["save", "-o", str(target)]):
        status, errors = done(*command, "--platform", "linux/s390x", TINY)
        assert (status, errors) == (PlatformNotFound.exit_code, f"Error: {MISSING.format(TINY)}\n")
    assert not target.exists()
    assert images.inspect(TINY).references
    for command in (["save", "-o", str(target)], ["rmi"]):
        assert done(*command, "--platform", "linux/amd64", TINY) == (0, "")
    assert target.exists()
