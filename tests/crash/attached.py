"""What is interrupted around an image with all that belongs to one in a registry: platforms, signatures, referrers.

The image is an index of two platforms with an attestation for one of them. A signature is attached to it under cosign's
tag by a name, another by the text of a layout alone; a note refers to it, a signature to the note, and another one
to one of the platforms.
"""

from __future__ import annotations

import io
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import orlop
from tests.crash.damaged import MULTI
from tests.unit.artifacts import attestation, chart, signature
from tests.unit.layouts import CONFIG, MANIFEST, Layout, named, tagged

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orlop.service.image_service import ImageService
    from tests.crash.scenarios import Scenario

APP: Final = "example/signed:1"
OTHER: Final = "example/signed:2"
CHART: Final = "example/chart:1"
_PAYLOAD: Final = "application/vnd.dev.cosign.simplesigning.v1+json"


def _signed(layout: Layout, what: str) -> dict[str, Any]:
    """Add a signature of cosign's, which has the config of an image."""
    payload = layout.blob(b'{"critical":"%s"}' % what.encode(), _PAYLOAD)
    config = {"architecture": "", "os": "", "rootfs": {"type": "layers", "diff_ids": [payload["digest"]]}}
    value = {"schemaVersion": 2, "mediaType": MANIFEST, "config": layout.document(config, CONFIG), "layers": [payload]}
    return layout.document(value, MANIFEST)


@cache
def layout() -> bytes:
    """Return the layout of it all, beside a chart, as a tar."""
    made = Layout()
    below = [made.image(one, architecture=one, platform=True) for one in ("amd64", "arm64")]
    top = made.index(*below, attestation(made, below[1]))
    tag = top["digest"].replace(":", "-")
    note = signature(made, top, b"a note")
    made.top(
        top | named(f"docker.io/{APP}"),
        _signed(made, "name") | named(f"docker.io/example/signed:{tag}.sig"),
        _signed(made, "text") | tagged(f"{tag}.att"),
        note,
        signature(made, note, b"of the note"),
        signature(made, below[0], b"of a platform"),
        chart(made) | named(f"docker.io/{CHART}"),
    )
    return made.pack()


def _file(place: Path) -> None:
    with orlop.open(place / "root") as images:
        images.load(MULTI)
    (place / "signed.tar").write_bytes(layout())


def _loaded(place: Path) -> None:
    _file(place)
    with orlop.open(place / "root") as images:
        images.load(io.BytesIO(layout()))


def _named_twice(place: Path) -> None:
    _loaded(place)
    with orlop.open(place / "root") as images:
        images.tag(APP, OTHER)


def shown(images: ImageService) -> list[object]:
    """Return what a user sees beside images: each name with what it means, and all that stands below."""
    return [*images.tree()]


def scenarios() -> Iterator[Scenario]:
    """Yield the commands."""
    from tests.crash.scenarios import Scenario

    image = "example/imported:latest"
    yield Scenario("load of what is signed", ("load", "-i", "{}/signed.tar"), _file, shows=shown)
    yield Scenario("tag of an index", ("tag", APP, image), _loaded, shows=shown)
    yield Scenario("tag of an artifact", ("tag", CHART, image), _loaded, shows=shown)
    yield Scenario("tag of an image over an index", ("tag", image, APP), _loaded, shows=shown)
    yield Scenario("rmi of what is signed", ("rmi", APP), _loaded, again=4, shows=shown)
    yield Scenario("rmi of one of two names", ("rmi", APP), _named_twice, again=4, shows=shown)
    yield Scenario("rmi of a platform", ("rmi", "--platform", "linux/arm64", APP), _loaded, again=4, shows=shown)
    yield Scenario(
        "save of what is signed", ("save", "--format", "oci-dir", "-o", "{}/layout", APP), _loaded, shows=shown
    )
