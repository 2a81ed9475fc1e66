"""Limits: each is felt, says its name and how to raise it, and can be raised."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import re
import tarfile
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop import errors
from orlop.cli.main import run
from orlop.model.limits import NO_LIMITS, SIZES, option_of
from orlop.streams.compression import zstd_module
from tests.unit.layouts import everything, layer_tar, packed, sha256

if TYPE_CHECKING:
    from collections.abc import Callable

LAYER = layer_tar("hello")
DOCS = Path(__file__).parents[2] / "docs" / "limits.md"


def archive(layer: bytes = LAYER, *, plain: bytes = b"", copies: int = 1, extra: int = 0) -> bytes:
    """A Docker archive of one image, with this layer so often, and so many members that nothing names."""
    config = {"rootfs": {"type": "layers", "diff_ids": [sha256(plain or layer)] * copies}, "history": []}
    manifest = [{"Config": "c.json", "RepoTags": ["a:1"], "Layers": ["layer.tar"] * copies}]
    files = {"manifest.json": json.dumps(manifest).encode(), "c.json": json.dumps(config).encode(), "layer.tar": layer}
    return packed(files | {f"extra-{number}": b"" for number in range(extra)})


def tar_with(name: str, *, sparse: bool = False, comments: int = 0) -> bytes:
    """A tar with one member of a name of any length."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo(name)
        if sparse:
            pieces = {"numblocks": "2", "map": "0,1,5,1", "size": "6"}
            member.pax_headers = {f"GNU.sparse.{key}": value for key, value in pieces.items()}
            member.size = 2
        tar.addfile(member, io.BytesIO(b"ab"))
    return commented() * comments + out.getvalue()


def commented() -> bytes:
    """An extended header that says nothing of importance."""
    member = tarfile.TarInfo("x")
    member.pax_headers = {"comment": "more"}
    return member.tobuf(tarfile.PAX_FORMAT)[:1024]


def zeros(size: int) -> bytes:
    return bytes(size)


def zstd(data: bytes, window: int = 20) -> bytes:
    module = zstd_module()
    compressor = module.ZstdCompressor(options={module.CompressionParameter.window_log: window})
    # In pieces, so that the window is not cut to the size of the content.
    packed: bytes = compressor.compress(data) + compressor.flush()
    return packed


def archive_with_a_sparse_member() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo("unused")
        pieces = {"numblocks": "2", "map": "0,1,5,1", "size": "6"}
        member.pax_headers = {f"GNU.sparse.{key}": value for key, value in pieces.items()}
        member.size = 2
        tar.addfile(member, io.BytesIO(b"ab"))
    return out.getvalue()[:2048] + archive()


# For each limit an archive, a value that it exceeds, and one that lets it through.
CASES: dict[str, tuple[Callable[[], bytes], int, int]] = {
    "members": (lambda: archive(extra=8), 10, 11),
    "name_length": (lambda: archive(tar_with("n" * 300)), 299, 300),
    "path_depth": (lambda: archive(tar_with("a/" * 200 + "a")), 199, 200),
    "extension_size": (lambda: archive(tar_with("n" * 1000)), 1000, 1013),
    "extensions": (lambda: archive(tar_with("n", comments=4)), 3, 4),
    "sparse_pieces": (archive_with_a_sparse_member, 1, 2),
    "layer_entries": (lambda: archive(layer_tar("a", "b", "c")), 2, 3),
    "layers": (lambda: archive(copies=3), 2, 3),
    "config_size": (lambda: archive(copies=3), 200, 400),
    "manifest_size": (lambda: archive(copies=30), 100, 600),
    "documents_size": (archive, 150, 400),
    "json_values": (lambda: archive(copies=30), 30, 50),
    "json_values_total": (archive, 10, 20),
    "window_size": (lambda: archive(zstd(LAYER * 200, 20), plain=LAYER * 200), 1 << 19, 1 << 20),
    "trailing_size": (lambda: archive(LAYER + zeros(1 << 20)), 1 << 20, (1 << 20) + 20_000),
    "plain_size": (lambda: archive(LAYER * 2), len(LAYER) * 2 - 1, len(LAYER) * 2),
    "ratio": (lambda: archive(gzip.compress(zeros(1 << 20)), plain=zeros(1 << 20)), 100, 1100),
    "ratio_floor": (lambda: archive(gzip.compress(zeros(1 << 20)), plain=zeros(1 << 20)), (1 << 20) - 1, 1 << 20),
}
# What else is set, so that the limit is felt at all.
WITH: dict[str, dict[str, int]] = {"ratio": {"ratio_floor": 1000}, "ratio_floor": {"ratio": 2}}
# What comes through a pipe passes other ways; there these sizes and counts are other ones.
IN_A_PIPE = {"documents_size": (150, 11_000)}


def verify(source: io.BytesIO | Path, limits: orlop.Limits) -> None:
    with orlop.Archive(source, limits=limits) as opened:
        opened.verify()


