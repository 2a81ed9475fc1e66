"""Whether what was measured did the same work: the layers that each program saved, and the image ID that each gives."""

from __future__ import annotations

import hashlib
import json
import subprocess
import tarfile
from typing import TYPE_CHECKING

from measure import MIB, ORLOP
from subjects import engine_command, podman_command

if TYPE_CHECKING:
    from pathlib import Path


def layers(archive: Path) -> set[str]:
    """Return the digests of an archive's large members."""
    found = set()
    with tarfile.open(archive) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.size > MIB else None
            if file is not None:
                digest = hashlib.sha256()
                while data := file.read(MIB):
                    digest.update(data)
                found.add(digest.hexdigest())
    return found


def check_layers(made: dict[str, Path], work: Path) -> list[str]:
    """See that every archive that was saved holds the layers that were loaded; return the names of these archives.

    Raises SystemExit where one holds others.
    """
    root, plain = layers(made["root"]), {hashlib.sha256(made["layer.tar"].read_bytes()).hexdigest()}
    wanted = {f"{name}.tar": root for name in ("orlop-root", "skopeo", "podman", "engine")}
    # A docker archive carries plain layers, in whatever form they came.
    wanted |= {"orlop-gzip.tar": plain, "orlop-zstd.tar": plain, "orlop-large.tar": layers(made["large"])}
    checked = [name for name in wanted if (work / name).exists()]
    for name in checked:
        if layers(work / name) != wanted[name]:
            raise SystemExit(f"{name} holds other layers than were loaded")
    return checked


def image_ids(work: Path, *, with_engine: bool) -> dict[str, str]:
    """Ask every program that loaded the image for its ID, and orlop for that of what each saved.

    Raises SystemExit where two differ.
    """
    asked = {"orlop": [*ORLOP, "--root", str(work / "root"), "images", "-q", "--no-trunc", "bench/root:1"]}
    if (work / "podman").exists():
        asked["podman"] = [*podman_command(work), "images", "-q", "--no-trunc", "bench/root:1"]
    if with_engine:
        asked["Docker Engine"] = [*engine_command(work), "images", "-q", "--no-trunc", "bench/root:1"]
    found = {name: _printed(command) for name, command in asked.items()}
    if (work / "dir").exists():
        manifest = json.loads((work / "dir" / "manifest.json").read_bytes())
        found["skopeo"] = manifest["config"]["digest"]
    for name in ("orlop-root", "skopeo", "podman", "engine"):
        if (work / f"{name}.tar").exists():
            store = str(work / f"again-{name}")
            _printed([*ORLOP, "--root", store, "load", "-q", "-i", str(work / f"{name}.tar")])
            found[f"{name}.tar"] = _printed([*ORLOP, "--root", store, "images", "-q", "--no-trunc"])
    if len(set(found.values())) != 1:
        raise SystemExit(f"not all give the same image ID: {found}")
    return found


def _printed(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
