"""What a pull costs, over fetching and reading the same bytes, beside skopeo, podman and the Engine.

`./dev run python benchmarks/bench_pull.py [--quick] [--form NAME]… [--turns N]`

Writes `docs/benchmarks/pull.md`; a quick look, or one of some forms, writes nothing. A registry of Debian
(`docker-registry`) on this machine gives the images; its work is a part of all times. About ten minutes, and 6 GB of
the temporary folder; a quick look takes half a minute.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Final

import transfers
from measure import PYTHON, paragraph, run
from subjects import Subject, gone, quietly

if TYPE_CHECKING:
    from pathlib import Path

    from transfers import Form, Made, Peers

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
_DECOMPRESS: Final = r"""
set -e
for file in "$@"; do
    gzip -dc "$file" >/dev/null
done
"""
_NEEDED: Final = """
import hashlib, sys
from isal import igzip_lib
for name in sys.argv[1:]:
    raw, plain = hashlib.sha256(), hashlib.sha256()
    decoder = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
    with open(name, "rb") as file:
        while data := file.read(1 << 18):
            raw.update(data)
            while data or not (decoder.needs_input or decoder.eof):
                plain.update(decoder.decompress(data, 1 << 18))
                data = b""
"""
TOLD: Final = (
    "What it takes to fetch an image. Medians of whole processes, start-up included, in turn; the processor's seconds"
    " are those of user and system of all processes of the subject, and of the Engine's daemon. The peak is that of its"
    " largest process. The first three are floors: what `curl` takes to fetch the layers one after the other, with"
    " `sha256sum` beside it; what `gzip -dc` takes to decompress them, alone and with `sha256sum` beside it. The ratio"
    " is that to the slower one of the first and the third. Made by `benchmarks/bench_pull.py`."
)
NEEDED: Final = (
    "`needed` is the work that a pull cannot leave out if it verifies diff IDs: SHA-256 of the layers as they"
    " come, decompression by ISA-L, and SHA-256 of the result. One thread of one process does it, from files in"
    " memory. `orlop pull` also receives and writes the bytes, reads every tar header for the table of contents,"
    " syncs everything before any row names it, and starts an interpreter. skopeo's copy into a directory hashes"
    " and writes what comes. It does not decompress, so it does not check the layers against the config, and it"
    " does not sync. If `needed` alone takes more than 0.6 of skopeo's processor time, that goal is out of reach"
    " on two cores: even spread evenly over both, `needed` would take more than half of its processor time. The"
    " work on one layer is spread over threads that release the interpreter's lock. A sampling profiler (`perf"
    " record`, one layer) finds 29 % of the processor time of `orlop pull` in SHA-256, 24 % in ISA-L, 18 % in the"
    " kernel and 5 % in the C library. 20 % are in the interpreter, a third of them before the first request."
)
SYNCED: Final = (
    "For many small layers, `needed` is little. There, the start takes 0.13 of the processor's seconds, and the rest is"
    " what a layer costs however small it is. A pull of 98 layers makes about 300 calls that sync (`strace -c`): two"
    " for each layer, its bytes and its table of contents, and a few for each group of layers that came within a tenth"
    " of a second, their directories and the transaction that keeps them. A layer that has come is never fetched"
    " again, whatever ends the pull, except for the last of these groups after a loss of power. skopeo's copy into a"
    " directory makes none."
)


def subjects(image: Made, authority: str, folder: Path, peers: Peers) -> list[Subject]:
    """Return what is measured of one form."""
    for name, script in (("fetch", _FETCH), ("read", _READ), ("decompress", _DECOMPRESS)):
        (folder / name).write_text(script)
    files, target, name = shlex.join(map(str, image.layers)), folder / "target", f"{authority}/app:1"
    digests = shlex.join(path.name for path in image.layers)
    fresh = gone(target)
    found = [
        transfers.shell("curl, sha256sum", f"sh {folder}/fetch {authority} {digests}", fresh),
        transfers.shell("gzip -dc", f"sh {folder}/decompress {files}", fresh),
        transfers.shell("gzip -dc, sha256sum", f"sh {folder}/read {files}", fresh),
        Subject("needed", [*PYTHON, "-c", _NEEDED, *map(str, image.layers)], fresh),
        transfers.shell("orlop pull", f"{transfers.orlop(target)} pull -q {name}", fresh),
    ]
    if peers.skopeo:
        line = f"{peers.skopeo} --src-tls-verify=false docker://{name} dir:{target}"
        found.append(transfers.shell("skopeo copy to dir:", line, fresh))
    if peers.podman and peers.engine:
        removed = quietly([*shlex.split(peers.podman), "rmi", "-af"])
        found.append(transfers.shell("podman pull", f"{peers.podman} pull -q --tls-verify=false {name}", removed))
    if peers.docker:
        removed = quietly([*shlex.split(peers.docker), "rmi", "-f", name])
        line = f"{peers.docker} pull -q {name}"
        found.append(transfers.shell("docker pull", line, removed, daemon=peers.engine))
    return found


def measured(form: Form, folder: Path, peers: Peers, page: transfers.Page, turns: int) -> None:
    """Add the table of one form to the page."""
    image = transfers.made(form, folder)
    with transfers.registry(folder) as authority:
        run(["sh", "-ec", f"{transfers.orlop(folder / 'none')} copy -q oci:{image.layout} docker://{authority}/app:1"])
        found = subjects(image, authority, folder, peers)
        for turn in range(turns + 1):
            for one in found:
                one.turn(turn)
    times = {one.name: one.median for one in found}
    floor = max(times["curl, sha256sum"], times["gzip -dc, sha256sum"])
    page.add(image, found, floor)
    pull = times["orlop pull"]
    page.goal(image, "to the slower floor", pull / floor, 1.3)
    for name, most in (("skopeo copy to dir:", 0.6), ("docker pull", 0.2)):
        if name in times:
            page.goal(image, f"to `{name}`", pull / times[name], most)
    peak = next(one.peak for one in found if one.name == "orlop pull")
    page.goal(image, "peak memory in MB", peak / 1e6, transfers.MEMORY_GOAL / 1e6)


def main() -> None:
    page = transfers.Page("pull", "Pulls", TOLD)
    quick = transfers.measure_forms(page, measured)
    page.lines += ["", paragraph(NEEDED), "", paragraph(SYNCED)]
    page.close(quick=quick)


if __name__ == "__main__":
    main()