def test_every_limit_is_tried_here() -> None:
    assert list(CASES) == [field.name for field in fields(orlop.Limits)]


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("way", ["file", "pipe", "reader", "reader of a pipe"])
def test_a_limit_is_felt_and_can_be_raised(tmp_path: Path, name: str, way: str) -> None:
    make, too_few, enough = CASES[name]
    if "pipe" in way:
        too_few, enough = IN_A_PIPE.get(name, (too_few, enough))
    content = make()
    path = tmp_path / "archive.tar"
    path.write_bytes(content)

    def read(limits: orlop.Limits) -> None:
        source = io.BytesIO(content) if "pipe" in way else path
        if "reader" in way:
            verify(source, limits)
            return
        with orlop.open(tmp_path / "root") as images:
            images.images()
            before = everything(tmp_path / "root")
            try:
                images.load(source, limits=limits)
            except errors.OrlopError:
                assert everything(tmp_path / "root") == before
                raise

    others = orlop.Limits(**WITH.get(name, {}))
    with pytest.raises(errors.LimitExceeded) as caught:
        read(replace(others, **{name: too_few}))
    felt = "ratio" if name == "ratio_floor" else name
    assert f"the limit {option_of(felt)} is " in str(caught.value)
    assert f"--limit {option_of(felt)}=NUMBER" in str(caught.value)
    read(replace(others, **{name: enough}))
    read(NO_LIMITS)


def test_a_store_has_limits_that_a_call_may_replace(tmp_path: Path) -> None:
    strict = orlop.Limits(members=2)
    with orlop.open(tmp_path / "root", limits=strict) as images:
        with pytest.raises(errors.LimitExceeded, match="members"):
            images.load(io.BytesIO(archive()))
        images.load(io.BytesIO(archive()), limits=orlop.Limits())
        with pytest.raises(errors.LimitExceeded, match="layer-entries"):
            images.import_image(io.BytesIO(layer_tar("a", "b")), limits=orlop.Limits(layer_entries=1))


def test_an_image_beyond_dockers_number_of_layers_can_be_kept(tmp_path: Path) -> None:
    with orlop.open(tmp_path / "root", limits=orlop.Limits(layers=200)) as images:
        images.load(io.BytesIO(archive(copies=150)))
        assert len(images.inspect("a:1").image.rootfs.diff_ids) == 150
        out = io.BytesIO()
        images.save(["a:1"], out)
    with orlop.open(tmp_path / "other") as images, pytest.raises(errors.LimitExceeded, match="150 layers or more"):
        images.load(io.BytesIO(out.getvalue()))


def test_a_layer_that_was_let_in_is_read_without_limits(tmp_path: Path) -> None:
    wide = zstd(LAYER * 200, 28)
    long = tar_with("n" * (3 << 20))
    limits = orlop.Limits(window_size=1 << 28, extension_size=4 << 20, name_length=4 << 20)
    with orlop.open(tmp_path / "root", limits=limits) as images:
        below = images.layer_store.register(io.BytesIO(wide))
        above = images.layer_store.register(io.BytesIO(long), below.chain_id)
        with orlop.open(tmp_path / "root") as others:
            with pytest.raises(errors.LimitExceeded):
                others.layer_store.register(io.BytesIO(wide))
            assert b"".join(others.layer_store.tar_chunks(below.diff_id)) == LAYER * 200
            merged = b"".join(others.layer_store.tar_chunks_from(above.chain_id, None))
    with tarfile.open(fileobj=io.BytesIO(merged)) as tar:
        assert [len(name) for name in tar.getnames()] == [5, 3 << 20]


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    "compress", [bz2.compress, lzma.compress, zstd, gzip.compress], ids=["bzip2", "xz", "zstd", "gzip"]
)
@pytest.mark.parametrize("nested", [False, True])
def test_a_bomb_is_judged_by_all_that_comes_out_of_it(tmp_path: Path, *, compress, nested: bool) -> None:
    plain = zeros(8 << 20)
    content = archive(compress(plain), plain=plain)
    if nested:
        content = compress(content)
    limits = orlop.Limits(ratio_floor=4 << 20, ratio=300)
    for source in (io.BytesIO(content), tmp_path / "bomb.tar"):
        if isinstance(source, Path):
            source.write_bytes(content)
        with pytest.raises(errors.LimitExceeded, match="times as many, but the limit ratio is 300"):
            verify(source, limits)


def test_many_small_bombs_are_judged_as_one() -> None:
    plains = [zeros((1 << 20) + 512 * number) for number in range(8)]
    config = {"rootfs": {"type": "layers", "diff_ids": list(map(sha256, plains))}}
    layers = [f"{number}.tar" for number in range(8)]
    files = {"c.json": json.dumps(config).encode()} | {
        name: gzip.compress(plain) for name, plain in zip(layers, plains, strict=True)
    }
    files["manifest.json"] = json.dumps([{"Config": "c.json", "RepoTags": None, "Layers": layers}]).encode()
    verify(io.BytesIO(packed(files)), orlop.Limits(ratio_floor=4 << 20, ratio=1200))
    with pytest.raises(errors.LimitExceeded, match="ratio"):
        verify(io.BytesIO(packed(files)), orlop.Limits(ratio_floor=4 << 20, ratio=200))


