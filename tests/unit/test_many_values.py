"""Documents of more values than a stranger may send: what is stored, or was allowed by a limit, is as usual."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import orlop
from orlop.errors import InvalidAnswer, LimitExceeded
from orlop.model import gojson
from orlop.registry import messages
from orlop.registry.messages import Answer, Headers
from tests.unit.layouts import MANIFEST, Layout, named

if TYPE_CHECKING:
    from pathlib import Path

MANY = {f"l{number:x}": "" for number in range(gojson.MAX_VALUES + 1)}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of an index, an image and an artifact of very many annotations, and an image of very many labels."""
    layout = Layout()
    image = layout.image("a")
    index = layout.document(
        {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [image]}
        | {"annotations": MANY},
        "application/vnd.oci.image.index.v1+json",
    )
    labelled = layout.image("b", compress=False)
    config = {"architecture": "amd64", "os": "linux", "config": {"Labels": MANY}}
    config["rootfs"] = {"type": "layers", "diff_ids": []}
    labelled = layout.image(
        changes={"config": layout.document(config, "application/vnd.oci.image.config.v1+json"), "layers": []}
    )
    noted = layout.image("c", changes={"annotations": MANY})
    tops = {"index": index, "labelled": labelled, "noted": noted}
    layout.top(*({**top, **named(f"docker.io/library/{name}:latest")} for name, top in tops.items()))
    path = tmp_path_factory.mktemp("many") / "many.tar"
    path.write_bytes(layout.pack())
    return path


@pytest.mark.sampled(3, daily=False)
def test_documents_of_very_many_values_are_used_once_a_limit_let_them_in(
    images: orlop.ImageService, archive: Path, tmp_path: Path
) -> None:
    with pytest.raises(LimitExceeded, match="json-values"):
        images.load(archive)
    images.load(archive, limits=orlop.Limits(json_values=4_000_000, json_values_total=20_000_000, config_size=1 << 26))
    for name in ("index", "labelled", "noted"):
        images.inspect(name)
        images.history(name)
        images.tag(name, f"{name}:2")
        images.save([name], tmp_path / f"{name}.tar")
    for name in ("index", "labelled", "noted"):
        images.remove(name, force=True)
        images.remove(f"{name}:2")
    assert not images.images()


def test_a_registry_sends_no_document_of_very_many_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "MAX_VALUES", 20)

    def answer(raw: bytes) -> Answer:
        pieces = iter([raw])
        headers = Headers([("Content-Type", MANIFEST)])
        return Answer(200, headers, "https://r.example/v2/", read=lambda _: next(pieces, b""), close=lambda _: None)

    assert answer(b'{"a":"' + b"[," * 20 + b'"}').document(1000, what="the manifest")
    with pytest.raises(InvalidAnswer, match=r"the manifest from https://r\.example/v2/ has more than 20 values"):
        answer(b"[" + b"[]," * 20 + b"0]").document(1000, what="the manifest")
