"""What a push costs, over `curl -T` of the same bytes, beside skopeo, podman and the Engine.

`./dev run python benchmarks/bench_push.py [--quick] [--form NAME]… [--turns N]`

Writes `docs/benchmarks/push.md`; a quick look, or one of some forms, writes nothing. A registry of Debian
(`docker-registry`) takes what is sent, with its data in the temporary folder, so that its work is a part of all times.
It is emptied before each run: nobody can mount anything. About ten minutes, and 6 GB of the temporary folder; a quick
look takes half a minute.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Final

import transfers
from measure import paragraph, run

if TYPE_CHECKING:
    from pathlib import Path

    from subjects import Subject
    from transfers import Form, Made, Peers

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
TOLD: Final = (
    "What it takes to send an image to a registry that has nothing of it. Medians of whole processes, start-up"
    " included, in turn. Processor seconds are user and system time of all processes of the subject, and of the"
    " Engine's daemon. The peak is that of its largest process. The ratio is that to `curl -T`, which sends the"
    " layers one after the other, each in one piece. `orlop push` sends layers as they came, large ones in pieces"
    " that the registry acknowledges, so that another process can continue. It syncs each piece first: one large"
    " layer has to wait for that, while several hide each other's waits. `orlop copy` and skopeo read a layout."
    " Podman and the Engine compress every layer again. Made by `benchmarks/bench_push.py`."
)

BOUNDS: Final = (
    "Where a goal is missed, this bounds it. If `curl -T` itself takes more than 0.1 of `docker push`, as it does with"
    " three layers and with small ones, what has to be sent and asked is too much for that goal. With one layer, `orlop"
    " push` takes longer than `curl -T` mostly by its start: a push of a tag that is there already takes 0.15 of the"
    " processor's seconds (`orlop images`: 0.04), nearly all of them before its only request, to read some 220 modules."
    " In one piece instead of seven, the push took 0.84 of its time (medians of 9, on a busy machine), but another"
    " process could not continue it."
)


def subjects(image: Made, authority: str, folder: Path, peers: Peers) -> list[Subject]:
    """Return what is measured of one form."""
    (folder / "send").write_text(_SEND)
    name, fresh = f"{authority}/app:1", transfers.emptied(folder)
    root = folder / "store"
    # The image gets into each of the stores from the registry.
    run(["sh", "-ec", f"{transfers.orlop(root)} copy -q oci:{image.layout} docker://{name}"])
    run(["sh", "-ec", f"{transfers.orlop(root)} pull -q {name}"])
    found = [
        transfers.shell("curl -T", f"sh {folder}/send {authority} {shlex.join(map(str, image.layers))}", fresh),
        transfers.shell("orlop push", f"{transfers.orlop(root)} push -q {name}", fresh),
        transfers.shell("orlop copy", f"{transfers.orlop(root)} copy -q oci:{image.layout} docker://{name}", fresh),
    ]
    if peers.skopeo:
        line = f"{peers.skopeo} --dest-tls-verify=false oci:{image.layout} docker://{name}"
        found.append(transfers.shell("skopeo copy", line, fresh))
    if peers.podman and peers.engine:
        run(["sh", "-ec", f"{peers.podman} pull -q --tls-verify=false {name}"])
        found.append(transfers.shell("podman push", f"{peers.podman} push -q --tls-verify=false {name}", fresh))
    if peers.docker:
        run(["sh", "-ec", f"{peers.docker} pull -q {name}"])
        line = f"{peers.docker} push -q {name}"
        found.append(transfers.shell("docker push", line, fresh, daemon=peers.engine))
    return found


def measured(form: Form, folder: Path, peers: Peers, page: transfers.Page, turns: int) -> None:
    """Add the table of one form to the page."""
    image = transfers.made(form, folder)
    with transfers.registry(folder) as authority:
        found = subjects(image, authority, folder, peers)
        for turn in range(turns + 1):
            for one in found:
                one.turn(turn)
    times = {one.name: one.median for one in found}
    page.add(image, found, times["curl -T"])
    page.goal(image, "push to `curl -T`", times["orlop push"] / times["curl -T"], 1.3)
    if "docker push" in times:
        page.goal(image, "push to `docker push`", times["orlop push"] / times["docker push"], 0.1)
    peak = max(one.peak for one in found if one.name.startswith("orlop"))
    page.goal(image, "peak memory in MB", peak / 1e6, transfers.MEMORY_GOAL / 1e6)


def main() -> None:
    page = transfers.Page("push", "Pushes", TOLD)
    quick = transfers.measure_forms(page, measured)
    page.lines += ["", paragraph(BOUNDS)]
    page.close(quick=quick)


if __name__ == "__main__":
    main()
