"""What the page of an image costs in a real browser: Debian's chromium, headless, drawing without a graphics card.

PYTHONPATH=. python benchmarks/bench_page.py [FILES] [LAYERS]

The image has FILES files with names such as a distribution has. Prints the size of the page, what `audit --html` takes
beyond `audit`, and what a person waits for, medians of several runs: from the address to the frame after the page is
complete, and from a key to the frame after the one that shows its effect. The browser itself takes these times.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from bench_inside import run

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.browser import browser

if TYPE_CHECKING:
    from bench_inside import Cost

    from tests.browser import Browser

FILES = 100_000
LAYERS = 8
RUNS = 5
_SYLLABLES = "lib py core net doc test util conf data type mod fs ui db io gen abi ssl xml auth time"
_ENDINGS = (".so", ".py", ".h", ".txt", ".gz", ".mo", ".json", "")

_WATCH = """
const after = (then) => requestAnimationFrame(() => requestAnimationFrame(() => then(performance.now())));
const times = window.benchmark = { painted: 0, answers: [] };
let pressed = 0;
addEventListener("keydown", (event) => {
  pressed = event.timeStamp;
  if (event.target.id !== "search" || event.key.length > 1) after((now) => times.answers.push(now - event.timeStamp));
}, true);
addEventListener("DOMContentLoaded", () => {
  new MutationObserver(() => after((now) => { times.painted ||= now; }))
    .observe(document.documentElement, { attributeFilter: ["data-ready"] });
  new MutationObserver(() => after((now) => times.answers.push(now - pressed)))
    .observe(document.getElementById("matches"), { childList: true, characterData: true, subtree: true });
});
"""
_KEYS = (
    ("move down in the tree", "tree", "ArrowDown"),
    ("open a directory", "tree", "ArrowRight"),
    ("open all directories beside one", "tree", "*"),
    ("dim all layers but one", "tree", "3"),
    ("zoom in", "tree", "Enter"),
    ("zoom out", "tree", "Backspace"),
    ("sunburst instead of the map, or back", "tree", "s"),
    ("dark or light", "tree", "t"),
    ("search for a letter, which nearly all have", "search", "e"),
    ("search for a part of a path", "search", "/d"),
)


def image(path: Path, files: int, layers: int) -> None:
    """Write an image of small files to an archive."""
    choose = random.Random(1)
    folders = ["usr"]
    names = []
    for number in range(files):
        if number % 8 == 0:
            folders.append(
                f"{folders[choose.randrange(max(0, len(folders) - 400), len(folders))][:160]}/{_word(choose)}"
            )
        names.append(f"{folders[-1 - choose.randrange(min(3, len(folders)))]}/{_word(choose)}{choose.choice(_ENDINGS)}")
    parts = [path.with_name(f"{number}.tar") for number in range(layers)]
    for number, part in enumerate(parts):
        with tarfile.open(part, "w") as archive:
            for name in sorted({*names[number::layers]}):
                info = tarfile.TarInfo(name)
                info.size = min(9000, int(choose.paretovariate(0.8) * 40))
                with Path("/dev/zero").open("rb") as zeros:
                    archive.addfile(info, zeros)
    diff_ids = [f"sha256:{subprocess.check_output(['sha256sum', part], text=True).split()[0]}" for part in parts]
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    manifest = [{"Config": "config.json", "RepoTags": ["bench:1"], "Layers": [part.name for part in parts]}]
    path.with_name("config.json").write_text(json.dumps(config))
    path.with_name("manifest.json").write_text(json.dumps(manifest))
    inside = ["manifest.json", "config.json", *(part.name for part in parts)]
    subprocess.run(["tar", "-C", path.parent, "-cf", path, *inside], check=True)


def _word(choose: random.Random) -> str:
    return "".join(choose.choices(_SYLLABLES.split(), k=choose.randint(1, 3))) + str(choose.randrange(100))


def median(costs: list[Cost]) -> str:
    cpu, _, memory = (statistics.median(part) for part in zip(*costs, strict=True))
    return f"{cpu:.2f} processor s, {memory:.0f} MB"


def opened(session: Browser, page: Path) -> float:
    """Open a page anew and return the milliseconds until it is there."""
    session.tell("Page.navigate", url="about:blank")
    session.open(page.as_uri())
    return float(session.until("return window.benchmark.painted"))


def answered(session: Browser, where: str, key: str) -> float:
    """Press a key and return the milliseconds until its effect is there; of several keys the longest."""
    session.run("document.getElementById(arguments[0]).focus(); window.benchmark.answers.length = 0", where)
    for count, one in enumerate([key] if len(key) > 2 else key, 1):
        session.press(one)
        session.until("return window.benchmark.answers.length >= arguments[0]", count)
    return float(session.run("return Math.max(...window.benchmark.answers)"))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("files", type=int, nargs="?", default=FILES, help="in the image")
    parser.add_argument("layers", type=int, nargs="?", default=LAYERS, help="that have them")
    options = parser.parse_args()
    files, layers = options.files, options.layers
    orlop = [sys.executable, "-m", "orlop"]
    with tempfile.TemporaryDirectory(prefix="orlop-bench-") as folder:
        root = Path(folder)
        os.environ["ORLOP_ROOT"] = str(root / "store")
        image(root / "image.tar", files, layers)
        run([*orlop, "load", "-q", "-i", root / "image.tar"])
        page = root / "page.html"
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = str(root / "byte-code")  # as an installation has it
        print(f"{files} files in {layers} layers; load average {os.getloadavg()[0]:.1f}\n")
        print("| what | |\n|---|---:|")
        run([*orlop, "audit", "--html", page, "bench:1"])
        print(f"| the page | {page.stat().st_size / 1e6:.2f} MB |", flush=True)
        with browser() as session:
            session.resize(1440, 900)
            session.tell("Page.addScriptToEvaluateOnNewDocument", source=_WATCH)
            times = [opened(session, page) for _ in range(RUNS)]
            print(f"| from the address to the page | {statistics.median(times):.0f} ms |", flush=True)
            for what, where, key in _KEYS:
                times = []
                for _ in range(RUNS):
                    times.append(answered(session, where, key))
                    if where == "search":
                        session.press("Escape")
                print(f"| {what} (`{key}`) | {statistics.median(times):.0f} ms |", flush=True)
            session.tell("HeapProfiler.collectGarbage")
            used = session.tell("Runtime.getHeapUsage")
            held = (used["usedSize"] + used.get("backingStorageSize", 0)) / 1e6
            print(f"| memory of the script, with its arrays | {held:.0f} MB |", flush=True)

        print(f"| `audit` | {median([run([*orlop, 'audit', 'bench:1']) for _ in range(3)])} |")
        print(f"| `audit --html` | {median([run([*orlop, 'audit', '--html', page, 'bench:1']) for _ in range(3)])} |")


if __name__ == "__main__":
    main()