def test_limits_are_no_negative_numbers() -> None:
    with pytest.raises(ValueError, match="members is negative"):
        orlop.Limits(members=-1)


@pytest.fixture
def said(capfdbinary: pytest.CaptureFixture[bytes]) -> Callable[..., tuple[int, str, str]]:
    """Run a command line, and return its status and what it printed."""

    def call(*arguments: str) -> tuple[int, str, str]:
        status = run(arguments)
        out, err = capfdbinary.readouterr()
        return status, out.decode(), err.decode()

    return call


@pytest.fixture
def saved(tmp_path: Path) -> str:
    path = tmp_path / "archive.tar"
    path.write_bytes(archive())
    return str(path)


def test_the_command_line_sets_limits_for_everything_that_reads_an_archive(tmp_path, saved, said) -> None:
    root = ["--root", str(tmp_path / "root")]
    layer = tmp_path / "layer.tar"
    layer.write_bytes(layer_tar("a", "b"))
    for words in (
        ["load", "-i", saved, "--limit", "members=2"],
        ["image", "load", "-i", saved, "--limit", "config-size=1k", "--limit", "members=2"],
        ["images", "--archive", saved, "--limit", "members=2"],
        ["inspect", "--archive", saved, "--limit", "members=2"],
        ["inspect", "--raw", "--archive", saved, "--limit", "members=2"],
        ["history", "--archive", saved, "--limit", "members=2"],
        ["import", str(layer), "--limit", "layer-entries=1"],
    ):
        status, out, err = said(*root, *words)
        assert (status, out) == (3, ""), words
        assert re.fullmatch(r"Error: .*but the limit (members is 2|layer-entries is 1); .*\n", err), words
    assert said(*root, "load", "-i", saved, "--limit", "members=none", "--limit", "config-size=1MiB")[0] == 0


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("members", "'members' sets none of the limits members, name-length,"),
        ("member=1", "sets none of the limits"),
        ("members=", "'' is not a value for members: give a number, or none"),
        ("members=1k", "'1k' is not a value"),
        ("members=-1", "'-1' is not a value"),
        ("members=1_0", "not a value"),
        ("config-size=x", "give a number of bytes, such as 64m, or none"),
        ("config-size=1e3", "not a value"),
    ],
)
def test_what_is_no_limit_is_an_error_of_usage(said, saved: str, value: str, words: str) -> None:
    status, _, err = said("images", "--archive", saved, "--limit", value)
    assert status == 2
    assert words in err


def test_the_page_of_limits_names_all_of_them_with_their_defaults(said) -> None:
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| (\d+[kmgt]?) \|", DOCS.read_text(), re.MULTILINE))
    units = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
    found = {}
    for option, text in rows.items():
        name = option.replace("-", "_")
        number = int(text) if text.isdigit() else int(text[:-1]) * units[text[-1]]
        assert text.isdigit() == (name not in SIZES), option
        found[name] = number
    assert found == {field.name: getattr(orlop.Limits(), field.name) for field in fields(orlop.Limits)}
    shown = re.sub(r"-\n +", "-", said("load", "--help")[1])
    for option, text in rows.items():
        assert f"{option}={text}" in re.sub(r"\s+", " ", shown), option


FEW = orlop.Limits(trailing_size=1 << 20)


class Endless(io.BytesIO):
    """A stream that begins with something and then has zeros for ever, as a device of zeros does."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(size) or bytes(1 << 20 if size is None or size < 0 else size)


@pytest.mark.parametrize("begun", [b"", LAYER, gzip.compress(LAYER)], ids=["nothing", "a tar", "a compressed tar"])
def test_the_import_of_zeros_without_an_end_ends(tmp_path: Path, begun: bytes) -> None:
    with orlop.open(tmp_path / "root") as images:
        images.images()
        before = everything(tmp_path / "root")
        with pytest.raises(errors.LimitExceeded, match="trailing-size"):
            images.import_image(Endless(begun), limits=FEW)
        assert everything(tmp_path / "root") == before


@pytest.mark.parametrize("read", [orlop.ImageService.load, None])
def test_an_archive_that_zeros_follow_without_an_end_is_refused(
    tmp_path: Path, read: Callable[..., object] | None
) -> None:
    with orlop.open(tmp_path / "root") as images:
        for begun in (archive(), gzip.compress(archive())):
            with pytest.raises(errors.LimitExceeded, match="trailing-size"):
                read(images, Endless(begun), limits=FEW) if read else verify(Endless(begun), FEW)
        assert images.images() == []
