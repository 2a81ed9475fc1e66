"""What a pull costs, over fetching and reading the same bytes, beside `skopeo copy` into a directory.

`./dev run python benchmarks/bench_pull.py [--turns N] [--size MIB]`

Writes `docs/benchmarks/pull.md`. A registry of Debian (`docker-registry`) on this machine gives the image; its work is
a part of all times. About two minutes.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Final

from bench_fsck import blobs, stored_forms
from bench_push import registry
from measure import ORLOP, paragraph, report, run

GOALS: Final = {"floor": 1.3, "skopeo": 0.6}
_FETCH: Final = r"""
set -e
registry=$1
shift
for digest in "$@"; do
    curl -sS -f "http://$registry/v2/app/blobs/sha256:$digest" | sha256sum >/dev/null
done
"""
_READ: Final = r"""
set -e
for file in "$@"; do
    gzip -dc "$file" | sha256sum >/dev/null
done
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--size", type=int, default=215, help="of the image, in MiB")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="orlop-bench-") as name:
        folder = Path(name)
        _, _, came = stored_forms(folder, options.size)
        files = [Path(file) for file in blobs(came)]
        size = sum(file.stat().st_size for file in files)
        (folder / "fetch").write_text(_FETCH)
        (folder / "read").write_text(_READ)
        with registry(folder) as authority:
            image = f"{authority}/app:1"
            run([*ORLOP, "--root", came, "tag", f"bench/{came.name}:1", image])
            run([*ORLOP, "--root", came, "push", "-q", image])
            target = folder / "target"
            orlop = shlex.join([*ORLOP, "--root", str(target)])
            subjects = {
                "curl, sha256sum": f"sh {folder}/fetch {authority} {shlex.join(file.name for file in files)}",
                "gzip -dc, sha256sum": f"sh {folder}/read {shlex.join(map(str, files))}",
                "orlop pull": f"{orlop} pull -q {image}",
            }
            if shutil.which("skopeo"):
                copy = "skopeo --insecure-policy copy -q --src-tls-verify=false"
                subjects["skopeo copy to dir:"] = f"{copy} docker://{image} dir:{target}"
            seconds: dict[str, list[float]] = {subject: [] for subject in subjects}
            for _ in range(options.turns):
                for subject, command in subjects.items():
                    shutil.rmtree(target, ignore_errors=True)
                    seconds[subject].append(run(["sh", "-ec", command]).seconds)
    found = {subject: statistics.median(values) for subject, values in seconds.items()}
    floor = max(found["curl, sha256sum"], found["gzip -dc, sha256sum"])
    told = (
        f"An image of {size / 1e6:.0f} MB in {len(files)} layers of gzip, from docker-registry on the same machine;"
        f" medians of {options.turns} whole processes each, start-up included, in turn. `orlop pull` verifies digests"
        " and diff IDs, and keeps layers on disk, synced; skopeo does not decompress, and does not sync. The ratio is"
        f" that to the slower of the first two; the goals are {GOALS['floor']:g}, and {GOALS['skopeo']:g} of skopeo's"
        " time. Made by `benchmarks/bench_pull.py`."
    )
    head = ["# Pulls", "", paragraph(told), "", "| work | seconds | ratio |", "|---|---:|---:|"]
    rows = [f"| `{subject}` | {median:.2f} | {median / floor:.2f} |" for subject, median in found.items()]
    report("pull", "\n".join([*head, *rows, ""]))
    missed = found["orlop pull"] / floor > GOALS["floor"]
    slower = found["orlop pull"] / found.get("skopeo copy to dir:", float("inf"))
    if missed or slower > GOALS["skopeo"]:
        raise SystemExit("missed: orlop pull")


if __name__ == "__main__":
    main()
