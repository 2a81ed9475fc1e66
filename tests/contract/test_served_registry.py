"""schemathesis asks a registry all that `docs/registry-openapi.json` describes, and what it forbids."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import urlopen

import pytest

from tests.interop.served import serve
from tests.unit.guarded import RULES, TOKENS, basic, write_access
from tests.unit.hosted import RegistryClient, described, digest_of, index_of
from tests.unit.layouts import MANIFEST

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

TOP = Path(__file__).parents[2]
LONG = bool(os.environ.get("ORLOP_LONG"))
#: For each endpoint and phase.
EXAMPLES = 500 if LONG else 3
#: The same where users differ; what is described is asked without a guard too.
GUARDED = 200 if LONG else 3
#: Seconds in which each request is answered, on a busy machine too; whoever waits for longer has found a hang.
PATIENCE = 60
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "content_is_what_it_is_called",
)
TYPES = [
    f"application/vnd.{kind}+json"
    for kind in (
        "docker.distribution.manifest.list.v2",
        "docker.distribution.manifest.v2",
        "oci.image.index.v1",
        "oci.image.manifest.v1",
    )
]


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[RegistryClient]:
    """A registry; its store is sound at the end, and its collection takes nothing that a tag needs."""
    with serve(tmp_path / "root", "--registry", tcp=True) as server:
        client = RegistryClient(int(server.host.rpartition(":")[2]))
        yield client
        server.orlop("gc")
        assert json.loads(server.orlop("fsck", "-q", "--format", "json"))["State"] == "clean"


def pushed(registry: RegistryClient) -> dict[str, list[str]]:
    """Push an image, an index and an artifact, and return what a repository has by then."""
    manifest = registry.push_image("team/app", "1")
    index = index_of(manifest)
    registry.push_manifest("team/app", index, "all", TYPES[2])
    artifact = registry.push_artifact("team/app", described(manifest, MANIFEST))
    blobs = [one["digest"] for one in (json.loads(manifest)["config"], *json.loads(manifest)["layers"])]
    return {
        "types": TYPES,
        "tags": ["1", "all"],
        "digests": [digest_of(manifest), digest_of(index), digest_of(artifact), *blobs],
        "documents": [one.decode() for one in (manifest, index, artifact)],
    }


def ask_all(folder: Path, url: str, env: Mapping[str, str], *options: str, checks: Sequence[str] = CHECKS) -> None:
    """Have schemathesis ask a registry about everything; all must be as it is described, and as the checks want it."""
    settings = folder / "schemathesis.toml"
    settings.write_text(f"hooks = {str(Path(__file__).with_name('registry_hooks.py'))!r}\n")
    argv = [Path(sys.executable).with_name("st"), "--config-file", settings, "run"]
    argv += [TOP / "docs" / "registry-openapi.json", "--url", url, "--checks", ",".join(checks), *options]
    argv += ["--seed", "1", "--request-timeout", str(PATIENCE), "--generation-database", "none", "--no-shrink"]
    argv += ["--continue-on-failure", "--suppress-health-check", "all", "--warnings", "off", "--no-color"]
    done = subprocess.run(
        [str(part) for part in argv],
        cwd=folder,
        env={**os.environ, "ORLOP_CONTRACT_URL": url, **env},
        capture_output=True,
        text=True,
        timeout=3600 if LONG else 1500,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # Nobody takes a test of nothing for a proof.
    assert "Tested: 21" in done.stdout, done.stdout


@pytest.mark.sampled(3)
@pytest.mark.slow
def test_whatever_is_asked_the_registry_answers_as_it_is_described(tmp_path: Path, registry: RegistryClient) -> None:
    known = pushed(registry)
    url = f"http://{registry.authority}"
    phases = "--phases", "coverage,fuzzing", "--max-examples", str(EXAMPLES)
    ask_all(tmp_path, url, {"ORLOP_CONTRACT_KNOWN": json.dumps(known)}, *phases)
    with urlopen(f"{url}/metrics", timeout=PATIENCE) as answer:
        statuses = set(re.findall(r'status="(\d+)"', answer.read().decode()))
    assert statuses >= {"200", "201", "202", "204", "400", "404"}


@pytest.mark.slow
@pytest.mark.sampled(8, daily=False)
@pytest.mark.parametrize("tokens", [False, True], ids=["passwords", "tokens"])
def test_whoever_asks_may_what_the_rules_say(tmp_path: Path, *, tokens: bool) -> None:
    root, folder = tmp_path / "root", tmp_path / "access"
    with serve(root, "--registry", tcp=True) as server:
        known = pushed(RegistryClient(int(server.host.rpartition(":")[2])))
    folder.mkdir()
    file = write_access(folder, f'audit = "audit"\n{RULES}{TOKENS if tokens else ""}')
    users = {"anna": basic("anna"), "ben": basic("ben"), "stranger": basic("anna", "wrong"), "nobody": None}
    if tokens:
        users["stranger"] = "Bearer e30.e30.AAAA"
    env = {"ORLOP_CONTRACT_KNOWN": json.dumps(known), "ORLOP_CONTRACT_USERS": json.dumps(users)}
    env |= {"ORLOP_CONTRACT_TOKENS": "1"} if tokens else {}
    with serve(root, "--registry", "--registry-access", str(file), tcp=True) as server:
        url = server.host.replace("tcp:", "http:")
        phases = "--phases", "fuzzing", "--max-examples", str(GUARDED)
        ask_all(tmp_path, url, env, *phases, checks=(*CHECKS, "everybody_gets_what_they_may"))
        server.orlop("gc")
        assert json.loads(server.orlop("fsck", "-q", "--format", "json"))["State"] == "clean"
    deeds = [json.loads(line) for line in (folder / "audit").read_text().splitlines()]
    statuses = {(deed.get("user"), deed["status"]) for deed in deeds}
    assert statuses >= {*(("anna", one) for one in (200, 202, 204, 404)), ("ben", 403)}
    assert 401 in {deed["status"] for deed in deeds}
