"""Draw what commands show on a terminal: real runs on made-up images, each as an SVG in `docs/pictures`.

python docs/generate_pictures.py            draws them
python docs/generate_pictures.py --check    ends with status 1 where a command prints other words than its picture shows

Numbers are not compared: sizes depend on the version of SQLite, and speeds on the machine.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pty
import random
import re
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape, unescape

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

HERE: Final = Path(__file__).with_name("pictures")
_WIDTH: Final = 88
_MIB: Final = 1 << 20
_DAY: Final = 86_400
_THEME: Final = TerminalTheme(
    (22, 27, 34),
    (215, 221, 228),
    [
        *((72, 79, 88), (255, 123, 114), (86, 211, 100), (227, 179, 65)),
        *((108, 182, 255), (210, 168, 255), (86, 212, 221), (177, 186, 196)),
    ],
    [
        *((110, 118, 129), (255, 161, 152), (126, 231, 135), (242, 204, 96)),
        *((145, 203, 255), (226, 192, 255), (179, 240, 255), (240, 246, 252)),
    ],
)
# As rich draws it, but with the fonts that a reader has, and with its words as a description.
_FORMAT: Final = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-labelledby="d">
<desc id="d">DESCRIPTION</desc>
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: {char_height}px; line-height: {line_height}px; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}
</defs>
<rect fill="#161b22" width="100%" height="100%" rx="10"/>
<circle cx="22" cy="22" r="6" fill="#ff5f57"/><circle cx="42" cy="22" r="6" fill="#febc2e"/>
<circle cx="62" cy="22" r="6" fill="#28c840"/>
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g></g>
</svg>
"""


def image_archive(target: Path, name: str, sizes: tuple[int, ...], *, seed: int, days: int) -> None:
    """Write an archive of one image, as `docker save` does: ``sizes`` are those of its layers, in MiB."""
    noise = random.Random(seed)  # noqa: S311 - bytes that do not compress, not secrets
    members = {}
    for number, size in enumerate(sizes):
        layer = io.BytesIO()
        with tarfile.open(fileobj=layer, mode="w") as tar:
            info = tarfile.TarInfo(f"srv/part-{number}")
            info.size = size * _MIB
            # The lower layers of all images are the same.
            content = random.Random(number) if number < len(sizes) - 1 else noise  # noqa: S311 - as above
            tar.addfile(info, io.BytesIO(content.randbytes(info.size)))
        members[hashlib.sha256(layer.getvalue()).hexdigest()] = layer.getvalue()
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - days * _DAY))
    config = {
        "architecture": "amd64",
        "os": "linux",
        "created": created,
        "config": {"Cmd": ["/srv/run"]},
        "history": [{"created": created, "created_by": "COPY . /srv"} for _ in sizes],
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in members]},
    }
    layers = [f"{digest}/layer.tar" for digest in members]
    documents = {
        "config.json": config,
        "manifest.json": [{"Config": "config.json", "RepoTags": [name] if name else None, "Layers": layers}],
    }
    with tarfile.open(target, "w") as tar:
        for path, data in [
            *((name, json.dumps(document).encode()) for name, document in documents.items()),
            *zip(layers, members.values(), strict=True),
        ]:
            info = tarfile.TarInfo(path)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


