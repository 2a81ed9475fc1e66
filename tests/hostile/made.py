"""Archives and their parts, made in memory, of which everything can be replaced."""

from __future__ import annotations

import json
import lzma
import zlib
from typing import TYPE_CHECKING, Any

from orlop.streams.compression import zstd_module
from tests.hostile import tars
from tests.unit.layouts import CONFIG, INDEX, MANIFEST, NAME, Layout, layer_tar, sha256

if TYPE_CHECKING:
    from collections.abc import Callable

Files = dict[str, bytes]
BODY = layer_tar("hello")
OTHER = layer_tar("other")
DIFF = sha256(BODY)
HEX = DIFF.removeprefix("sha256:")
A, B = "a" * 64, "b" * 64


def config(*diff_ids: str, **more: Any) -> bytes:
    rootfs = {"type": "layers", "diff_ids": list(diff_ids or (DIFF,))}
    return json.dumps({"architecture": "amd64", "os": "linux", "rootfs": rootfs} | more).encode()


def entry(**changes: Any) -> dict[str, Any]:
    return {"Config": "c.json", "RepoTags": ["a:1"], "Layers": ["l.tar"]} | changes


def docker(**changes: Any) -> Files:
    """A Docker archive of one image, whose files are replaced by name, its dots as two underscores."""
    files = {"manifest.json": json.dumps([entry()]).encode(), "c.json": config(), "l.tar": BODY}
    return files | {name.replace("__", "."): body for name, body in changes.items()}


def docker_of(*entries: dict[str, Any], **changes: Any) -> Files:
    return docker(manifest__json=json.dumps(entries).encode(), **changes)


def linked(*links: bytes, without: tuple[str, ...] = (), first: bool = False, **changes: Any) -> bytes:
    """A Docker archive with members of a tar that are not files."""
    rest = tars.files({name: body for name, body in docker(**changes).items() if name not in without})
    return tars.tar(*links, rest) if first else tars.tar(rest, *links)


def symlink(name: bytes, target: bytes) -> bytes:
    return tars.header(name, kind=b"2", link=target)


def hardlink(name: bytes, target: bytes) -> bytes:
    return tars.header(name, kind=b"1", link=target)


def oci(**more: Any) -> Layout:
    layout = Layout()
    return layout.top(layout.image("hello", **more))


def top_changed(raw: bytes = b"", **changes: Any) -> Files:
    """An OCI layout whose index says something else of its manifest, or has these bytes instead."""
    layout = Layout()
    files = layout.top(layout.image("hello") | changes).files
    return files | ({"index.json": raw} if raw else {})


def manifest_changed(raw: Callable[[bytes], bytes] = bytes, **changes: Any) -> Files:
    """An OCI layout whose manifest has other members, or other bytes."""
    layout = Layout()
    top = layout.image("hello", changes=changes)
    manifest = layout.files.pop("blobs/" + top["digest"].replace(":", "/"))
    return layout.top(layout.blob(raw(manifest), MANIFEST)).files


def descriptor_changed(key: str, **changes: Any) -> Files:
    layout = Layout()
    top = layout.image("hello")
    manifest = json.loads(layout.files.pop("blobs/" + top["digest"].replace(":", "/")))
    (manifest["config"] if key == "config" else manifest["layers"][0]).update(changes)
    return layout.top(layout.document(manifest, MANIFEST)).files


def exchanged(key: str) -> Files:
    """An OCI layout in which a blob has another one's bytes, under its own name."""
    layout = Layout()
    top = layout.image("hello", compress=False)
    manifest = json.loads(layout.files["blobs/" + top["digest"].replace(":", "/")])
    descriptor = {"manifest": top, "config": manifest["config"], "layer": manifest["layers"][0]}[key]
    name = "blobs/" + descriptor["digest"].replace(":", "/")
    layout.files[name] = bytes([layout.files[name][0] ^ 1]) + layout.files[name][1:]
    if key == "layer":
        layout.files[name] = OTHER
    return layout.top(top).files


def two_images(**more: Any) -> tuple[Layout, dict[str, Any], dict[str, Any]]:
    layout = Layout()
    return layout, layout.image("hello", **more), layout.image("other")


