"""A look at a store, and a repair, while others load, tag, remove and collect garbage: no false alarm, nothing lost."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop import stores

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 2
WORKER = """
import random, sys, time
import orlop
from orlop import errors

root, seconds, *archives = sys.argv[1:]
end = time.monotonic() + float(seconds)
while time.monotonic() < end:
    with orlop.open(root) as images:
        images.load(random.choice(archives))
        for image in images.images(all=True):
            try:
                if random.random() < 0.3:
                    images.tag(str(image.id), "example/tiny:1.0")
                if random.random() < 0.5:
                    images.remove(str(image.id), force=True)
            except (errors.NotFound, errors.Conflict):
                pass
        if random.random() < 0.3:
            images.gc()
"""


@pytest.mark.sampled(2)
@pytest.mark.parametrize("repair", [False, True])
def test_what_others_do_meanwhile_is_no_problem(data: Path, tmp_path: Path, repair: bool) -> None:  # noqa: FBT001
    root = tmp_path / "root"
    names = ["dockerd-29-overlay2/multi.tar", "dockerd-20.10-overlay2/parent-child.tar", "other-tools/podman-oci.tar"]
    archives = [str(data / name) for name in names]
    with orlop.open(root) as images:
        images.load(archives[0])
    arguments = [sys.executable, "-c", WORKER, str(root), str(SECONDS), *archives]
    looks = 0
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(subprocess.Popen(arguments)) for _ in range(3)]
        for worker in workers:
            stack.callback(worker.kill)
        while any(worker.poll() is None for worker in workers):
            report = stores.fsck(root, repair=repair)
            assert (report.problems, report.repairs) == ((), ())
            looks += 1
            time.sleep(0.01)
        assert [worker.wait() for worker in workers] == [0, 0, 0]
    assert looks
    assert stores.fsck(root).problems == ()
