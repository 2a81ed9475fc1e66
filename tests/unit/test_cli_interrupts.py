"""Ctrl-C at counted moments of a pull and a push: it ends them, shows nothing half done, and nothing is sent twice."""

from __future__ import annotations

import json
import signal
import threading
from typing import TYPE_CHECKING

import pytest

from orlop.testing.registry.fake import FakeRegistry
from orlop.testing.registry.site import HangUp
from tests.unit.layouts import Layout
from tests.unit.pulling import push
from tests.unit.test_cli_push import Shell
from tests.unit.test_pull import big_tar, image_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from subprocess import Popen

    from orlop.testing.registry.site import Asked, Reply

MIB = 1 << 20
LAYERS = 3


class Silent(FakeRegistry):
    """A registry that answers some requests, and then no more, until it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = 1 << 30
        self.asked = 0
        self.is_silent = threading.Event()
        self.goes_on = threading.Event()
        self._counting = threading.Lock()

    def _registry(self, asked: Asked) -> Reply:
        with self._counting:
            self.asked += 1
            waits = self.asked > self.answers
        if waits:
            self.is_silent.set()
            self.goes_on.wait(120)
            raise HangUp
        return super()._registry(asked)


@pytest.fixture
def there() -> Iterator[Silent]:
    with Silent() as found:
        yield found
        found.goes_on.set()


def interrupted(process: Popen[bytes], there: Silent) -> None:
    """Send what Ctrl-C sends once the registry answers no more; the command ends though it gets no answer."""
    assert there.is_silent.wait(60), process.poll()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in err
    there.answers = 1 << 30
    there.goes_on.set()


def image(there: Silent) -> tuple[Layout, dict[str, object], str]:
    layout = Layout()
    top = image_of(layout, *(big_tar(2 * MIB, number) for number in range(LAYERS)))
    return layout, top, f"{there.authority}/app:1"


@pytest.mark.parametrize("answers", range(2 + LAYERS))
def test_a_pull_ends_at_any_request_and_the_next_one_goes_on(tmp_path: Path, there: Silent, answers: int):
    layout, top, name = image(there)
    push(there, layout, top, "1", "app")
    shell = Shell(tmp_path)
    there.answers = answers
    arguments = ("pull", "-q", "--platform", "linux/amd64", name)
    interrupted(shell.start(*arguments), there)
    assert shell.run("images", "-aq").stdout == b""
    assert shell.run(*arguments).returncode == 0
    total = LAYERS * 2 * MIB
    assert sum(one.sent for one in there.requests if "/blobs/" in one.path) <= total + (answers + LAYERS) * MIB
    assert json.loads(shell.run("fsck", "-q", "--format", "json").stdout)["State"] == "clean"


@pytest.mark.parametrize("answers", range(0, 4 + 3 * LAYERS, 2))
def test_a_push_ends_at_any_request_and_the_next_one_goes_on(tmp_path: Path, there: Silent, answers: int):
    layout, top, name = image(there)
    layout.top(top | {"annotations": {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": "1"}})
    shell = Shell(tmp_path)
    shell.load(layout)
    there.answers = answers
    interrupted(shell.start("push", "-q", name), there)
    repository = there.repository("app")
    # What has a tag is whole; what came whole is not sent again.
    for digest in repository.tags.values():
        assert repository.missing(repository.manifests[digest][1]) == []
    done = set(repository.blobs)
    there.requests.clear()
    assert shell.run("push", "-q", name).returncode == 0
    assert set(repository.tags) == {"1"}
    puts = [one.target for one in there.requests if one.method == "PUT" and "/blobs/" in one.target]
    assert [one for one in puts if any(digest.rpartition(":")[2] in one for digest in done)] == []
