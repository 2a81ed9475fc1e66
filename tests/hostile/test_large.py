"""Bombs, floods and endless streams: refused within bounds of time and memory, and the store as before.

Each is made while it is read, by a process of its own, whose memory is what the system says that it was. Some limits
are lower than usual, so that less needs to be read; `ORLOP_LONG=1` takes the usual ones, and floods that are as long.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import tracemalloc
import zlib
from typing import TYPE_CHECKING

import pytest

import orlop
from tests.crash.pace import LONG
from tests.hostile import tars
from tests.hostile.made import config, content, docker, entry, linked, symlink, zstd
from tests.hostile.measured import measured
from tests.invariants import broken
from tests.unit.layouts import INDEX, NAME, Layout, everything, layer_tar, sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

BOUND = 256 * (1 << 20)
MIB = 1 << 20
TIMES = 4 if LONG else 1
#: The limits that are lower.
LOWER = (
    () if LONG else ("--limit", "members=50000", "--limit", "documents-size=32m", "--limit", "json-values-total=100000")
)


@pytest.fixture(scope="module")
def root(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with an image in it."""
    root = tmp_path_factory.mktemp("large") / "root"
    with orlop.open(root) as images:
        images.load(data / "dockerd-29-overlay2" / "tiny.tar")
    return root


