"""Several machines over one store: processes with wrong clocks, which hang and lose the network and nothing else."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psycopg
import pytest

import orlop
from orlop.model.store_url import StoreURL
from orlop.store.blobs.s3.store import S3BlobStore
from orlop.store.remote import remote_store
from tests import engines
from tests.networks import network
from tests.postgres import Postgres
from tests.seaweed import Seaweed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.networks import Line

PATIENCE: Final = 180
LONG: Final = bool(os.environ.get("ORLOP_LONG"))
SECONDS: Final = float(os.environ.get("ORLOP_MACHINES_SECONDS", "1800" if LONG else "10"))
"""For how long several machines work at once."""
_TTL: Final = 3.0
_CLOCKS: Final = (-300.0, 420.0, 0.0, 0.0)


@pytest.fixture
def archives(data: Path) -> list[Path]:
    folder = data / "dockerd-20.10-overlay2"
    return [folder / name for name in ("multi.tar", "parent-child.tar", "dup.tar")]


def started(url: StoreURL, count: int, archives: list[Path], lines: Sequence[Line] = ()) -> list[subprocess.Popen[str]]:
    """Start machines that work, each at the end of its line where there are some."""
    environment = os.environ | dict(url.variables) | {"PYTHONPATH": os.pathsep.join(sys.path)}
    faults = "yes" if lines else "no"
    return [
        subprocess.Popen(
            [
                *(lines[seed].command() if lines else ()),
                *(sys.executable, "-m", "tests.machines", str(url), str(seed), str(SECONDS)),
                *(str(_CLOCKS[seed % len(_CLOCKS)]), faults, *map(str, archives)),
            ],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in range(count)
    ]


def finish(url: StoreURL, machines: list[subprocess.Popen[str]], archives: list[Path]) -> dict[str, int]:
    """Wait for machines; then everything is whole, what they were told is kept is there, and nothing is left over."""
    done: dict[str, int] = {}
    kept: list[str] = []
    for one in machines:
        out, err = one.communicate(timeout=SECONDS + PATIENCE)
        assert one.returncode == 0, err
        told = json.loads(out)
        kept += told["kept"]
        done = {verb: done.get(verb, 0) + count for verb, count in told["done"].items()}
    report = orlop.stores.check(url, verify=True)
    assert report.damage == ()
    with orlop.open(url) as images:
        there = {str(name) for one in images.images() for name in one.references}
        assert set(kept) <= there
        for archive in archives:
            images.load(archive)
        images.prune(all=True)
        images.gc()
    with remote_store(url) as store:
        assert isinstance(store.blobs, S3BlobStore)
        _until_clean(store.blobs)
        with store.metadata.read() as rows:
            assert rows.counts()["blobs"] == 0
    assert orlop.stores.fsck(url).problems == ()
    return done


def _until_clean(blobs: S3BlobStore) -> None:
    """Collect until nothing is in the bucket: what a machine that was cut off held goes once its session is dead."""
    until = time.monotonic() + PATIENCE
    while [*blobs.bucket.objects("blobs/"), *blobs.bucket.uploads("blobs/")]:
        assert time.monotonic() < until, list(blobs.bucket.objects("blobs/"))
        blobs.reclaim()
        blobs.sweep_bucket()
        time.sleep(0.1)


@pytest.mark.sampled(4)
def test_machines_with_wrong_clocks_lose_nothing(archives: list[Path]) -> None:
    """Two processes load, save, remove and collect at once."""
    url = StoreURL.parse(engines.new_url(), engines.variables())
    done = finish(url, started(url, 2, archives), archives)
    assert done["load"]
    assert done["keep"]
    assert not done["cut"]


@pytest.mark.sampled(6, daily=False)
@pytest.mark.slow
@pytest.mark.needs("root", "ip")
@pytest.mark.parametrize("count", [2, 8])
def test_machines_that_hang_and_are_cut_off_lose_nothing(archives: list[Path], count: int) -> None:
    """Each has a network of its own, which is cut and joined, and is stopped and goes on, longer than sessions live."""
    with ExitStack() as stack:
        address, lines = stack.enter_context(network(count))
        url = _engines(stack, address)
        machines = started(url, count, archives, lines)
        stack.callback(_end, machines)
        _trouble(machines, lines)
        done = finish(url, machines, archives)
    assert done["load"]
    assert done["keep"]


def _engines(stack: ExitStack, address: str) -> StoreURL:
    place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="orlop-machines-", dir="/tmp")))
    (place / "pg").mkdir()
    place.chmod(0o755)
    postgres, seaweed = Postgres(place / "pg", address=address), Seaweed(place / "weed", address=address)
    for engine in (postgres, seaweed):
        engine.start()
        stack.callback(engine.stop)
    seaweed.bucket(engines.BUCKET).make()
    name = psycopg.conninfo.conninfo_to_dict(postgres.database(empty=True))["dbname"]
    variables = engines.variables() | {"AWS_ENDPOINT_URL": seaweed.endpoint}
    url = StoreURL.parse(f"postgresql://orlop@{address}/{name}?blobs=s3://{engines.BUCKET}/p", variables)
    orlop.stores.init(url)
    with psycopg.connect(host=address, user="orlop", dbname=str(name), autocommit=True) as connection:
        connection.execute("UPDATE orlop.store SET ttl = %s", (_TTL,))
    return url


def _trouble(machines: list[subprocess.Popen[str]], lines: list[Line]) -> None:
    """Stop machines and cut lines, one after another and for a while each, as long as machines work."""
    chosen = random.Random(os.environ.get("ORLOP_SEED", "1"))
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        one = chosen.randrange(len(machines))
        begin: Callable[[], object]
        end: Callable[[], object]
        if chosen.random() < 0.5:
            begin, end = lines[one].cut, lines[one].join
        else:
            begin, end = _signal(machines[one], signal.SIGSTOP), _signal(machines[one], signal.SIGCONT)
        begin()
        time.sleep(chosen.choice((0.3, 1.0, _TTL * 1.7)))
        end()
        time.sleep(0.3)


def _signal(machine: subprocess.Popen[str], number: signal.Signals) -> Callable[[], None]:
    return lambda: machine.send_signal(number)


def _end(machines: list[subprocess.Popen[str]]) -> None:
    for one in machines:
        if one.poll() is None:
            one.kill()
            one.communicate()
