"""Ctrl-C at counted moments of a pull and a push: it ends them, shows nothing half done, and nothing is sent twice."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from orlop.testing.registry.fake import FakeRegistry
from orlop.testing.registry.quirks import Quirks
from orlop.testing.registry.site import HangUp
from tests.unit.layouts import Layout
from tests.unit.pulling import push
from tests.unit.test_cli_push import Shell
from tests.unit.test_pull import big_tar, image_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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


def interrupted(process: subprocess.Popen[bytes], there: Silent) -> None:
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


@pytest.mark.sampled(6)
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


@pytest.mark.sampled(6)
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


@pytest.mark.sampled(8)
@pytest.mark.parametrize("answers", range(0, 4 + 3 * LAYERS, 3))
@pytest.mark.parametrize("command", ["copy", "sync"])
def test_a_copy_and_a_sync_end_at_any_request_and_the_next_one_goes_on(
    tmp_path: Path, there: Silent, command: str, answers: int
):
    layout, top, name = image(there)
    push(there, layout, top, "1", "app")
    shell, other = Shell(tmp_path), f"{there.authority}/other"
    plan = tmp_path / "plan.toml"
    plan.write_text(f'[[sync]]\nsource = "docker://{name}"\ntarget = "docker://{other}"\n'.replace("app:1", "app"))
    # Without a mount, the layers cross the network.
    there.quirks = Quirks(mount=202)
    arguments = {"copy": ("copy", "-q", f"docker://{name}", f"docker://{other}:1"), "sync": ("sync", "-q", str(plan))}
    there.answers = there.asked + answers
    interrupted(shell.start(*arguments[command]), there)
    assert there.repository("other").tags == {}
    assert shell.run(*arguments[command]).returncode == 0
    assert set(there.repository("other").tags) == {"1"}


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    "arguments",
    [
        ("tags", "docker://{}/app"),
        ("inspect", "docker://{}/app:1"),
        ("manifest", "docker://{}/app:1"),
        ("login", "--username", "me", "--password-stdin", "{}"),
    ],
)
def test_a_look_and_a_login_end_while_they_wait(tmp_path: Path, there: Silent, arguments: tuple[str, ...]):
    shell = Shell(tmp_path)
    there.answers = 0
    process = subprocess.Popen(
        shell.argv(*(one.format(there.authority) for one in arguments)),
        env=shell.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write(b"secret\n")
    process.stdin.close()
    process.stdin = None
    interrupted(process, there)


def test_a_pull_ends_while_a_helper_of_credentials_does_not_answer(tmp_path: Path, there: Silent):
    asked, helper = tmp_path / "asked", tmp_path / "docker-credential-slow"
    helper.write_text(f'#!/bin/sh\n: >"{asked}"\nexec sleep 120\n')
    helper.chmod(0o755)
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker" / "config.json").write_text('{"credsStore": "slow"}')
    there.quirks = Quirks(auth="basic")
    shell = Shell(tmp_path)
    shell.environment["PATH"] = f"{tmp_path}:{shell.environment['PATH']}"
    process = shell.start("pull", "-q", f"{there.authority}/app:1")
    while not asked.exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_an_import_calls_something_else_ends_the_command_all_the_same(number):
    # Python's own modules in C replace whatever an import of theirs raises.
    program = f"""if True:
        import os, sys, time
        from orlop.cli import main
        def dispatch(*_, **__):
            try:
                os.kill(os.getpid(), {int(number)})
                time.sleep(60)
            except BaseException:
                pass
            raise ImportError("no such module")
        main._dispatch = dispatch
        sys.argv = ["orlop", "images"]
        main.main()"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (128 + number, b"")


def test_a_signal_that_ended_a_command_ends_no_later_one_of_the_process():
    program = """if True:
        import os, signal, sys
        from orlop.cli import main, signals
        signals.heed()
        dispatch = main._dispatch
        main._dispatch = lambda *_, **__: os.kill(os.getpid(), signal.SIGINT)
        assert main.run(["images"]) == 130
        main._dispatch = dispatch
        status = main.run(["images", "--no-such"])
        signals.let_waiting_be()
        sys.exit(status)"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=120, check=False)
    assert done.returncode == 2, done.stderr


def test_a_second_signal_while_a_command_ends_by_the_first_is_no_alarm():
    program = """if True:
        import os, signal, sys, time
        from orlop.cli import main
        from orlop.cli.show import output
        def abandon():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(60)
        output.abandon = abandon
        main._dispatch = lambda *_, **__: os.kill(os.getpid(), signal.SIGINT)
        sys.argv = ["orlop", "images"]
        main.main()"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (130, b"")


@pytest.mark.parametrize("alarm", ["signal.SIG_DFL", "bool"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_comes_while_an_object_is_finalized_ends_the_command_in_silence(
    number: signal.Signals, alarm: str
):
    """So it does where the program that orlop is part of has the alarm for itself."""
    program = f"""if True:
        import os, signal, sys, time
        signal.signal(signal.SIGALRM, {alarm})
        from orlop.cli import main
        class Finalized:
            def __del__(self):
                os.kill(os.getpid(), {int(number)})
                time.sleep(0.01)
        def dispatch(*_, **__):
            Finalized()
            time.sleep(60)
        main._dispatch = dispatch
        sys.argv = ["orlop", "images"]
        main.main()"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=50, check=False)
    assert (done.returncode, done.stderr) == (128 + number, b"")


def test_an_object_that_a_signal_left_half_made_does_not_complain():
    program = """if True:
        import os, signal, sys, time
        from orlop.cli import main
        class Half:
            def __init__(self):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(60)
                self.file = None
            def __del__(self):
                self.file.close()
        main._dispatch = lambda *_, **__: Half()
        sys.argv = ["orlop", "images"]
        main.main()"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=50, check=False)
    assert (done.returncode, done.stderr) == (130, b"")


def test_an_error_of_a_finalizer_is_told_where_no_signal_came():
    program = """if True:
        import sys
        from orlop.cli import main
        class Broken:
            def __del__(self):
                raise RuntimeError("told")
        def dispatch(*_, **__):
            Broken()
            return 0
        main._dispatch = dispatch
        sys.argv = ["orlop", "images"]
        main.main()"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=50, check=False)
    assert done.returncode == 0
    assert b"RuntimeError: told" in done.stderr


def test_ctrl_c_before_signals_are_heeded_is_told_by_the_status_alone() -> None:
    script = """
import builtins, sys
from orlop.cli.main import main
usual, sys.argv, asked = builtins.__import__, ["orlop", "images"], []
def interrupted(name, *rest):
    if name == "orlop.cli.signals" and not asked:
        asked.append(name)
        raise KeyboardInterrupt
    return usual(name, *rest)
builtins.__import__ = interrupted
main()
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, b"", b"")
