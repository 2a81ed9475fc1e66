"""What a push costs, over `curl -T` of the same bytes, beside `skopeo copy`.

`./dev run python benchmarks/bench_push.py [--turns N] [--size MIB]`

Writes `docs/benchmarks/push.md`. A registry of Debian (`docker-registry`) takes what is sent, with its data in the
temporary folder, so that its work is a part of all times. Each run has a new one: nobody can mount anything. About two
minutes.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench_fsck import blobs, stored_forms
from measure import ORLOP, paragraph, report, run

if TYPE_CHECKING:
    from collections.abc import Iterator

GOAL: Final = 1.3
_SEND: Final = r"""
set -e
registry=$1
shift
for file in "$@"; do
    digest=sha256:$(basename "$file")
    place=$(curl -sS -o /dev/null -D - -X POST "http://$registry/v2/app/blobs/uploads/" |
        tr -d '\r' | sed -n 's/^[Ll]ocation: //p')
    curl -sS -f -o /dev/null -T "$file" -H 'Content-Type: application/octet-stream' "$place&digest=$digest"
done
"""


@contextmanager
def registry(folder: Path) -> Iterator[str]:
    """Run docker-registry for a block, and yield its host and port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = {
        "version": 0.1,
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "registry")}},
        "http": {"addr": f"127.0.0.1:{port}", "secret": "benchmark"},
    }
    (folder / "config.yml").write_text(json.dumps(config))  # JSON is YAML
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", folder / "config.yml"], stdout=log, stderr=log)
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def measured(folder: Path, prepare: list[str], command: list[str]) -> float:
    """Return how many seconds a command takes that sends something to a registry which has nothing yet."""
    place = Path(tempfile.mkdtemp(dir=folder))
    with registry(place) as authority:
        for line in prepare:
            run(["sh", "-ec", line.format(authority)])
        found = run(["sh", "-ec", *(part.format(authority) for part in command)]).seconds
    shutil.rmtree(place)
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--size", type=int, default=215, help="of the image, in MiB")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="orlop-bench-") as name:
        folder = Path(name)
        _, _, came = stored_forms(folder, options.size)
        files = blobs(came)
        size = sum(Path(file).stat().st_size for file in files)
        image = f"bench/{came.name}:1"
        (folder / "send").write_text(_SEND)
        layout = folder / "layout"
        run([*ORLOP, "--root", came, "save", "--format", "oci-dir", "-o", layout, image])
        orlop = shlex.join([*ORLOP, "--root", str(came)])
        subjects: dict[str, tuple[list[str], list[str]]] = {
            "curl -T": ([], [f"sh {folder}/send {{0}} {shlex.join(files)}"]),
            "orlop push": ([f"{orlop} tag {image} {{0}}/app:1"], [f"{orlop} push -q {{0}}/app:1"]),
            "orlop copy": ([], [f"{orlop} copy -q oci:{layout} docker://{{0}}/app:1"]),
        }
        if shutil.which("skopeo"):
            copy = f"skopeo --insecure-policy copy -q --dest-tls-verify=false oci:{layout}"
            subjects["skopeo copy"] = ([], [f"{copy} docker://{{0}}/app:1"])
        seconds: dict[str, list[float]] = {subject: [] for subject in subjects}
        for _ in range(options.turns):
            for subject, (prepare, command) in subjects.items():
                seconds[subject].append(measured(folder, prepare, command))
    found = {subject: statistics.median(values) for subject, values in seconds.items()}
    floor = found["curl -T"]
    told = (
        f"An image of {size / 1e6:.0f} MB in 3 layers of gzip, sent to docker-registry on the same machine, which is"
        f" new for each run; medians of {options.turns} whole processes each, start-up included, in turn. The goal of"
        f" a push is {GOAL:g} of `curl -T`, which sends the same blobs one after the other. Made by"
        " `benchmarks/bench_push.py`."
    )
    head = ["# Pushes", "", paragraph(told), "", "| work | seconds | ratio |", "|---|---:|---:|"]
    rows = [f"| `{subject}` | {median:.2f} | {median / floor:.2f} |" for subject, median in found.items()]
    report("push", "\n".join([*head, *rows, ""]))
    if found["orlop push"] / floor > GOAL:
        raise SystemExit("missed: orlop push")


if __name__ == "__main__":
    main()
