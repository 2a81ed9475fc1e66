"""Secrets in the config and the history are in no audit, whatever its form."""

from __future__ import annotations

import io
import json
import tarfile
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop.cli.main import run
from orlop.inside.audit import audit
from orlop.inside.masked import Mask, is_secret_variable
from orlop.model.image import Image
from orlop.page.document import image_document, image_paths, to_json
from tests.growing import growth, spent
from tests.unit.images_made import image, layer
from tests.unit.secrets_made import letters, word

if TYPE_CHECKING:
    from pathlib import Path

KEY = "AKIAQ3EGRIWAK7TPLZ2M"
SECRET = word(40)
TOKEN = f"glpat-{word(24)}"
FLOOD = " ".join(f"glpat-{word(21)}{number:03}" for number in range(120))
OTHER = "hf_" + letters(34)


def archive(path: Path, steps: list[str], config: dict[str, object]) -> str:
    """Write an image with one layer; all steps but the first have none."""
    made = image(layer(("a", b"x")), config=config)
    with tarfile.open(fileobj=io.BytesIO(made)) as tar:
        files = {one.name: file.read() for one in tar if (file := tar.extractfile(one)) is not None}
    [manifest] = json.loads(files["manifest.json"])
    document = json.loads(files.pop(manifest["Config"]))
    document["history"] = [{"created_by": step, "empty_layer": number > 0} for number, step in enumerate(steps)]
    raw = json.dumps(document).encode()
    manifest["Config"] = f"{sha256(raw).hexdigest()}.json"
    files |= {manifest["Config"]: raw, "manifest.json": json.dumps([manifest]).encode()}
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return str(path)


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("steps", "config", "secrets"),
    [
        ([f"RUN curl -H {TOKEN}"], {}, [TOKEN]),
        ([f"ENV AWS_ACCESS_KEY_ID={KEY}", f"ENV AWS_SECRET_ACCESS_KEY={SECRET}"], {}, [KEY, SECRET]),
        ([f"RUN aws {KEY} {SECRET}"], {}, [KEY, SECRET]),
        ([f"RUN {FLOOD} {OTHER}"], {}, [OTHER, FLOOD.split()[-1]]),
        (["RUN login -p hunter2hunter2"], {"Env": ["DB_PASSWORD=hunter2hunter2"]}, ["hunter2hunter2"]),
        (["|1 API_TOKEN=hunter2hunter2 /bin/sh -c make"], {}, ["hunter2hunter2"]),
        (["RUN git clone https://me:hunter2hunter2@git.example/x"], {}, ["hunter2hunter2", "hunt"]),
        (["ENV DATABASE_URL=postgres://me:hunter2hunter2@db/app"], {}, ["hunter2hunter2"]),
        (["RUN make"], {"Env": ["DATABASE_URL=postgres://me:hunter2hunter2@db"]}, ["hunter2hunter2"]),
        (["RUN make"], {"User": TOKEN, "Labels": {TOKEN: "l"}, "Cmd": [TOKEN]}, [TOKEN]),
    ],
)
def test_no_form_of_an_audit_has_a_secret_of_the_history(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], steps: list[str], config: dict[str, object], secrets: list[str]
) -> None:
    path = archive(tmp_path / "image.tar", steps, config)
    for words in ([], ["--format", "json"], ["--sarif"]):
        assert run(["audit", "--archive", path, *words]) == 0
        shown = capfd.readouterr().out
        assert not [secret for secret in secrets if secret[:20] in shown]
    with orlop.ArchiveService(path) as service, service.files(None) as files:
        page = to_json(image_document("image", files, audit(files), image_paths(files)))
    assert not [secret for secret in secrets if secret in page]


def test_a_step_without_a_secret_is_shown_as_it_is(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    step = "RUN TOKEN=$GIVEN PASSWORD=/run/secrets/p TOKENS=abcdefghijkl make 0123456789012345678901234567890123456789"
    assert run(["audit", "--archive", archive(tmp_path / "image.tar", [step], {}), "--format", "json"]) == 0
    assert json.loads(capfd.readouterr().out)["Layers"][0]["CreatedBy"] == step


@pytest.mark.parametrize("text", ["a://", "a:", "://a:", "a" * 40, ";Password", "a://a:a"])
def test_what_only_begins_like_a_url_takes_no_time(text: str) -> None:
    def worked(size: int) -> float:
        value = text * (size // len(text))
        return spent(lambda: is_secret_variable("PLACE", value))

    assert growth(worked, 1 << 15, 1 << 17, below=20, least=0.01) < 20


def masked(text: str) -> str:
    """Return a step of a history as an audit shows it."""
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}
    image = Image.from_json(json.dumps(config | {"history": [{"created_by": text, "empty_layer": True}]}).encode())
    return Mask(image)(text)


@pytest.mark.parametrize(
    "piece",
    ["a", "A", "_", "0", "a=", "=", "a ", "://", "a://", "http://a:b", ";Password=", "PASSWORD=", "AKIA", "eyJ"],
)
def test_a_long_text_of_one_kind_takes_as_long_as_it_is(piece: str) -> None:
    def worked(size: int) -> float:
        text = (piece * size)[:size]
        return spent(lambda: masked(text))

    assert growth(worked, 1 << 12, 1 << 15, below=24, least=0.001) < 24


def test_a_variable_in_the_middle_of_a_line_is_masked() -> None:
    assert masked("RUN MY_PASSWORD=hunter2hunter2 make") == "RUN MY_PASSWORD=hunt…(14 characters) make"
