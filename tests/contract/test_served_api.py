"""schemathesis asks a server all that `docs/openapi.json` describes, and what it forbids: no failure, and no hang."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.crash.pace import DAY, LONG
from tests.interop.served import serve

if TYPE_CHECKING:
    from collections.abc import Iterator

TOP = Path(__file__).parents[2]
#: For each endpoint and phase.
EXAMPLES = 500 if LONG else 6
#: Seconds in which each request is answered, on a busy machine too; whoever waits for longer has found a hang.
PATIENCE = 60
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,refusals"
SETTINGS = """\
hooks = {hooks!r}
# A registry that cannot be reached is a bad gateway.
checks.not_a_server_error.expected-statuses = ["2XX", "4XX", 501, 502]

# A URL that cannot be fetched is a server error in the words of an engine.
[[operations]]
include-path = "/images/create"
checks.not_a_server_error.expected-statuses = ["2XX", "4XX", 500, 501, 502]

# To PUT is to change a volume, which swarms have.
[[operations]]
include-path = "/volumes/prune"
checks.not_a_server_error.expected-statuses = ["2XX", "4XX", 501, 502, 503]
"""


@pytest.fixture
def host(tmp_path: Path, data: Path) -> Iterator[str]:
    """A server with some images, on TCP; what has no other registry is looked for where nobody listens."""
    rules = tmp_path / "registries.toml"
    rules.write_text('[[registry]]\nprefix = "docker.io"\nlocation = "127.0.0.1:9"\n')
    with serve(tmp_path / "root", tcp=True, env={"ORLOP_REGISTRIES": str(rules)}) as server:
        server.orlop("load", "-q", "-i", data / "dockerd-20.10-overlay2" / "multi.tar")
        yield server.host.replace("tcp://", "http://")
        server.orlop("fsck")


@pytest.mark.sampled(4, daily=False)
@pytest.mark.slow
@pytest.mark.parametrize("version", ["", "/v1.24", "/v1.41"] if LONG else [""])
def test_whatever_is_asked_the_server_answers_as_it_is_described(tmp_path: Path, host: str, version: str) -> None:
    settings = tmp_path / "schemathesis.toml"
    settings.write_text(SETTINGS.format(hooks=str(Path(__file__).with_name("served_hooks.py"))))
    program = Path(sys.executable).with_name("st")
    checks = CHECKS if not version else "not_a_server_error,refusals"
    argv = [program, "--config-file", settings, "run", TOP / "docs" / "openapi.json", "--url", host + version]
    argv += ["--checks", checks, "--max-examples", str(EXAMPLES), "--seed", str(DAY)]
    argv += ["--phases", "coverage,fuzzing", "--request-timeout", str(PATIENCE)]
    argv += ["--generation-database", "none", "--no-shrink", "--continue-on-failure"]
    argv += ["--suppress-health-check", "all", "--warnings", "off", "--no-color"]
    done = subprocess.run(
        [str(part) for part in argv],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=3600 if LONG else 1500,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # Nobody takes a test of nothing for a proof.
    assert "Tested: 32" in done.stdout, done.stdout
