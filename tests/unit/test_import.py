"""Imports: the config that docker's engine makes of instructions, and layers that keep their bytes."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from orlop.build.changes import apply_changes
from orlop.errors import DownloadFailed, InvalidCompression, InvalidInstruction, InvalidReference, NotFound
from orlop.model.container import ContainerConfig
from orlop.model.dialect import Dialect
from orlop.service.import_image import import_image
from orlop.store.local import local_store
from orlop.streams.tar_write import END, member_header, padding

if TYPE_CHECKING:
    from collections.abc import Iterator

DATA = Path(__file__).parents[1] / "data"
RECORDED = [json.loads(line) for line in (DATA / "dockerd-20.10-overlay2" / "changes.jsonl").read_text().splitlines()]
ROOT = member_header("f", size=3, mode=0o644) + b"hi\n" + padding(3) + END


@pytest.fixture
def images(tmp_path: Path) -> Iterator[orlop.ImageService]:
    with orlop.open(tmp_path / "store") as service:
        yield service


@pytest.mark.sampled(2)
@pytest.mark.parametrize("case", RECORDED, ids=lambda case: " · ".join(case["changes"]))
def test_instructions_change_a_config_as_the_engine_changes_it(case: dict[str, Any]) -> None:
    if "error" in case:
        with pytest.raises(InvalidInstruction):
            apply_changes(ContainerConfig(), case["changes"])
    else:
        changed = apply_changes(ContainerConfig(), case["changes"])
        assert json.loads(changed.to_json(Dialect.ENGINE_20_10)) == json.loads(case["config"])


@pytest.mark.parametrize(
    ("change", "field", "value"),
    [
        ("STOPSIGNAL SIGTERM", "stop_signal", "SIGTERM"),
        ("STOPSIGNAL 9", "stop_signal", "9"),
        ("STOPSIGNAL RTMIN+3", "stop_signal", "RTMIN+3"),
        ('SHELL ["/bin/bash", "-c"]', "shell", ("/bin/bash", "-c")),
    ],
)
def test_instructions_that_the_engine_refuses_here_do_what_they_say(change: str, field: str, value: object) -> None:
    assert getattr(apply_changes(ContainerConfig(), [change]), field) == value


def test_an_instruction_goes_on_behind_comments_and_empty_lines() -> None:
    changed = apply_changes(ContainerConfig(), ["# escape=\\\nENV a=1 \\\n# note\n\n  \n b=2\n\nUSER u"])
    assert (changed.env, changed.user) == (("a=1", "b=2"), "u")


@pytest.mark.parametrize("start", ["# escape=`", "#ESCAPE\t= x", "# syntax=a/b\n# escape=`"])
def test_another_escape_is_refused_and_not_taken_for_a_comment(start: str) -> None:
    with pytest.raises(InvalidInstruction, match="a backslash escapes in changes, and nothing else"):
        apply_changes(ContainerConfig(), [f"{start}\nCMD a"])
    # Behind anything else it is a comment.
    assert apply_changes(ContainerConfig(), [f"# note\n{start}\nUSER u"]).user == "u"


@pytest.mark.parametrize("change", ["STOPSIGNAL NOSUCH", "STOPSIGNAL 65", "STOPSIGNAL 0", "SHELL /bin/sh", "SHELL []"])
def test_instructions_that_mean_nothing_are_refused(change: str) -> None:
    with pytest.raises(InvalidInstruction, match=change.split(maxsplit=1)[0]):
        apply_changes(ContainerConfig(), [change])


def test_a_shell_serves_the_commands_after_it() -> None:
    config = apply_changes(ContainerConfig(), ['SHELL ["/s", "-e"]', "CMD a b"])
    assert config.cmd == ("/s", "-e", "a b")


def test_the_config_is_the_engine_s_but_for_its_time_and_version(images: orlop.ImageService) -> None:
    with orlop.ArchiveService(DATA / "dockerd-20.10-overlay2" / "multi.tar") as archive:
        raw = archive.raw_config("example/imported")
        (layer,) = next(image for image in archive.archive.images if image.raw_config == raw).layers
        tar = b"".join(layer.chunks())
    expected = json.loads(raw)
    images.import_image(io.BytesIO(tar), "a/b", changes=["LABEL x=y"], message="imported", platform="linux/amd64")
    made = json.loads(images.raw_config("a/b"))
    assert list(made) == [key for key in expected if key != "docker_version"]
    for document in (made, expected):
        del document["created"], document["history"][0]["created"]
    del expected["docker_version"]
    assert made == expected
    assert json.dumps(made["config"]) == json.dumps(expected["config"])


def test_a_compressed_layer_keeps_its_bytes_and_its_diff_id(images: orlop.ImageService) -> None:
    plain = images.import_image(io.BytesIO(ROOT))
    packed = images.import_image(io.BytesIO(gzip.compress(ROOT, mtime=1)))
    diff_ids = [images.inspect(str(image)).image.rootfs.diff_ids for image in (plain, packed)]
    assert diff_ids[0] == diff_ids[1]
    assert images.inspect(str(plain)).size == 3


def test_an_import_without_a_name_is_one_by_its_id(images: orlop.ImageService) -> None:
    image = images.import_image(io.BytesIO(ROOT))
    assert images.inspect(str(image)).references == ()
    assert images.inspect(str(image)).image.comment == "Imported from -"


def test_a_name_moves_to_what_was_imported_last(images: orlop.ImageService) -> None:
    images.import_image(io.BytesIO(ROOT), "a", message="first")
    second = images.import_image(io.BytesIO(ROOT), "a:latest", message="second")
    assert images.inspect("a").image.id == second


def test_what_is_wrong_leaves_nothing_behind(images: orlop.ImageService, tmp_path: Path) -> None:
    with pytest.raises(InvalidReference):
        images.import_image(io.BytesIO(ROOT), "UPPER")
    with pytest.raises(InvalidReference):
        images.import_image(io.BytesIO(ROOT), f"a@sha256:{64 * '0'}")
    with pytest.raises(InvalidInstruction):
        images.import_image(io.BytesIO(ROOT), changes=["RUN x"])
    with pytest.raises(NotFound):
        images.import_image(tmp_path / "nothing.tar")
    with pytest.raises(InvalidCompression):
        images.import_image(io.BytesIO(gzip.compress(ROOT)[:-4]))
    assert images.images(all=True) == []
    assert images.layer_store.map() == {}


def test_a_layer_that_cannot_be_given_back_does_not_hide_an_interrupt(tmp_path: Path) -> None:
    root, moved = tmp_path / "root", tmp_path / "moved"

    def interrupt() -> int:
        root.rename(moved)  # every write fails from now on
        raise KeyboardInterrupt

    with local_store(root, now=interrupt) as store:
        with pytest.raises(KeyboardInterrupt):
            import_image(store, io.BytesIO(ROOT))
        moved.rename(root)


class _Server(BaseHTTPRequestHandler):
    """A server of one tar, and of ways to fail."""

    def do_GET(self) -> None:
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/root.tar")
            self.end_headers()
        elif self.path == "/file":
            self.send_response(302)
            self.send_header("Location", "file:///etc/hostname")
            self.end_headers()
        elif self.path.endswith("/root.tar") or self.path == "/short":
            self.send_response(200)
            self.send_header("Content-Length", str(len(ROOT)))
            self.end_headers()
            self.wfile.write(ROOT[:700] if self.path == "/short" else ROOT)
        else:
            self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    # A library goes through the proxies that it is given, and not through those of the environment.
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with HTTPServer(("127.0.0.1", 0), _Server) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("path", ["/root.tar", "/moved"])
def test_a_url_is_downloaded(images: orlop.ImageService, server: str, path: str) -> None:
    image = images.import_image(server + path, "a")
    assert images.inspect(str(image)).image.comment == f"Imported from {server}{path}"
    assert images.inspect("a").size == 3


@pytest.mark.parametrize(
    ("path", "why"), [("/nothing", "404 Not Found"), ("/short", "too early"), ("/file", "file:///etc/hostname")]
)
def test_a_download_that_fails_is_told(images: orlop.ImageService, server: str, path: str, why: str) -> None:
    with pytest.raises(DownloadFailed, match=why):
        images.import_image(server + path)
    assert images.layer_store.map() == {}


def test_a_server_that_is_not_there_is_told(images: orlop.ImageService, server: str) -> None:
    with pytest.raises(DownloadFailed, match="cannot download http://127"):
        images.import_image("http://127.0.0.1:1/root.tar")
    with pytest.raises(DownloadFailed, match="cannot download"):
        images.import_image("http://user:password@127.0.0.1:nope/")


def test_a_program_names_the_proxies(tmp_path: Path, server: str) -> None:
    nowhere = orlop.Proxies({"http": "http://127.0.0.1:1"})
    with orlop.open(tmp_path / "store", proxies=nowhere) as images, pytest.raises(DownloadFailed, match="refused"):
        images.import_image("http://far.example/root.tar")
    with orlop.open(tmp_path / "store", proxies=orlop.Proxies({"http": server})) as images:
        images.import_image("http://far.example/root.tar", "a")
        assert images.inspect("a").size == 3


@pytest.mark.sampled(2)
def test_the_command_takes_the_proxies_of_the_environment(tmp_path: Path, server: str) -> None:
    command = [
        sys.executable,
        "-m",
        "orlop",
        "--root",
        str(tmp_path / "store"),
        "import",
        "http://far.example/root.tar",
    ]
    done = subprocess.run(command, env=os.environ | {"http_proxy": server}, check=True, capture_output=True, text=True)
    assert done.stdout.startswith("sha256:")
