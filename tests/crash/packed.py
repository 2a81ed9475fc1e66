"""Small images as archives, for those who load many at once; and whether an archive that was saved is whole."""

from __future__ import annotations

import hashlib
import io
import json
import random
import tarfile
from pathlib import PurePosixPath


def layer(number: int, size: int = 100_000) -> bytes:
    """Make the tar of a layer with one file that does not compress."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        member = tarfile.TarInfo(f"file{number}")
        member.size = size
        tar.addfile(member, io.BytesIO(random.Random(number).randbytes(size)))
    return out.getvalue()


def packed(name: str, layers: list[bytes]) -> bytes:
    """Make an archive of an image, as docker saves it."""
    diff_ids = ["sha256:" + hashlib.sha256(content).hexdigest() for content in layers]
    config = json.dumps(
        {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}, "author": name}
    ).encode()
    names = [f"{number}/layer.tar" for number in range(len(layers))]
    manifest = json.dumps([{"Config": "config.json", "RepoTags": [name], "Layers": names}]).encode()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        files = [("config.json", config), *zip(names, layers, strict=True), ("manifest.json", manifest)]
        for file_name, content in files:
            member = tarfile.TarInfo(file_name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def whole(body: bytes) -> bool:
    """Return whether an archive has all the layers that its configs name."""
    with tarfile.open(fileobj=io.BytesIO(body)) as tar:
        files = {member.name: tar.extractfile(member) for member in tar if member.isfile()}
        content = {name: file.read() for name, file in files.items() if file is not None}
        links = {member.name: member.linkname for member in tar if member.issym()}
    for entry in json.loads(content["manifest.json"]):
        config = json.loads(content[entry["Config"]])
        found = []
        for name in entry["Layers"]:
            target = str(PurePosixPath(links[name].removeprefix("../"))) if name in links else name
            found.append("sha256:" + hashlib.sha256(content[target]).hexdigest())
        if found != config["rootfs"]["diff_ids"]:
            return False
    return bool(content)
