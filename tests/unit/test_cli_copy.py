"""`orlop copy` as a user runs it."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from tests.unit.holding import Holding
from tests.unit.layouts import Layout, named, unpacked
from tests.unit.pushed import again, large, simple, top_digest
from tests.unit.test_cli_push import MIB, Shell
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def there() -> Iterator[Holding]:
    with Holding() as found:
        yield found


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.mark.sampled(3)
def test_a_copy_says_what_is_where_and_needs_no_store(shell: Shell, there: Holding, tmp_path: Path):
    layout = simple("docker.io/example/app:1.0", "a")
    unpacked(layout.files, tmp_path / "in")
    size = len(layout.files["blobs/" + top_digest(layout).replace(":", "/")])
    target = f"docker://{there.authority}/app"
    first = shell.run("copy", f"{tmp_path}/in", target)
    assert first.stdout.decode() == f"{there.authority}/app:1.0: digest: {top_digest(layout)} size: {size}\n"
    again = shell.run("copy", f"oci:{tmp_path}/in", target)
    assert again.stdout.decode().endswith(f"size: {size} (was there)\n")
    assert shell.run("copy", "-q", target + ":1.0", f"dir:{tmp_path}/out").stdout.decode() == f"{top_digest(layout)}\n"
    assert (tmp_path / "out" / "version").read_bytes() == b"Directory Transport Version: 1.1\n"
    assert not (tmp_path / "root").exists()


@pytest.mark.sampled(6)
@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("copy", "a"), 2, "Missing argument"),
        (("copy", "docker:a", "b"), 3, "docker://NAME"),
        (("copy", "docker://{}/none:1", "oci:{}"), 4, "none"),
        (("copy", "--platform", "linux/arm64", "--all-platforms", "docker://{}/a", "oci:{}"), 3, "one platform"),
        (("copy", "./nothing", "oci:{}"), 4, "nothing"),
        (("copy", "store:nothing", "oci:{}"), 4, "nothing"),
    ],
)
def test_what_goes_wrong_is_one_sentence(
    shell: Shell, there: Holding, arguments: tuple[str, ...], status: int, words: str
):
    result = shell.run(*(one.format(there.authority) for one in arguments))
    assert result.returncode == status, result.stderr
    assert words in result.stderr.decode()
    assert result.stderr.decode().count("Error: ") == 1
    assert b"Traceback" not in result.stderr


@pytest.mark.sampled(3)
def test_an_archive_of_several_images_is_copied_whole(shell: Shell, there: Holding, tmp_path: Path):
    layout = Layout()
    layout.top(*(layout.image(name, **named(f"docker.io/example/app:{name}")) for name in ("1", "2")))
    (tmp_path / "app.tar").write_bytes(layout.pack())
    result = shell.run("copy", f"{tmp_path}/app.tar", f"docker://{there.authority}/app")
    assert len(result.stdout.decode().splitlines()) == 2
    assert sorted(there.repository("app").tags) == ["1", "2"]
    out = shell.run("copy", f"{tmp_path}/app.tar", f"oci:{tmp_path}/out")
    assert out.returncode == 0
    assert len(json.loads((tmp_path / "out" / "index.json").read_text())["manifests"]) == 2


@pytest.mark.sampled(2)
def test_a_copy_that_was_killed_goes_on(shell: Shell, there: Holding, tmp_path: Path):
    size = int(os.environ.get("ORLOP_LAYER_MIB", "60")) * MIB
    unpacked(large("docker.io/example/app:1", size).files, tmp_path / "in")
    arguments = ("copy", "-q", f"oci:{tmp_path}/in", f"docker://{there.authority}/app")
    there.hold_from(size // 2)
    process = shell.start(*arguments)
    assert there.holds.wait(PATIENCE)
    process.kill()
    process.communicate()
    there.let_go()
    assert shell.run(*arguments).returncode == 0
    assert sum(one.received for one in there.requests) <= again(size)
