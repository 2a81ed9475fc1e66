"""The page as a file: what it is made of, what it allows, and that it holds no secret."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zlib
from base64 import b64decode, b64encode
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from docs import generate_page
from orlop.cli.main import run
from orlop.inside.audit import audit
from orlop.inside.merge import Merge
from orlop.page.document import image_document, image_paths
from orlop.page.html import asset, html_page
from tests.unit.images_made import image, layer
from tests.unit.secrets_made import word

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from orlop.streams.tar_entry import TarEntry

TOKEN = f"glpat-{word(24)}"


def data_of(page: bytes) -> Any:
    found = re.search(rb'<script type="text/plain" id="data">([^<]*)</script>', page)
    assert found is not None
    return json.loads(zlib.decompress(b64decode(found[1])))


@pytest.fixture
def page(tmp_path: Path) -> Iterator[bytes]:
    archive = tmp_path / "image.tar"
    config: dict[str, object] = {"Env": [f"KEY={TOKEN}"], "Labels": {"l": TOKEN}, "Cmd": ["run", TOKEN]}
    archive.write_bytes(image(layer(("a", b"x" * 10), ("b", TOKEN.encode())), tag="made:1", config=config))
    with orlop.ArchiveService(str(archive)) as service, service.files(None) as files:
        yield html_page([image_document('"><script>', files, audit(files), image_paths(files))])


def test_what_a_page_is_made_of_is_made_from_its_sources() -> None:
    assert generate_page.made() == {name: asset(name) for name in ("page.js", "page.css", "page.html")}


def test_script_and_style_are_small() -> None:
    assert len(asset("page.js")) + len(asset("page.css")) <= 60_000


def test_modules_that_do_not_fit_together_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate_page, "SOURCE", tmp_path)
    (tmp_path / "main.js").write_text('import { one } from "./other.js";\nfunction two() {}\n')
    (tmp_path / "other.js").write_text("export function one() {}\nexport function two() {}\n")
    with pytest.raises(ValueError, match=r"main.js and other.js both declare two"):
        generate_page.script()
    (tmp_path / "other.js").write_text('import { two } from "./main.js";\nexport function one() {}\n')
    with pytest.raises(ValueError, match="import each other"):
        generate_page.script()


def test_only_the_script_and_the_style_of_the_page_are_allowed(page: bytes) -> None:
    found = re.search(rb'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert found is not None
    allowed = found[1].decode()
    for tag in ("script", "style"):
        (inside,) = re.findall(rf"<{tag}>(.*?)</{tag}>".encode(), page, re.DOTALL)
        assert f"'sha256-{b64encode(sha256(inside).digest()).decode()}'" in allowed
    assert "unsafe" not in allowed
    assert allowed.startswith("default-src 'none'; ")
    assert page.index(b"Content-Security-Policy") < page.index(b"<style>")


def test_nothing_of_a_name_is_markup(page: bytes) -> None:
    assert b'"><script>' not in page
    assert b"<title>&quot;&gt;&lt;script&gt;</title>" in page


def test_a_secret_is_found_and_not_in_the_page(page: bytes) -> None:
    document = data_of(page)["image"]
    assert {one["rule"] for one in document["findings"]} >= {"gitlab-token"}
    assert TOKEN not in json.dumps(document)
    assert TOKEN.encode() not in page


def test_no_source_makes_markup_or_code_of_text() -> None:
    script = asset("page.js").decode()
    words = ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", "http:", "https:")
    for one in words:
        assert one not in script


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    "words",
    [("--compare", "x"), ("--html", "f", "a"), ("--html", "f", "--sarif"), ("--html", "f", "--format", "json")],
)
def test_options_that_do_not_fit_together_are_refused(tmp_path: Path, words: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "orlop", "--root", str(tmp_path), "audit", *words, "image"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert not (tmp_path / "f").exists()


@pytest.mark.sampled(3)
def test_the_same_image_gives_the_same_page(tmp_path: Path) -> None:
    archive = tmp_path / "image.tar"
    archive.write_bytes(image(layer(*((f"d{number % 7}/f{number}", b"x" * number) for number in range(200)))))
    pages = []
    for seed in ("1", "2"):
        command = [sys.executable, "-m", "orlop", "audit", "--archive", "image.tar", "--html", "-"]
        environment = {"PYTHONHASHSEED": seed, "PATH": "/usr/bin:/bin"}
        done = subprocess.run(command, capture_output=True, check=True, cwd=tmp_path, env=environment)
        pages.append(done.stdout)
    assert pages[0] == pages[1]
    assert len(data_of(pages[0])["image"]["paths"]["names"]) == 208


def test_a_page_and_its_audit_merge_the_layers_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive, made = tmp_path / "made.tar", tmp_path / "made.html"
    archive.write_bytes(image(layer(("a", b"1")), layer(("a", b"2")), layer(("b", b"3")), tag="made:1"))
    applied = 0
    apply = Merge.apply

    def counted(merge: Merge, entries: Iterable[TarEntry]) -> None:
        nonlocal applied
        applied += 1
        apply(merge, entries)

    monkeypatch.setattr(Merge, "apply", counted)
    assert run(["audit", "--archive", str(archive), "--html", str(made)]) == 0
    assert applied == 3
    assert made.stat().st_size > 0