class Terminal:
    """A store of its own, and what commands that use it show on a terminal."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        commands = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self._environment = {
            "PATH": commands,
            "ORLOP_ROOT": str(folder / "store"),
            "TERM": "xterm-256color",
            "COLUMNS": str(_WIDTH),
            "LINES": "40",
            "LANG": "C.UTF-8",
        }

    def run(self, command: str) -> str:
        """Run a command and return all that it has shown at its end."""
        return self._shown(command, until=None)

    def watch(self, command: str, source: Path, part: float) -> str:
        """Run a command that reads an archive and return what it shows when it has read a part of that."""
        return self._shown(f"exec {command}", until=(source, part))

    def _shown(self, command: str, until: tuple[Path, float] | None) -> str:
        ours, theirs = pty.openpty()
        with subprocess.Popen(
            ["sh", "-c", command],
            stdin=theirs if until is None else subprocess.PIPE,
            stdout=theirs,
            stderr=theirs,
            env=self._environment,
            cwd=self._folder,
        ) as process:
            os.close(theirs)
            if until is not None and process.stdin is not None:
                data = until[0].read_bytes()
                for start in range(0, int(len(data) * until[1]), _MIB):
                    process.stdin.write(data[start : start + _MIB])
                process.stdin.flush()
                time.sleep(0.3)
                process.kill()
            shown = _read_to_the_end(ours)
        os.close(ours)
        return screen(shown)


def _read_to_the_end(terminal: int) -> str:
    parts = []
    while True:
        try:
            parts.append(os.read(terminal, 65_536))
        except OSError:  # how Linux reports that nobody writes to the other end
            return b"".join(parts).decode()


def screen(shown: str) -> str:
    """Return the lines that are left on a terminal, with their colours, of all that was written to it."""
    lines = [""]
    row = 0
    for part in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\r?\n|\r|[^\x1b\r\n]+", shown):
        if part == "\x1b[1A":
            row -= 1
        elif part == "\x1b[2K":
            lines[row] = ""
        elif part.endswith("\n"):
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif part.endswith("m") or not part.startswith(("\x1b", "\r")):
            lines[row] += part
    return "\n".join(lines).rstrip()


def drawn(name: str, shown: str) -> str:
    """Return a picture of what a terminal shows, wide enough for its longest line."""
    text = Text.from_ansi(shown)
    width = max(_WIDTH, *map(len, text.plain.splitlines()))
    console = Console(record=True, file=io.StringIO(), width=width, force_terminal=True, color_system="truecolor")
    console.print(text, soft_wrap=True, highlight=False)
    picture = console.export_svg(theme=_THEME, unique_id=f"orlop-{name}", code_format=_FORMAT)
    return picture.replace("DESCRIPTION", escape(text.plain))


def prompt(command: str) -> str:
    """Return a command as it is typed."""
    return f"\x1b[32m$\x1b[0m \x1b[1m{command}\x1b[0m"


def shown_by(folder: Path, *, bars: bool) -> dict[str, str]:
    """Return what each picture shows; that with ``bars`` takes seconds, and is another one each time."""
    terminal = Terminal(folder)
    session = ["df", "prune --keep-last 2 --dry-run", "images"]
    for number, days in enumerate((40, 21, 9, 2), 1):
        image_archive(folder / "part.tar", f"team/app:1.{number}", (6, 3, 2 + number), seed=number, days=days)
        terminal.run("orlop load -q -i part.tar")
    image_archive(folder / "part.tar", "", (6, 3, 8), seed=9, days=1)
    terminal.run("orlop load -q -i part.tar && orlop pin team/app:1.1")
    pictures = {}
    for words in session:
        command = f"orlop {words}"
        pictures[words.partition(" ")[0]] = f"{prompt(command)}\n{terminal.run(command)}"
    if bars:
        image_archive(folder / "app.tar", "team/app:2.0", (90, 60, 40), seed=5, days=1)
        bars_drawn = terminal.watch("orlop load", folder / "app.tar", 0.93)
        pictures["load"] = f"{prompt('docker save team/app:2.0 | orlop load')}\n{bars_drawn}"
    return pictures


def words_of(text: str) -> list[str]:
    """Return the words of what was shown, with every number, age and unit of size as one sign."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    ages = r"(\d+|Less than a|About an?) \w+ ago"
    return re.sub(rf"[0-9a-f]{{12}}|{ages}|\d+(\.\d+)? ?([kMG]?B\b|%)?", "#", plain).split()


def main(arguments: list[str]) -> int:
    """Draw the pictures, or compare their words; return the exit status."""
    check = "--check" in arguments
    with tempfile.TemporaryDirectory() as folder:
        pictures = shown_by(Path(folder), bars=not check)
    for name, shown in pictures.items():
        target = HERE / f"{name}.svg"
        if not check:
            target.write_text(drawn(name, shown), encoding="utf-8")
            continue
        found = re.search(r"<desc[^>]*>(.*?)</desc>", target.read_text(encoding="utf-8"), re.DOTALL)
        if found is None or words_of(unescape(found[1])) != words_of(shown):
            sys.stderr.write(f"{target} shows other words than the command:\n{shown}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
