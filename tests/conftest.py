"""What every test may ask for."""

from __future__ import annotations

import gc
import importlib
import logging
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests import memory, needs, sample
from tests.crash import pace
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    Handler = Callable[[int, FrameType | None], object] | int | None

#: Files that real daemons and tools wrote; `tests/data/README.md` says which program wrote what.
DATA = Path(__file__).parent / "data"
HERE = Path(__file__).parent
#: The signals that orlop's commands handle.
HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)
#: What names authorities of the machine. To read a hundred of them takes longer than most tests do, and each client of
#: an object store does.
AUTHORITIES = ("AWS_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")

# How long an example takes says nothing about the code: machines are busy. In CI the examples are the same every time.
settings.register_profile(
    "orlop",
    max_examples=pace.examples(100),
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("orlop")


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of test data."""
    return DATA


@pytest.fixture(autouse=True)
def own_log() -> Iterator[None]:
    """Undo what a command that runs in this process does to the log: it is for a process of its own."""
    logger = logging.getLogger("orlop")
    level, propagate, handlers = logger.level, logger.propagate, list(logger.handlers)
    yield
    logger.setLevel(level)
    logger.propagate, logger.handlers[:] = propagate, handlers


@pytest.fixture(autouse=True)
def own_threads() -> Iterator[None]:
    """Fail where threads of orlop outlive what started them: nobody ends them any more."""
    before = set(threading.enumerate())
    yield
    until = time.monotonic() + PATIENCE
    while left := [each.name for each in set(threading.enumerate()) - before if each.name.startswith("orlop-")]:
        assert time.monotonic() < until, f"threads that nobody ended: {left}"
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def own_signals() -> Iterator[None]:
    """Fail where a test leaves handlers or an alarm behind: they are for one command, and tests share a process."""
    before, interval = _handlers(), signal.getitimer(signal.ITIMER_REAL)[1]
    yield
    after, left = _handlers(), signal.getitimer(signal.ITIMER_REAL)[1]
    if (after, left) != (before, interval):
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
        pytest.fail(f"signals are handled as this test left it: {after}, an alarm each {left} s")


def _handlers() -> dict[signal.Signals, Handler]:
    return {number: signal.getsignal(number) for number in HANDLED}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what cannot run here, see `tests.needs`."""
    for mark in item.iter_markers("needs"):
        needs.need_all(*mark.args)


def pytest_configure() -> None:
    """Make tests do the same everywhere: no program that they did not ask for starts, and signals are heard."""
    memory.use_memory()
    for name in AUTHORITIES:
        os.environ.pop(name, None)
    sys.addaudithook(needs.check_programs)
    # What a shell runs in the background ignores Ctrl-C, what nohup runs ignores hang-ups, and so does what they start.
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_xdist_auto_num_workers() -> int:
    """Return two workers for each processor: half of the time tests wait, for daemons and for patience to end."""
    return min(2 * len(os.sched_getaffinity(0)), 8)


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Import the modules of a whole run, each worker from another one on.

    Pytest rewrites the assertions of each module before it is imported, which takes longer than everything else until
    the first test begins, and keeps what it made. In a new checkout all workers would do the same at the same time; so
    each finds most of it done by the others.
    """
    # Of what is imported and collected nothing is garbage: to search it would take a third of the time.
    gc.disable()
    config = collector.config
    worker = getattr(config, "workerinput", None)
    is_ours = config.rootpath == HERE.parent and is_whole(config)
    if not isinstance(collector, pytest.Session) or worker is None or not is_ours:
        return
    modules = [path for path in sorted(HERE.rglob("test_*.py")) if DATA not in path.parents]
    first = len(modules) * int(worker["workerid"].removeprefix("gw")) // worker["workercount"]
    for path in (*modules[first:], *modules[:first]):
        # What is wrong with it is told when it is collected.
        with suppress(Exception):
            importlib.import_module(".".join(path.relative_to(HERE.parent).with_suffix("").parts))


def pytest_collection_finish() -> None:
    """Have searches for garbage, and processes that are forked, leave alone what was imported and collected.

    It is half a million objects in a whole run: to look at them all takes a second.
    """
    gc.freeze()
    gc.enable()


def is_whole(config: pytest.Config) -> bool:
    """Return whether a run is of the whole suite, and not of files that were named."""
    return config.args_source is pytest.Config.ArgsSource.TESTPATHS


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what other days take, or what is too much for a slow pace; files that are named are run whole.

    What is slow comes first.
    """
    if not is_whole(config):
        return
    left = {item for item in items if not pace.chosen(item.nodeid)} | sample.left_out(items)
    if left:
        config.hook.pytest_deselected(items=list(left))
        items[:] = [item for item in items if item not in left]
    worker = getattr(config, "workerinput", None)
    if worker is not None:
        items[:] = sample.slow_first(items, worker["workercount"])


def pytest_report_header() -> str:
    """Return the day whose samples the run takes."""
    return f"samples of day {pace.DAY}: ORLOP_DAY={pace.DAY} takes them again, ORLOP_PACE=1 takes everything"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what tests counted, so that nobody takes a test of nothing for a proof."""
    reports = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    for line in sorted(value for report in reports for word, value in report.user_properties if word == "counted"):
        terminalreporter.write_line(str(line))
