"""What an archive says reaches a terminal without what controls one: every command, under a real terminal."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
import termios
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from tests.commands import places
from tests.hostile import tars
from tests.hostile.made import EVIL, config, content, docker, entry, escaped_config, oci, symlink
from tests.unit.layouts import NAME, REF, layer_tar, sha256

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.needs("terminals")

# What rich draws bars with: it moves the cursor, hides it, erases lines and colours text, and nothing else.
_DRAWING = re.compile(r"\x1b\[(?:\?25[lh]|[0-9;]*[mKAGF]|[0-9]*J)")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def shown(*words: str | Path, feed: bytes | None = None, folder: Path | None = None) -> str:
    """Run ``orlop`` with a terminal for its output and its errors, and return what that was sent."""
    master, slave = pty.openpty()
    attributes = termios.tcgetattr(slave)
    attributes[1] &= ~termios.OPOST  # a terminal's own line ends are not what is looked at
    termios.tcsetattr(slave, termios.TCSANOW, attributes)
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40", "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "orlop", *map(str, words)]
    pipe = subprocess.DEVNULL if feed is None else subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=slave, stderr=slave, env=environment, cwd=folder) as child:
        os.close(slave)
        if child.stdin is not None and feed is not None:
            child.stdin.write(feed)
            child.stdin.close()
        received = b""
        try:
            while data := os.read(master, 1 << 16):
                received += data
        except OSError:
            pass  # Linux says so when the other side is closed
    os.close(master)
    assert child.returncode is not None
    return received.decode()


def check(text: str, *, drawing: bool = False, lines: bool = False) -> None:
    """Check that nothing in a text controls the terminal, but for the drawing of bars.

    Nor may it begin a line of its own, unless a template asked for whole ``lines``.
    """
    if drawing:
        text = _DRAWING.sub("", text).replace("\r", "")
    found = _CONTROL.search(text)
    assert found is None, repr(text[max(0, found.start() - 60) : found.end() + 60])
    assert lines or not re.search(r"^Loaded image: evil:1", text, re.MULTILINE), text


def annotated() -> bytes:
    """An OCI layout whose annotations, media types and platforms carry escape sequences."""
    platform = {"os": "linux", "architecture": f"amd64{EVIL}", "variant": EVIL}
    annotations = {NAME: "evil:2", REF: EVIL, EVIL: EVIL}
    return oci(annotations=annotations, platform=platform, changes={"annotations": {EVIL: EVIL}}).pack()


def named(name: str) -> bytes:
    """A Docker archive whose members are called so."""
    files = docker(manifest__json=json.dumps([entry(Config=f"{name}.json", Layers=[f"{name}.tar"])]).encode())
    body = layer_tar(*map(str, range(2000)))
    return content({"manifest.json": files["manifest.json"], f"{name}.json": config(sha256(body)), f"{name}.tar": body})


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of images of which everything that is shown carries escape sequences."""
    root = tmp_path_factory.mktemp("terminal") / "root"
    layer = tars.tar(tars.member(EVIL.encode(), b"x"), symlink(b"\x1b[2J", EVIL.encode()))
    with orlop.open(root) as images:
        evil = docker(c__json=escaped_config().replace(_DIFF, sha256(layer).encode()), l__tar=layer)
        images.load(io.BytesIO(content(evil)))
        images.load(io.BytesIO(annotated()))
    return root


_DIFF = json.loads(escaped_config())["rootfs"]["diff_ids"][0].encode()
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("images",),
    ("images", "-a", "--digests", "--no-trunc"),
    ("images", "--format", "{{.Repository}} {{json .}}"),
    ("images", "--format", "json"),
    ("images", "--filter", f"label={EVIL}"),
    ("images", EVIL),
    ("have",),
    ("have", "a:1"),
    ("history", "a:1"),
    ("history", "--no-trunc", "a:1"),
    ("history", "--format", "{{.CreatedBy}}|{{.Comment}}", "a:1"),
    ("history", "--format", "json", "a:1"),
    ("inspect", "a:1"),
    ("inspect", "--raw", "a:1"),
    ("inspect", "-f", "{{.Author}}{{.Config.Cmd}}{{.Config.Labels}}{{.DockerVersion}}{{println .Comment}}", "a:1"),
    ("inspect", "-f", "{{json .Config}}", "a:1"),
    ("inspect", "-f", "{{range $k, $v := .Config.Labels}}{{$k}}={{$v}}{{end}}", "a:1"),
    ("inspect", "evil:2"),
    ("inspect", EVIL),
    ("inspect", "-f", EVIL, "a:1"),
    ("save", "-o", "out.tar", "a:1"),
    ("save", EVIL),
    ("tag", "a:1", EVIL),
    ("rmi", EVIL),
    ("df", "-v"),
    ("df",),
    ("fsck",),
    ("gc", "--dry-run"),
    ("image", "prune", "-a", "--dry-run"),
    ("image", "prune", "-f", "--filter", f"label={EVIL}"),
    ("image", EVIL),
    ("pin", EVIL),
    ("unpin", EVIL),
    ("prune", "-a", "--dry-run"),
    ("prune", "-f", "--filter", f"label={EVIL}"),
    ("pull", EVIL),
    ("push", EVIL),
    ("serve", "--host", EVIL),
    ("system", "df", "-v"),
    ("completion", EVIL),
    ("archive", EVIL),
    ("archive", "ls", EVIL),
    ("login", EVIL),
    ("logout", EVIL),
    ("store", "info"),
    ("store", "check"),
    ("store", "copy", EVIL),
    ("store", "backup", EVIL),
    ("store", "move", EVIL),
    ("store", "init"),
    ("store", "import-registry", "--host", EVIL, EVIL),
    ("store", "migrate"),
    ("ls", "-l", "-R", "a:1"),
    ("ls", "a:1", EVIL),
    ("cat", "a:1", EVIL),
    ("find", "a:1", "--name", EVIL),
    ("grep", "-n", ".", "a:1"),
    ("grep", f"({EVIL}", "a:1"),
    ("tree", "a:1"),
    ("stat", "a:1", EVIL),
    ("cp", f"a:1:{EVIL}", EVIL),
    ("export", EVIL),
    ("diff", "a:1", EVIL),
    ("audit", "a:1"),
    ("audit", EVIL),
    ("rescue", EVIL),
    ("copy", EVIL, "oci:x"),
    ("copy", "a:1", f"oci:{EVIL}"),
    ("copy", f"docker://{EVIL}", "store:x"),
    ("sync", EVIL),
    ("tags", f"docker://{EVIL}"),
    ("manifest", f"docker://{EVIL}"),
    ("--root", EVIL, "images"),
    ("load", "-i", EVIL),
    ("load", "--platform", EVIL),
    ("load", "--limit", EVIL),
    ("import", EVIL),
    (EVIL,),
    ("images", f"--{EVIL}"),
)


