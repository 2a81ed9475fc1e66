"""What programs of 2026 make of the merge cases: where they differ from the view, or refuse a layer, a finding says so.

The answers are those of `tests/data/merge-cases/newer-programs.tar.zst`.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import pytest

from tests.unit import merge_cases

ENGINES: Final = ("docker-28.5-overlay2", "docker-28.5-containerd", "podman-5.8-overlay", "containerd-2.1-overlayfs")
COPIERS: Final = ("podman-5.8-vfs", "containerd-2.1-native")
"""Engines that copy the layers below and apply the next one to the copy, without an overlay file system."""
UMOCI: Final = "umoci-0.6"

NOT_TOLD: Final = {
    "h-global": "a global header is in no table of contents: podman and containerd make the directory of its name",
    "h-global-path": "the same",
    "h-global-uid": "the same",
    "x-global": "the same",
    "sp-old": "all refuse the type S, which a table of contents does not tell apart",
    "sp-old-ext": "the same",
    "sp-hole-end": "the same",
    "x-symlink": "containerd keeps no attributes of users that are trusted",
    "x-trusted": "the same",
    "x-selinux": "podman and umoci keep no label",
    "x-dir-replaced": "podman's vfs and containerd's native keep the attributes that a directory had before",
    "xattrs-replaced": "the same",
    "x-acl": "podman's vfs keeps no access list",
    "x-empty": "umoci keeps no attribute that is empty",
}
"""Cases that programs answer otherwise without a finding, and why; docs/inside.md has them as well."""


class Seen(NamedTuple):
    """A line of a listing, without the time of a directory, and other than of a file, without shared names."""

    path: str
    type: str
    mode: str
    uid: str
    gid: str
    size: str
    time: str
    target: str
    first: str
    xattrs: str
    sha256: str

    def bare(self, program: str) -> Seen:
        """Leave out what this program's answer cannot say."""
        one = self if self.type == "f" else self._replace(first="-")
        if self.type == "d":
            one = one._replace(time="-")
        if program.startswith("docker"):
            one = one._replace(time=one.time.partition(".")[0], xattrs="-")
        return one


def seen(listing: str, program: str) -> set[Seen]:
    lines = (Seen(*line.split("\t")) for line in listing.splitlines())
    return {one.bare(program) for one in lines if one.path != "/"}


def answer(case: str, program: str) -> set[Seen] | None:
    """Return what a program shows of a case; None if it refuses the image."""
    files = merge_cases.newer()
    found = files.get(f"answers/{program}/{case}.tsv")
    assert found is not None or f"answers/{program}/{case}.err" in files
    return None if found is None else seen(found.decode(), program)


def view(case: str, program: str, *, resolve_links: bool) -> set[Seen]:
    return seen("\n".join(merge_cases.expected(case, resolve_links=resolve_links)), program)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("case", merge_cases.names())
def test_what_a_program_answers_otherwise_is_told(case: str) -> None:
    merge = merge_cases.merged(merge_cases.layers_of(case))
    # What hides nothing can be left out, whatever a program makes of it.
    told = {one.kind for one in merge.findings} - {"hides-nothing"}
    differing = [one for one in (*ENGINES, *COPIERS) if answer(case, one) != view(case, one, resolve_links=False)]
    if answer(case, UMOCI) != view(case, UMOCI, resolve_links=True):
        differing.append(UMOCI)
    if case in NOT_TOLD:
        assert differing, "it need not be told any more"
        assert not merge.findings
    elif differing:
        assert told, differing


def test_most_cases_are_answered_alike() -> None:
    """Else the comparison would compare nothing."""
    same = [one for one in merge_cases.names() if answer(one, ENGINES[1]) == view(one, ENGINES[1], resolve_links=False)]
    assert len(same) > 200
    same = [one for one in merge_cases.names() if answer(one, UMOCI) == view(one, UMOCI, resolve_links=True)]
    assert len(same) > 200
