"""Versions of the Engine API: read, ordered, refused where they are not served, and told apart as the page says."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from orlop.api.engine.shapes.event import event
from orlop.api.engine.shapes.fault import Verb, fault
from orlop.api.engine.shapes.filters import list_filters
from orlop.api.engine.shapes.history import history
from orlop.api.engine.shapes.image import image
from orlop.api.engine.shapes.image_list import image_list
from orlop.api.engine.shapes.progress import LayerLines
from orlop.api.engine.shapes.system import State, info_document, version_document
from orlop.api.engine.shapes.usage import usage, usage_types
from orlop.api.engine.versions import MAXIMUM, MINIMUM, V1_41, ApiVersion, check_version
from orlop.errors import InvalidFilter, InvalidReference, UnsupportedVersion
from orlop.model.container import ContainerConfig
from orlop.model.descriptor import Descriptor
from orlop.model.digest import Digest, ImageID
from orlop.model.image import Image, RootFS, V1Image
from orlop.model.manifest import OCI_INDEX
from orlop.model.platform import Platform
from orlop.model.progress import LayerProgress
from orlop.model.reference import Reference
from orlop.model.timestamp import ZERO
from orlop.service.host import this_host
from orlop.service.listing.history import HistoryEntry
from orlop.service.listing.inspect import ImageDetails
from orlop.service.listing.listed import ImageUsage, ListedImage
from orlop.service.listing.manifests import ImageManifests, ManifestKind, ManifestSummary
from orlop.service.listing.summaries import ImageSummary
from orlop.store.rows.metadata import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

VERSIONS = [ApiVersion(1, minor) for minor in range(MINIMUM.minor, MAXIMUM.minor + 1)]
DIGEST = Digest.of(b"")
SELF = ImageID.of(b"")
TARGET = Descriptor(OCI_INDEX, DIGEST, 1)
MANIFESTS = (ManifestSummary(TARGET, ManifestKind.IMAGE, platform=Platform("linux", "arm64")),)
NAMES = (Reference.parse("a"), Reference.parse(f"a@{DIGEST}"))
PLAIN = ContainerConfig()
FULL = ContainerConfig(
    hostname="h",
    network_disabled=True,
    mac_address="m",
    stop_timeout=1,
    exposed_ports=frozenset({"80/tcp"}),
    labels={"a": "b"},
)
LISTED = ListedImage(ImageSummary(SELF, NAMES, 1, 1, None), None, TARGET, 1, MANIFESTS)
UNNAMED = ListedImage(ImageSummary(SELF, (), 1, 1, None))


def details(v1: V1Image) -> ImageDetails:
    return ImageDetails(Image(v1, rootfs=RootFS(), raw_json=b"{}"), NAMES, 1, 1, ())


def faults(version: ApiVersion) -> dict[str, object]:
    """The words and statuses of some failures."""
    bad = InvalidReference("bad")
    with pytest.raises(InvalidFilter) as filtered:
        list_filters({"nosuch": ()}, version)
    return {
        "inspect": vars_of(fault(bad, version, Verb.INSPECT, "X")),
        "save": vars_of(fault(bad, version, Verb.SAVE, "X")),
        "tag": vars_of(fault(bad, version, Verb.TAG_TARGET)),
        "history": vars_of(fault(bad, version, name="X")),
        "filters": str(filtered.value),
    }


def vars_of(answer: Any) -> dict[str, object]:
    return {"status": answer.status, "message": answer.message}


ANSWERS: dict[str, Callable[[ApiVersion], Any]] = {
    "GET /images/json": lambda version: image_list([LISTED, UNNAMED], version),
    "GET /images/{name}/json": lambda version: [
        image(
            details(V1Image(created=ZERO, docker_version="1", author="a", comment="c", config=FULL)),
            version,
            ImageManifests(TARGET, b"", MANIFESTS),
            with_manifests=True,
        ),
        image(details(V1Image(config=PLAIN)), version),
    ],
    "GET /images/{name}/history": lambda version: history([HistoryEntry(None, None, "", "", 0, ())], version),
    "GET /system/df": lambda version: usage(
        ImageUsage((replace(LISTED, manifests=None),), 1), version, usage_types([], version)
    ),
    "GET /info": lambda version: info_document(this_host(), State("/", 1, ""), version),
    "GET /version": lambda version: version_document(this_host(), version),
    "GET /events": lambda version: event(Event(1, 1, "image", "tag", str(SELF), {"name": "a"}), version),
    "POST /images/load": lambda version: json.loads(LayerLines(version).line(LayerProgress("a", 1, 2)) or b""),
    "errors": faults,
}


def changes(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """Yield how two documents differ: `+ key`, `- key`, and `~ key` for another value."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in {**before, **after}:
            inner = f"{path}.{key}".lstrip(".")
            if key not in before:
                yield f"+ {inner}"
            elif key not in after:
                yield f"- {inner}"
            else:
                yield from changes(before[key], after[key], inner)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for one, other in zip(before, after, strict=True):
            yield from changes(one, other, path)
    elif before != after:
        yield f"~ {path}"


def test_the_page_tells_every_change_of_an_answer_between_two_versions_and_no_other(data: Path):
    found = {
        (str(after), endpoint, change)
        for endpoint, answer in ANSWERS.items()
        for before, after in pairwise(VERSIONS)
        for change in changes(answer(before), answer(after))
    }
    page = (data.parents[1] / "docs" / "engine-api.md").read_text()
    told = {
        (version, endpoint, change)
        for version, endpoint, cell in re.findall(r"^\| (1\.\d\d) \| `?([^|`]+?)`? \| ([^|]*) \|", page, re.MULTILINE)
        for change in re.findall(r"`([-+~] [^`]*)`", cell)
    }
    assert told == found


def test_versions_are_ordered_by_their_numbers():
    texts = ["", "1", "1..41", "1.9", "1.41", "1.41.0.1", "1.41.1", "1.100", "2.0", f"{10**30}.0"]
    versions = list(map(ApiVersion.parse, texts))
    assert sorted(versions) == versions
    assert list(map(str, versions[2:7])) == ["1.0.41", "1.9", "1.41", "1.41.0.1", "1.41.1"]


@pytest.mark.parametrize("text", ["1.041", "01.41", "1.41.0", "1.41."])
def test_a_version_may_be_written_with_zeros(text: str):
    assert ApiVersion.parse(text) == V1_41


def test_versions_that_are_served_pass():
    for version in VERSIONS:
        check_version(version, str(version))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "1.23",
            (
                "client version 1.23 is too old. Minimum supported API version is 1.24,"
                " please upgrade your client to a newer version"
            ),
        ),
        ("1.56", "client version 1.56 is too new. Maximum supported API version is 1.55"),
        ("1.055.01", "client version 1.055.01 is too new. Maximum supported API version is 1.55"),
    ],
)
def test_versions_that_are_not_served_are_refused_in_the_words_of_the_daemon(text: str, words: str):
    with pytest.raises(UnsupportedVersion) as refused:
        check_version(ApiVersion.parse(text), text)
    assert str(refused.value) == words
