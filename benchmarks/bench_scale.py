"""What the verbs cost with 1,000, 10,000 and 100,000 images: ten-image parent chains, one tag for each head.

`./dev run python benchmarks/bench_scale.py [IMAGES...]`
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from measure import ORLOP, PYTHON, Run, report, run

from orlop.model.reference import Reference
from orlop.store.local import local_store
from orlop.streams.tar_write import END, member_header, padding

if TYPE_CHECKING:
    from collections.abc import Sequence

SIZES = (1_000, 10_000, 100_000)
CHAIN = 10
TURNS = 7
OPEN_GOAL, LIST_GOAL, MEMORY_GOAL = 0.020, 0.5, 60_000_000

# Each is run as a process of its own, on a store whose root is its first argument, and prints seconds.
OPEN = """
import sys, time
from orlop.store.local import local_store
start = time.perf_counter()
with local_store(sys.argv[1]) as store, store.metadata.read() as rows:
    rows.image_row(store.images.search(sys.argv[2]))
    print(time.perf_counter() - start)
"""
CREATE = """
import sys, time
from orlop.store.local import local_store
with local_store(sys.argv[1]) as store:
    start = time.perf_counter()
    image = store.images.create(b'{"rootfs":{"type":"layers"},"author":"%s"}' % sys.argv[2].encode())
    store.images.set_parent(image, store.images.search(sys.argv[3]))
    print(time.perf_counter() - start)
"""
DELETE = """
import sys, time
from orlop.store.local import local_store
from orlop.model.digest import ImageID
image = ImageID.of(b'{"rootfs":{"type":"layers"},"author":"%s"}' % sys.argv[2].encode())
with local_store(sys.argv[1]) as store:
    start = time.perf_counter()
    store.images.delete(image)
    print(time.perf_counter() - start)
