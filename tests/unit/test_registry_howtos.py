"""The guides about registries, word by word: each command of theirs works, against registries of the tests' own.

The blocks with `$` run in `tests/unit/test_docs.py`. Here run the others, with a registry in place of those they name.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop.testing.registry.fake import FakeRegistry
from orlop.testing.registry.quirks import Quirks
from tests.unit.layouts import CONFIG, LAYER, MANIFEST, Layout, layer_tar, named, sha256
from tests.unit.pushed import reached
from tests.unit.synced import add_image, add_index

if TYPE_CHECKING:
    from collections.abc import Iterator

HOWTO = Path(__file__).parents[2] / "docs" / "howto"
REVISION = {"org.opencontainers.image.revision": "abc123"}


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (HOWTO / page).read_text(), re.DOTALL)


def commands(page: str) -> list[str]:
    """Return the commands of a page that say nothing of what they print, those in sentences and pipelines too."""
    found = [line.partition("   #")[0] for block in blocks(page, "sh") for line in block.splitlines()]
    found += re.findall(r"- (orlop [^\n]*)", "".join(blocks(page, "yaml")))
    found += re.findall(r"`(orlop \w+ docker://[^`…]*)`", (HOWTO / page).read_text())
    return [line.strip() for line in found if line.strip()]


class Shell:
    """A home of somebody who has read a page, and registries in place of those that it names."""

    def __init__(self, home: Path, there: FakeRegistry) -> None:
        self.home = home
        self.there = there

    def text(self, page: str) -> str:
        return page.replace("registry.example.com", self.there.authority)

    def run(self, command: str, given: str = "") -> str:
        found = {
            **{
                name: text for name, text in os.environ.items() if not name.startswith(("XDG_", "DOCKER_", "REGISTRY_"))
            },
            "HOME": str(self.home),
            "ORLOP_ROOT": str(self.home / "store"),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "TOKEN": "secret",
            "CI_AUTH": str(self.home / ".docker"),
            "CI_COMMIT_SHORT_SHA": "abc123",
        }
        done = subprocess.run(
            ["sh", "-c", self.text(command)], cwd=self.home, env=found, input=given, capture_output=True, text=True,
            check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    with FakeRegistry(Quirks(referrers="right"), users={"ci": "secret"}) as there:
        (tmp_path / ".docker").mkdir()
        settings = tmp_path / ".config" / "orlop" / "registries.toml"
        settings.parent.mkdir(parents=True)
        hosts = {"docker.io": "hub", "quay.io": "quay", "mirror.example.com": "mirror"}
        settings.write_text(
            "".join(
                f'[[registry]]\nprefix = "{host}"\nlocation = "{there.authority}/{path}"\nplain-http = true\n'
                for host, path in hosts.items()
            )
        )
        yield Shell(tmp_path, there)


def push(shell: Shell, name: str) -> None:
    """Have an image in the registry, and in the store."""
    with reached() as registries, orlop.open(shell.home / "store") as images:
        full, layout, layer = f"{shell.there.authority}/{name}", Layout(), layer_tar("a")
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Labels": REVISION},
            "rootfs": {"type": "layers", "diff_ids": [sha256(layer)]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": layout.document(config, CONFIG),
            "layers": [layout.blob(layer, LAYER)],
        }
        images.load(io.BytesIO(layout.top(layout.document(manifest, MANIFEST, **named(full))).pack()))
        images.push([full], registries)


@pytest.mark.sampled(3)
def test_a_private_registry(shell: Shell):
    push(shell, "team/app:1.0")
    shell.there.quirks = Quirks(auth="bearer")
    logged_in, *rest = commands("private-registry.md")
    assert logged_in == "orlop login registry.example.com"
    kept = shell.home / ".docker" / "config.json"
    # A terminal would be asked for both.
    shell.run(f"{logged_in} -u ci --password-stdin", "secret")
    assert shell.there.authority in kept.read_text()
    # The last of these takes the login away again, which what follows needs.
    order = sorted(rest, key=lambda one: "logout" in one)
    assert len(order) == 5
    for command in order:
        shell.run(command)
    assert shell.there.authority not in kept.read_text()


def test_certificates_and_settings_of_a_private_registry(shell: Shell):
    (paths,) = blocks("private-registry.md", "text")
    assert {line.rpartition("/")[2] for line in paths.split()} == {"ca.crt", "client.cert", "client.key"}
    (settings,) = blocks("private-registry.md", "toml")
    there = shell.there.authority
    (shell.home / ".config/orlop/registries.toml").write_text(settings.replace("registry.lab.example:5000", there))
    push(shell, "team/app:1.0")
    assert "1.0" in shell.run("orlop tags docker://registry.example.com/team/app")


@pytest.mark.sampled(2)
def test_a_mirror(shell: Shell):
    plan, first, _ = blocks("mirror.md", "toml")
    (shell.home / "mirrors.toml").write_text(plan)
    for minor in ("3.10", "3.12", "3.13"):
        add_index(shell.there, "hub/library/python", f"{minor}-slim", "amd64", "arm64", "s390x", text=minor)
    add_image(shell.there, "quay/prometheus/prometheus", "2.53.0", "prometheus")
    add_image(shell.there, "quay/prometheus/prometheus", "2.54.0-rc1", "candidate")
    look, run = commands("mirror.md")
    assert "would copy" in shell.run(look)
    assert not shell.there.repository("mirror/hub/library/python").tags
    assert "copied" in shell.run(run)
    assert set(shell.there.repository("mirror/hub/library/python").tags) == {"3.12-slim", "3.13-slim"}
    assert set(shell.there.repository("mirror/quay/prometheus/prometheus").tags) == {"2.53.0"}
    # As the page has pulls ask it first, they do.
    settings = shell.home / ".config" / "orlop" / "registries.toml"
    place = f'location = "{shell.there.authority}/mirror/hub"\nplain-http = true'
    settings.write_text(first.replace('location = "mirror.example.com/hub"', place))
    shell.there.requests.clear()
    shell.run("orlop manifest docker://python:3.12-slim")
    assert {one.path.split("/")[2] for one in shell.there.requests if "/manifests/" in one.path} == {"mirror"}


@pytest.mark.sampled(2)
def test_continuous_integration(shell: Shell):
    push(shell, "hub/library/alpine:3.20")
    push(shell, "team/app:1.0")
    push(shell, "team/app:abc123")
    (shell.home / "mirrors.toml").write_text(
        f'[[sync]]\nsource = "docker://{shell.there.authority}/team/app"\ntarget = "oci:layout"\n'
    )
    found = commands("ci.md")
    assert len(found) == 5
    said = {command: shell.run(command) for command in found}
    assert "@sha256:" in next(text for command, text in said.items() if "RepoDigests" in command)
    assert "abc123\n" in said.values()
    assert (shell.home / "mirrors.state").exists()
    assert (shell.home / "layout" / "index.json").exists()