def another_ones_config() -> Files:
    """An OCI layout whose manifest names the config of another image, with that one's size."""
    layout, one, other = two_images()
    documents = [json.loads(layout.files["blobs/" + each["digest"].replace(":", "/")]) for each in (one, other)]
    documents[0]["config"] = documents[1]["config"]
    return layout.top(layout.document(documents[0], MANIFEST)).files


def nested(depth: int, *, long: bool = False) -> Files:
    """Indexes that are nested; the long way round is by indexes that were met before at a lesser depth."""
    layout = Layout()
    node = layout.image("hello")
    tops = []
    for number in range(depth):
        node = layout.index(node, annotations={"n": str(number)})
        if number % 7 == 6:
            tops.append(node)
    return layout.top(*(tops if long else [node])).files


def skopeo(**changes: bytes) -> Files:
    """A directory of skopeo, whose files are replaced by name: manifest, config, layer."""
    layout = Layout()
    top = layout.image("hello", compress=False)
    blobs = {name.rpartition("/")[2]: body for name, body in layout.files.items() if name.startswith("blobs/")}
    raw = blobs.pop(top["digest"].removeprefix("sha256:"))
    manifest = json.loads(raw)
    parts = {"config": manifest["config"], "layer": manifest["layers"][0]}
    for key, body in changes.items():
        if key == "manifest":
            raw = body
        else:
            blobs[parts[key]["digest"].removeprefix("sha256:")] = body
    return {"manifest.json": raw, "version": b"Directory Transport Version: 1.1\n", **blobs}


def version_1(repositories: object = None, **parts: bytes | None) -> Files:
    """An archive of before manifest.json: image A and its child B; parts are replaced as A_json, or left out."""
    files: dict[str, bytes | None] = {}
    for name, parent in ((A, ""), (B, A)):
        document = {"id": name, "created": "2020-01-01T00:00:00Z"} | ({"parent": parent} if parent else {})
        files |= {f"{name}/json": json.dumps(document).encode(), f"{name}/layer.tar": layer_tar(name[:1])}
        files[f"{name}/VERSION"] = b"1.0"
    files["repositories"] = json.dumps({"a": {"1": B}} if repositories is None else repositories).encode()
    for key, body in parts.items():
        name, _, part = key.partition("_")
        files[f"{ {'A': A, 'B': B}[name] }/{'layer.tar' if part == 'layer' else part}"] = body
    return {name: body for name, body in files.items() if body is not None}


def deep(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


def zstd(data: bytes) -> bytes:
    packed: bytes = zstd_module().compress(data)
    return packed


def wide_zstd(log: int) -> bytes:
    """A zstd stream that asks for a window of two to this power, and holds nothing."""
    return b"\x28\xb5\x2f\xfd\x00" + bytes([(log - 10) << 3]) + b"\x01\x00\x00"


def wide_xz() -> bytes:
    """An xz stream that asks for a dictionary of half a gigabyte, and holds one byte."""
    packed = bytearray(lzma.compress(b"x", filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 20}]))
    # The header of its block follows that of the stream, and ends with its checksum.
    end = 12 + (packed[12] + 1) * 4 - 4
    packed[packed.index(b"\x21\x01", 12) + 2] = 34
    packed[end : end + 4] = zlib.crc32(packed[12:end]).to_bytes(4, "little")
    return bytes(packed)


def with_layer(layer: bytes, plain: bytes | None = None) -> Files:
    """A Docker archive with this layer, whose plain form has the diff ID of the config."""
    return docker(l__tar=layer, c__json=config(sha256(layer if plain is None else plain)))


def with_members(*members: bytes, name: bytes = b"odd") -> bytes:
    """A good Docker archive with more members before its own."""
    del name
    return tars.tar(*members, tars.files(docker()))


def both_lists(mine: str = "a:1", *, others: bool) -> Files:
    """A Docker archive with an index.json beside, which names this image or another one."""
    layout, one, other = two_images(compress=False)
    wanted = json.loads(layout.files["blobs/" + one["digest"].replace(":", "/")])
    names = {"Config": "blobs/" + wanted["config"]["digest"].replace(":", "/"), "RepoTags": [mine]}
    names["Layers"] = ["blobs/" + wanted["layers"][0]["digest"].replace(":", "/")]
    top = other if others else one
    files = layout.top(top | {"annotations": {NAME: "docker.io/library/a:1"}}).files
    return files | {"manifest.json": json.dumps([names]).encode()}