"""


def layer(name: str) -> bytes:
    """Return a layer with one small file."""
    body = name.encode()
    return member_header(name, size=len(body), mode=0o644) + body + padding(len(body)) + END


def build(root: Path, count: int) -> str:
    """Fill a store with images and return the ID of one in the middle."""
    with local_store(root) as store:
        held, parent, diffs = [], None, []
        for number in range(CHAIN):
            held.append(store.layers.register(io.BytesIO(layer(f"file-{number}")), parent))
            parent = held[-1].chain_id
            diffs.append(str(held[-1].diff_id))
        middle = None
        for start in range(0, count, 10_000):
            with store.metadata.write():
                for number in range(start, min(start + 10_000, count), CHAIN):
                    images = [store.images.create(config(number + step, diffs[: step + 1])) for step in range(CHAIN)]
                    for above, image in pairwise(images):
                        store.images.set_parent(image, above)
                    store.references.set(Reference.parse(f"registry.example.com/team/app-{number}:1.0"), images[-1])
                    if count // 2 in range(number, number + CHAIN):
                        middle = images[count // 2 - number]
        for one in held:
            store.layers.release(one)
    assert middle is not None
    return str(middle)


def config(number: int, diffs: Sequence[str]) -> bytes:
    """Return a config of about the size that a build makes."""
    created = f"2026-01-{number % 28 + 1:02}T{number // 28 % 24:02}:{number // 672 % 60:02}:00.{number:09}Z"
    steps = [
        {"created": created, "created_by": f"/bin/sh -c #(nop) COPY file:{number:064x} in /srv/app/{step}"}
        for step in range(len(diffs))
    ]
    run_config = {
        "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", f"NUMBER={number}"],
        "Cmd": ["/bin/sh", "-c", "exec /srv/app/main"],
        "WorkingDir": "/srv/app",
        "Labels": {"org.opencontainers.image.revision": f"{number:040x}"},
    }
    document = {
        "architecture": "amd64",
        "config": run_config,
        "container_config": run_config,
        "created": created,
        "docker_version": "20.10.24",
        "history": steps,
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": list(diffs)},
    }
    return json.dumps(document, separators=(",", ":")).encode()


def inner(script: str, *arguments: str) -> float:
    """Return the median of what a script measures of itself."""
    found = []
    for turn in range(TURNS + 1):
        command = [*PYTHON, "-c", script, *(argument.replace("TURN", str(turn)) for argument in arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        if turn:
            found.append(float(done.stdout))
    return statistics.median(found)


def whole(command: Sequence[str]) -> Run:
    """Return the median time and the highest peak of whole processes."""
    runs = [run(command) for _ in range(TURNS + 1)][1:]
    return Run(statistics.median(one.seconds for one in runs), max(one.peak for one in runs))


def measure(root: Path, count: int) -> dict[str, Run]:
    """Measure every verb on a store of one size."""
    start = time.perf_counter()
    # A process of its own: the system counts the memory of whoever starts a process as that process's own.
    command = [*PYTHON, __file__, "--build", str(root), str(count)]
    middle = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    print(f"{count:,} images made in {time.perf_counter() - start:.0f} s", file=sys.stderr)
    orlop = [*ORLOP, "--root", str(root)]
    prefix = middle.removeprefix("sha256:")[:20]
    return {
        "open and find one image, without start-up": Run(inner(OPEN, str(root), prefix), 0),
        "`orlop images -q`": whole([*orlop, "images", "-q"]),
        "`orlop images`": whole([*orlop, "images"]),
        "`orlop images -aq`": whole([*orlop, "images", "-aq"]),
        "`orlop inspect PREFIX`": whole([*orlop, "inspect", prefix]),
        "create with a parent, without start-up": Run(inner(CREATE, str(root), "TURN", prefix), 0),
        "delete, without start-up": Run(inner(DELETE, str(root), "TURN"), 0),
    }


def missed(found: dict[int, dict[str, Run]]) -> list[str]:
    """Return which goals are missed."""
    smallest, largest = found[min(found)], found[max(found)]
    one, other = smallest["`orlop inspect PREFIX`"].seconds, largest["`orlop inspect PREFIX`"].seconds
    heads = largest["`orlop images -q`"]
    goals = {
        "open": all(runs["open and find one image, without start-up"].seconds < OPEN_GOAL for runs in found.values()),
        "images -q": heads.seconds < LIST_GOAL,
        "memory of images -q": heads.peak < MEMORY_GOAL,
        "inspect": other <= 1.3 * one + 0.010,
    }
    return [name for name, met in goals.items() if not met]


def _cell(one: Run) -> str:
    return f"{one.seconds * 1000:.1f} ms" + (f", {one.peak / 1e6:.0f} MB" if one.peak else "")


def main() -> None:
    if sys.argv[1:2] == ["--build"]:
        print(build(Path(sys.argv[2]), int(sys.argv[3])))
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("images", type=int, nargs="*", default=list(SIZES), help="in a store, which is made for each")
    sizes = parser.parse_args().images
    found = {}
    for count in sizes:
        with tempfile.TemporaryDirectory(prefix="orlop-bench-") as folder:
            found[count] = measure(Path(folder) / "root", count)
    lines = [
        "# A hundred thousand images",
        "",
        f"Images in parent chains of {CHAIN}, one tag for each head; median times of {TURNS} runs, and peak resident",
        "memory where a whole process is measured. Goals: open under 20 ms whatever the size; `images -q` of 100,000",
        "in under 0.5 s and 60 MB; `inspect` by prefix at most 1.3 times its time with 1,000, and 10 ms.",
        "Made by `benchmarks/bench_scale.py`.",
        "",
        f"| work | {' | '.join(f'{count:,} images' for count in sizes)} |",
        f"|---|{'---:|' * len(sizes)}",
        *(
            f"| {work} | {' | '.join(_cell(found[count][work]) for count in sizes)} |"
            for work in next(iter(found.values()))
        ),
        "",
    ]
    report("scale", "\n".join(lines))
    if failed := missed(found):
        raise SystemExit(f"missed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