def packed(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Compress a stream with gzip, as it goes."""
    compressor = zlib.compressobj(1, wbits=31)
    for part in parts:
        yield compressor.compress(part)
    yield compressor.flush()


def zeros(compress: Callable[[bytes], bytes], mebibytes: int) -> bytes:
    """Very many zeros, as a chain of streams that hold sixteen megabytes each."""
    return compress(bytes(16 * MIB)) * (mebibytes // 16)


_HEAD, _TAIL = tars.header(b"")[:148], tars.header(b"")[156:]
_SUM = sum(_HEAD) + sum(_TAIL) + sum(b" " * 8)


def members(count: int) -> Iterator[bytes]:
    """Empty members, each of another name."""
    for start in range(0, count, 1000):
        block = bytearray()
        for number in range(start, min(start + 1000, count)):
            name = b"%07d" % number
            block += name + _HEAD[7:] + b"%06o\0 " % (_SUM + sum(name)) + _TAIL
        yield bytes(block)


def with_layer(layer: bytes) -> bytes:
    return content(docker(l__tar=layer, c__json=config(sha256(b"it is read before it is wrong"))))


def names(count: int) -> Iterator[bytes]:
    """Members of names that are as long as names can be."""
    for number in range(count):
        yield tars.pax({b"path": b"%07d" % number + b"n" * 4000}) + tars.member(b"x")


FLOODS: dict[str, tuple[Callable[[], Iterable[bytes]], str]] = {
    "a million empty members": (lambda: members(1_000_000), "members"),
    "names of four thousand bytes": (lambda: packed(names(TIMES * 10_000)), "documents-size"),
    "ten thousand extended headers": (lambda: tars.repeated(tars.pax({b"comment": b"x"}), 10_000), "extensions"),
    "ten thousand global headers": (lambda: tars.repeated(tars.pax({b"comment": b"x"}, b"g"), 10_000), "extensions"),
    "ten thousand long names": (lambda: tars.repeated(tars.long_name(b"n" * 2000), 10_000), "extensions"),
    "documents without end": (
        lambda: (tars.member(b"%d" % number, b"[" + b" " * MIB + b"]") for number in range(1_000_000)),
        "documents-size",
    ),
    "an archive of zeros in zstd": (
        lambda: [zstd(tars.header(b"zeros", TIMES * 1024 * MIB)), zeros(zstd, TIMES * 1024)],
        "ratio",
    ),
    "zeros in gzip in gzip": (lambda: packed([with_layer(zeros(gzip.compress, TIMES * 512))]), "ratio"),
    "a layer of zeros in zstd": (lambda: [with_layer(zeros(zstd, TIMES * 512))], "ratio"),
    "a layer of zeros in zstd in gzip": (lambda: packed([with_layer(zeros(zstd, TIMES * 512))]), "ratio"),
    "a layer of zeros in xz": (lambda: [with_layer(zeros(lzma.compress, TIMES * 512))], "ratio"),
    "a layer of zeros in bzip2": (lambda: [with_layer(zeros(bz2.compress, TIMES * 512))], "ratio"),
}
# What would take long to come even to the quarter of a gigabyte from which on the ratio is judged here.
SLOW = {"a layer of zeros in xz", "a layer of zeros in bzip2"}


@pytest.mark.sampled(12)
@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_is_refused_within_bounds(root: Path, name: str) -> None:
    make, limit = FLOODS[name]
    before = everything(root)
    floor = "64m" if name in SLOW else f"{TIMES * 256}m"
    done = measured("--root", root, "load", *LOWER, "--limit", f"ratio-floor={floor}", feed=make())
    assert (done.status, done.out, done.err.count("\n")) == (3, "", 1), done
    assert f"but the limit {limit} is " in done.err
    assert done.peak < BOUND
    assert everything(root) == before
    assert broken(root) == []


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", ["members", "members, compressed", "zeros"])
def test_a_flood_in_a_file_is_refused_within_bounds(root: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / "flood.tar"
    with path.open("wb") as file:
        if name == "zeros":
            file.write(with_layer(zeros(zstd, TIMES * 512)))
        else:
            file.writelines(packed(members(30_000)) if "compressed" in name else members(30_000))
    limit = "ratio" if name == "zeros" else "members"
    for words in (["--root", str(root), "load", "-i"], ["images", "--archive"]):
        done = measured(*words, path, "--limit", "members=20000", "--limit", f"ratio-floor={TIMES * 256}m")
        assert (done.status, done.out, done.err.count("\n")) == (3, "", 1), done
        assert f"but the limit {limit} is " in done.err
        assert done.peak < BOUND


def documents(values: int) -> dict[str, bytes]:
    """Parts of JSON that take much more memory than they have bytes, with so many values."""
    return {
        "objects": b"[" + b"{}," * (values // 2 - 2) + b"{}]",
        "arrays": b"[" + b"[]," * (values // 2 - 2) + b"[]]",
        "pairs": b"[" + b'{"a":1},' * (values // 3) + b"{}]",
        "numbers": b"[" + b"1," * (values - 3) + b"1]",
        "keys": b"{" + b",".join(b'"%d":%d' % (number, number) for number in range(values - 3)) + b"}",
    }


@pytest.mark.sampled(6)
@pytest.mark.parametrize("kind", [*documents(100), "a config", "a large config"])
def test_json_just_within_the_limits_stays_within_bounds_of_memory(root: Path, kind: str) -> None:
    if kind == "a config":
        more = b',"history":' + documents(390_000)["objects"] + b"}"
        files = docker(c__json=config(sha256(b""))[:-1] + more)
    elif kind == "a large config":
        more = b',"config":{"Labels":{' + b",".join(b'"%d":""' % number for number in range(330_000)) + b"}}}"
        files = docker(c__json=config(sha256(b""))[:-1] + more)
    else:
        files = docker(manifest__json=documents(390_000)[kind])
    done = measured("--root", root, "load", feed=[content(files)])
    assert (done.status in {3, 6}, done.err.count("\n")) == (True, 1), done
    assert "limit" not in done.err
    assert done.peak < BOUND, done


def pointing(tops: int, leaves: int) -> dict[str, bytes]:
    """An index that names an index of many images, under so many names: their product is what a reader follows."""
    layout = Layout()
    config_of = layout.document({"rootfs": {"type": "layers"}}, "application/vnd.oci.image.config.v1+json")
    manifest = {"schemaVersion": 2, "config": config_of, "layers": []}
    kind = "application/vnd.oci.image.manifest.v1+json"
    below = [layout.document(manifest | {"annotations": {"n": str(number)}}, kind) for number in range(leaves)]
    inner = layout.index(*below)
    return layout.top(*(inner | {"annotations": {NAME: f"a:{number}"}} for number in range(tops))).files


def owning(indexes: int, leaves: int) -> dict[str, bytes]:
    """Very many indexes that each name one index of many images."""
    layout = Layout()
    files = pointing(1, leaves)
    inner = json.loads(files["index.json"])["manifests"][0] | {"annotations": {}}
    layout.files |= files
    around = [
        layout.document({"schemaVersion": 2, "manifests": [inner], "annotations": {"n": str(number)}}, INDEX)
        for number in range(indexes)
    ]
    return layout.top(*around).files


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    "make",
    [
        lambda: pointing(1000, 1000) if LONG else pointing(300, 400),
        lambda: owning(3000, 1000) if LONG else owning(300, 400),
    ],
    ids=["names", "indexes"],
)
def test_documents_that_refer_to_one_another_very_often_are_refused(root: Path, make) -> None:
    before = everything(root)
    done = measured("--root", root, "load", *LOWER, feed=[content(make())])
    assert (done.status, done.err.count("\n")) == (3, 1), done
    assert "values and references, but the limit json-values-total" in done.err
    assert done.peak < BOUND
    assert everything(root) == before


@pytest.mark.slow
@pytest.mark.sampled(3)
def test_many_names_are_loaded_within_bounds(tmp_path: Path) -> None:
    files = docker(manifest__json=json.dumps([entry(RepoTags=[f"a:{number}" for number in range(100_000)])]).encode())
    done = measured("--root", tmp_path / "root", "load", feed=[content(files)])
    assert (done.status, done.out.count("\n")) == (0, 100_000), done.err
    assert done.peak < BOUND


@pytest.mark.sampled(4)
def test_a_layer_of_more_members_than_an_archive_may_have_is_loaded_within_bounds(tmp_path: Path) -> None:
    feed = packed(members(4 * 275_000 if LONG else 275_000))
    done = measured("--root", tmp_path / "root", "import", "-", "a:1", feed=feed)
    assert done.status == 0, done.err
    assert done.peak < BOUND // (1 if LONG else 2)
    done = measured("--root", tmp_path / "root", "import", "--limit", "layer-entries=1000", "-", feed=members(5000))
    assert done.status == 3
    assert "but the limit layer-entries is 1000" in done.err


@pytest.mark.sampled(4)
def test_very_many_layers_need_few_descriptors(tmp_path: Path) -> None:
    files: dict[str, bytes] = {}
    listed = []
    for image in range(4):
        layers = {f"{image}-{number}.tar": layer_tar(f"{image}-{number}")[:1536] for number in range(100)}
        files |= layers | {f"{image}.json": config(*map(sha256, layers.values()))}
        listed.append({"Config": f"{image}.json", "RepoTags": [f"a:{image}"], "Layers": list(layers)})
    files["manifest.json"] = json.dumps(listed).encode()
    done = measured("--root", tmp_path / "pipe", "load", feed=[content(files)], files=128)
    assert (done.status, done.err) == (0, "")
    (tmp_path / "archive.tar").write_bytes(content(files))
    done = measured("--root", tmp_path / "file", "load", "-i", tmp_path / "archive.tar", files=128)
    assert (done.status, done.err) == (0, "")
    assert broken(tmp_path / "pipe") == broken(tmp_path / "file") == []


@pytest.mark.sampled(3)
def test_what_links_leave_on_their_way_is_not_kept(tmp_path: Path) -> None:
    """A link of 4 KiB may leave hundreds of folders again."""
    text = b"/" + b"ab/../" * 680 + b"c.json"
    members = []
    for number in range(200):
        name = tars.header(b"././@LongLink", size=len(text) + 1, kind=b"K") + text.ljust(
            -(-len(text) // 512) * 512, b"\0"
        )
        members.append(name + symlink(b"s%d" % number, b"x"))
    (tmp_path / "links.tar").write_bytes(linked(*members))
    tracemalloc.start()
    try:
        with orlop.Archive(tmp_path / "links.tar"):
            _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * 200 * len(text)
