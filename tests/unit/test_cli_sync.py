"""`orlop sync` as a user runs it."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import pytest

from orlop.testing.registry.fake import FakeRegistry
from tests.unit.holding import Holding
from tests.unit.synced import add_image, entry
from tests.unit.test_cli_push import Shell
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def there() -> Iterator[FakeRegistry]:
    with FakeRegistry() as found:
        yield found


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.fixture
def file(there: FakeRegistry, tmp_path: Path) -> Path:
    for tag in ("1", "2"):
        add_image(there, "app", tag, tag)
    path = tmp_path / "sync.toml"
    path.write_text(entry(f"docker://{there.authority}/app", f"docker://{there.authority}/copy", mirror=True))
    return path


@pytest.mark.sampled(4)
def test_a_sync_says_what_it_did_and_sums_it_up(shell: Shell, there: FakeRegistry, file: Path):
    target = f"docker://{there.authority}/copy"
    planned = shell.run("sync", "--dry-run", str(file))
    assert planned.stdout.decode().splitlines()[0].startswith(f"{target}:1: would copy: is new (")
    assert planned.stdout.decode().splitlines()[2].startswith("Dry run: 2 copied, 0 unchanged, 0 failed; ")
    assert not there.repository("copy").tags
    first = shell.run("sync", str(file))
    lines = first.stdout.decode().splitlines()
    assert (first.returncode, first.stderr) == (0, b"")
    assert lines[:2] == [f"{target}:1: copied: is new", f"{target}:2: copied: is new"]
    assert lines[2].startswith("2 copied, 0 unchanged, 0 failed; ")
    assert shell.run("sync", str(file)).stdout.decode().startswith("0 copied, 2 unchanged, 0 failed; ")
    assert f"{target}:1: unchanged: is the same" in shell.run("sync", "-v", str(file)).stdout.decode()
    del there.repository("app").tags["1"]
    assert f"{target}:1: not removed: " in shell.run("sync", str(file)).stdout.decode()
    assert f"{target}:1: removed: " in shell.run("sync", "--delete", str(file)).stdout.decode()
    assert not (shell.folder / "root").exists()
    assert len(list((shell.folder / ".local/state/orlop/sync").iterdir())) == 1


@pytest.mark.sampled(2)
def test_a_sync_with_a_bad_tag_has_the_status_of_its_error(shell: Shell, there: FakeRegistry, file: Path):
    file.write_text(file.read_text() + entry(f"docker://{there.authority}/none", "oci:x") + 'tags = ["1"]\n')
    result = shell.run("sync", "-q", str(file))
    assert (result.returncode, result.stdout) == (4, b"")
    assert result.stderr.decode().count("Error: ") == 1
    assert set(there.repository("copy").tags) == {"1", "2"}


@pytest.mark.sampled(2)
@pytest.mark.parametrize(("text", "status"), [("[[sync]]\n", 3), ("x", 3), (None, 7)])
def test_a_file_that_cannot_be_used_is_one_sentence(shell: Shell, tmp_path: Path, text: str | None, status: int):
    if text is not None:
        (tmp_path / "bad.toml").write_text(text)
    result = shell.run("sync", str(tmp_path / "bad.toml"))
    assert result.returncode == status
    assert result.stderr.decode().count("\n") == 1
    assert "bad.toml" in result.stderr.decode()


@pytest.mark.sampled(4)
def test_a_sync_that_is_stopped_ends_soon_and_goes_on(shell: Shell, there: FakeRegistry, file: Path, tmp_path: Path):
    for number in range(40):
        add_image(there, "app", f"3.{number}", f"{number}")
    with Holding() as other:
        file.write_text(entry(f"docker://{there.authority}/app", f"docker://{other.authority}/copy"))
        other.hold(lambda: len(other.repository("copy").tags) >= 10)
        process = shell.start("sync", "-q", str(file))
        assert other.holds.wait(PATIENCE)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)
        other.let_go()
        assert process.returncode == 130
        done = set(other.repository("copy").tags)
        assert done != set(there.repository("app").tags)
        there.requests.clear()
        assert shell.run("sync", "-q", str(file)).returncode == 0
        assert other.repository("copy").tags == there.repository("app").tags
        fetched = [one.path for one in there.requests if one.method == "GET" and "/manifests/" in one.path]
        assert {path.rpartition("/")[2] for path in fetched}.isdisjoint(done)


@pytest.mark.sampled(3)
def test_a_sync_is_told_as_json(shell: Shell, file: Path):
    document = json.loads(shell.run("sync", "--format", "json", str(file)).stdout)
    assert document["Counts"]["Copied"] == 2
    assert [one["Action"] for one in document["Tags"]] == ["copied", "copied"]
    assert shell.run("sync", "--format", "{{.Counts.Unchanged}}", str(file)).stdout == b"2\n"
    assert shell.run("sync", "--format", "{{.None}}", str(file)).returncode == 2