@pytest.mark.sampled(18)
@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words).encode("unicode_escape").decode()[:60])
def test_no_command_hands_escape_sequences_to_a_terminal(root: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    place = () if words[0] == "--root" else ("--root", root)
    text = shown(*place, *words, folder=tmp_path)
    check(
        text,
        drawing=words[0] in {"save", "fsck", "load", "store", "copy", "rescue"},
        lines=words[:2] == ("inspect", "-f"),
    )


def test_every_command_is_tried() -> None:
    known = places()
    tried = {known.get(" ".join(words[:count])) for words in COMMANDS for count in (1, 2)}
    untried = sorted(words for words, place in known.items() if place not in tried)
    assert not untried, f"add to COMMANDS above: {', '.join(untried)}"


def test_debugging_hands_no_escape_sequences_to_a_terminal(root: Path) -> None:
    text = shown("--root", root, "--debug", "history", EVIL)
    assert "Traceback" in text
    check(text)


LOADS: dict[str, Callable[[], bytes]] = {
    "a config": lambda: content(docker(c__json=escaped_config())),
    "annotations and platforms": annotated,
    "names of members": lambda: named(EVIL.replace("\r\n", "")),
    "names of members with markup": lambda: named("[red]evil[/red]"),
    "names of members in braces": lambda: named("{task.fields}{0}%s"),
    "a refused tag": lambda: content(docker(manifest__json=json.dumps([entry(RepoTags=[EVIL])]).encode())),
    "a refused name": lambda: content(docker(manifest__json=json.dumps([entry(Layers=[EVIL])]).encode())),
    "an unknown media type": lambda: oci(changes={"mediaType": EVIL, "layers": [_layer(EVIL)]}).pack(),
    "a refused member": lambda: tars.tar(tars.files(docker()), tars.member(f"../{EVIL}".encode())),
    "a refused version": lambda: content(
        oci().files | {"oci-layout": json.dumps({"imageLayoutVersion": EVIL}).encode()}
    ),
    "no image of the platform": lambda: content(docker(c__json=escaped_config())),
}


def _layer(media_type: str) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": sha256(b""), "size": 0}


@pytest.mark.sampled(8)
@pytest.mark.parametrize("name", LOADS)
def test_no_load_hands_escape_sequences_to_a_terminal(tmp_path: Path, name: str) -> None:
    data = LOADS[name]()
    (tmp_path / "archive.tar").write_bytes(data)
    options = ["--platform", "linux/mips"] if "platform" in name and "image" in name else []
    for words, feed in ((("load", "-v"), data), (("load", "-v", "-i", str(tmp_path / "archive.tar")), None)):
        text = shown("--root", tmp_path / "root", *words, *options, feed=feed)
        assert re.search("^Loaded (image|artifact): |Error: ", _DRAWING.sub("", text), re.MULTILINE)
        check(text, drawing=True)
    for word in ("images",) if "refused" in name else ("images", "inspect", "history"):
        check(shown(word, "--archive", tmp_path / "archive.tar"))


@pytest.mark.sampled(2)
def test_a_directory_with_hostile_names_hands_no_escape_sequences_to_a_terminal(tmp_path: Path) -> None:
    folder = tmp_path / EVIL.replace("/", "_")
    folder.mkdir()
    (folder / EVIL).write_bytes(b"x")
    check(shown("--root", tmp_path / "root", "load", "-i", folder), drawing=True)
    (folder / "index.json").symlink_to(EVIL * 3)
    check(shown("--root", tmp_path / "root", "load", "-i", folder), drawing=True)