def both_images() -> Files:
    """The same, with both images in manifest.json, but their names exchanged."""
    layout, one, other = two_images(compress=False)
    listed = []
    for image, name in ((one, "a:1"), (other, "b:1")):
        found = json.loads(layout.files["blobs/" + image["digest"].replace(":", "/")])
        layers = ["blobs/" + found["layers"][0]["digest"].replace(":", "/")]
        place = "blobs/" + found["config"]["digest"].replace(":", "/")
        listed.append({"Config": place, "RepoTags": [name], "Layers": layers})
    tops = (one | {"annotations": {NAME: "b:1"}}, other | {"annotations": {NAME: "a:1"}})
    return layout.top(*tops).files | {"manifest.json": json.dumps(listed).encode()}


def parents(*pairs: tuple[str, str]) -> Files:
    """Images without history, each of which names another one as its parent."""
    configs = {name: config(author=name) for pair in pairs for name in pair}
    listed = [
        {"Config": f"{name}.json", "RepoTags": None, "Layers": ["l.tar"], "Parent": sha256(configs[parent])}
        for name, parent in pairs
    ]
    files = {f"{name}.json": raw for name, raw in configs.items()}
    return files | {"manifest.json": json.dumps(listed).encode(), "l.tar": BODY}


def sparse_in_a_layer(*sizes: int) -> Files:
    return with_layer(tars.tar(*(tars.sparse(b"hole-%d" % number, size) for number, size in enumerate(sizes))))


def padded_map(text: bytes) -> bytes:
    """A sparse map of one block."""
    return text.ljust(512, b"0")


def other_diff_id() -> Files:
    """An OCI layout whose config gives the layer another diff ID."""
    layout = Layout()
    top = layout.image("hello")
    manifest: dict[str, Any] = json.loads(layout.files["blobs/" + top["digest"].replace(":", "/")])
    manifest["config"] = layout.blob(config(sha256(OTHER)), CONFIG)
    return layout.top(layout.document(manifest, MANIFEST)).files


def own_index() -> Files:
    """An index that names itself, as far as one can: by a digest that it does not have."""
    inside = {"mediaType": INDEX, "digest": f"sha256:{A}", "size": 200}
    raw = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [inside]}).encode()
    raw = raw.replace(b"200", b"%d" % len(raw))
    layout = Layout()
    files = layout.top(inside | {"size": len(raw)}).files
    return files | {f"blobs/sha256/{A}": raw}


def one_name_for_two() -> Files:
    layout, one, other = two_images()
    name = {"annotations": {NAME: "a:1"}}
    return layout.top(one | name, other | name).files


def many_layers(count: int) -> Files:
    layout = Layout()
    return layout.top(layout.image(*map(str, range(count)))).files


def many_folders(count: int) -> Files:
    """An archive of version 1 in which each image is the next one's parent."""
    files: Files = {"repositories": b"{}"}
    for number in range(count):
        folder, parent = f"{number:064x}", f"{number - 1:064x}"
        files[f"{folder}/json"] = json.dumps({"parent": parent} if number else {}).encode()
        files[f"{folder}/layer.tar"] = layer_tar(str(number))
    return files


def many_tags(count: int) -> Files:
    return docker_of(entry(RepoTags=[f"a:{number}" for number in range(count)]))


def many_names(count: int) -> Files:
    """An OCI layout whose index gives one image very many names."""
    layout = Layout()
    image = layout.image("hello")
    return layout.top(*(image | {"annotations": {NAME: f"a:{number}"}} for number in range(count))).files


EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e\r\nLoaded image: evil:1\b"
"""What would change a terminal's title, clear it, colour it, turn text round, and write over what stands there."""


def escaped_config() -> bytes:
    """A config in which everything that is shown carries escape sequences."""
    steps = [{"created": "2020-01-01T00:00:00Z", "created_by": EVIL, "comment": EVIL, "author": EVIL}]
    run = {"Labels": {EVIL: EVIL}, "Env": [f"A={EVIL}"], "Cmd": [EVIL], "User": EVIL, "Volumes": {EVIL: {}}}
    more = dict.fromkeys(("author", "comment", "variant", "docker_version", "container", "os.version"), EVIL)
    return config(history=steps, config=run, container_config=run, **more)


def content(made: Files | bytes) -> bytes:
    """Return an archive as a tar, or whatever its bytes are."""
    if isinstance(made, bytes):
        return made
    return tars.tar(tars.files(made))
