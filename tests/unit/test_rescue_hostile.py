"""Roots that are made to keep a rescue busy for ever, to crash it, or to be written to."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import signal
import tarfile
from typing import TYPE_CHECKING, Final

import pytest

from orlop.cli.main import run
from orlop.errors import InvalidInput, RootDamaged
from orlop.foreign import rebuilt
from orlop.foreign.disk import Folder
from orlop.foreign.rebuilt import UnpackedLayer
from orlop.model.limits import DEFAULT_LIMITS, Limits
from orlop.service.rescue import look, rescue_archive
from orlop.streams.meter import Meter
from tests.foreign_roots import make_root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DIFF_ID: Final = f"sha256:{1:064x}"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    found = tmp_path / "disk"
    make_root(found, 1, {"a": b"content"})
    return found


@pytest.fixture(autouse=True)
def patience() -> Iterator[None]:
    """Nothing here needs a minute of a processor."""

    def give_up(*_: object) -> None:
        pytest.fail("it does not come to an end")

    before = signal.signal(signal.SIGPROF, give_up)
    signal.setitimer(signal.ITIMER_PROF, 60)
    yield
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.signal(signal.SIGPROF, before)


def claim(root: Path, size: int) -> Path:
    """Make the only layer one large file, and return where that is to lie."""
    member = tarfile.TarInfo("large")
    member.size = size
    entry = next((root / "image/overlay2/layerdb/sha256").iterdir())
    parts: list[dict[str, object]] = [
        {"type": 2, "payload": base64.b64encode(member.tobuf(tarfile.GNU_FORMAT)).decode()},
        {"type": 1, "name": "large", "size": size, "payload": base64.b64encode(b"12345678").decode()},
        {"type": 2, "payload": base64.b64encode(bytes(1024)).decode()},
    ]
    with gzip.open(entry / "tar-split.json.gz", "wb") as split:
        split.writelines(json.dumps(part).encode() + b"\n" for part in parts)
    return next((root / "overlay2").iterdir()) / "diff" / "large"


def podman(root: Path, layers: str, images: list[dict[str, object]]) -> None:
    """Make a root of podman with one image, and others that its list names."""
    config = json.dumps(
        {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [DIFF_ID]}}
    ).encode()
    found = hashlib.sha256(config).hexdigest()
    folder = root / "overlay-images" / found
    folder.mkdir(parents=True)
    (folder / ("=" + base64.b64encode(f"sha256:{found}".encode()).decode())).write_bytes(config)
    (root / "overlay-images" / "images.json").write_text(json.dumps([{"id": found, "names": ["a/b:1"]}, *images]))
    (root / "overlay-layers").mkdir()
    (root / "overlay-layers" / "layers.json").write_text(layers)


@pytest.mark.parametrize("size", [1 << 39, 1 << 43, 1 << 60])
def test_a_content_that_is_not_there_may_claim_any_size(root: Path, size: int) -> None:
    claim(root, size)
    (image,) = look(root, verify=True).images
    assert image.state == "damaged"


def test_a_hole_of_any_size_ends_at_a_limit_that_is_named(root: Path) -> None:
    path = claim(root, 1 << 43)
    path.touch()
    os.truncate(path, 1 << 43)
    (image,) = look(root, verify=True).images
    assert "plain-size" in image.problems[0]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of all files whose CRC was computed; the work is counted where it is done."""
    found: list[int] = []

    def counted(opened: tuple[int, int], check: Callable[[], object]) -> bytes:
        found.append(opened[1])
        return real(opened, check)

    real = rebuilt._crc
    monkeypatch.setattr(rebuilt, "_crc", counted)
    return found


def test_a_file_is_read_once_however_many_contents_are_sought(tmp_path: Path, reads: list[int]) -> None:
    work = []
    for count in (50, 100):
        root = tmp_path / f"disk-{count}"
        make_root(root, 1, {f"f{number}": b"%08d" % number for number in range(count)})
        for path in next((root / "overlay2").iterdir()).glob("diff/f*"):
            path.write_bytes(b"%08x" % (int(path.name[1:]) + 0x20000000))
        reads.clear()
        assert look(root, verify=True).damaged
        work.append(len(reads))
    assert work[1] < 2.5 * work[0]


def test_contents_are_looked_for_in_as_many_bytes_as_a_layer_may_have(tmp_path: Path, reads: list[int]) -> None:
    make_root(tmp_path, 1, {"lost": bytes(4095) + b"1"})
    next(tmp_path.glob("overlay2/*/diff/lost")).unlink()
    # Holes take no room, however many there are.
    for number in range(100):
        (tmp_path / f"hole-{number}").touch()
        os.truncate(tmp_path / f"hole-{number}", 4096)
    (image,) = look(tmp_path, verify=True, limits=Limits(plain_size=10 * 4096)).images
    assert "diff/lost is missing" in image.problems[0]
    assert reads.count(4096) == 10
    (tmp_path / "hole-99").write_bytes(bytes(4095) + b"1")
    assert look(tmp_path, verify=True).images[0].state == "whole"


def test_a_link_is_read_once_however_many_contents_its_target_had(tmp_path: Path, reads: list[int]) -> None:
    work = []
    for count in (50, 100):
        root = tmp_path / f"disk-{count}"
        (root / "layer").mkdir(parents=True)
        (root / "layer/link").write_bytes(b"other")
        header = tarfile.TarInfo("link")
        header.type, header.linkname = tarfile.LNKTYPE, "lost"
        # One name with very many contents, and as many links to it: no tar that engines have made.
        lines: list[dict[str, object]] = [{"type": 2, "payload": base64.b64encode(header.tobuf()).decode()}] * count
        lines += [{"type": 1, "name": "lost", "size": 5, "payload": _text(number)} for number in range(count)]
        (root / "split").write_text("".join(json.dumps(one | {"position": 0}) + "\n" for one in lines))
        reads.clear()
        with Folder.open(str(root)) as folder:
            layer = UnpackedLayer(folder, ("split",), ("layer",))
            for reader in layer.attempts(Meter(DEFAULT_LIMITS)):
                with pytest.raises(RootDamaged):
                    reader.read(1 << 20)
        assert "layer/lost is missing" in layer.reason
        work.append(len(reads))
    assert 0 < work[0] < work[1] < 2.5 * work[0]


def _text(number: int) -> str:
    return base64.b64encode((number + 1).to_bytes(8)).decode()


def test_texts_that_cannot_be_names_of_files_are_damage(tmp_path: Path) -> None:
    layer = {"id": "\ud800", "diff-digest": DIFF_ID, "flags": {"incomplete": True}}
    podman(tmp_path, json.dumps([layer]), [{"id": "\udfff", "names": ["\ud800"]}, {"id": "a\0b"}, {"id": "../x"}])
    found = look(tmp_path, verify=True)
    assert [image.state for image in found.images] == ["damaged"] * 4


def test_a_size_that_nothing_has_is_not_known(tmp_path: Path) -> None:
    layers = json.dumps([{"id": "a", "diff-digest": DIFF_ID, "diff-size": 10**4000}])
    podman(tmp_path, layers, [])
    assert look(tmp_path).images[0].image.size is None


def test_nothing_is_written_through_links_of_the_root_or_into_it(root: Path, tmp_path: Path) -> None:
    (root / "link").symlink_to(tmp_path / "images.tar")
    (root / "folder").mkdir()
    (tmp_path / ".other.tar.rescue").symlink_to(root / "folder")
    before = sorted(path for path in root.rglob("*"))
    for target in (root / "link", tmp_path / "other.tar"):
        with pytest.raises(InvalidInput):
            rescue_archive(target, root)
    assert sorted(path for path in root.rglob("*")) == before


def test_a_name_with_a_line_break_is_no_line_of_the_list(
    root: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    path = root / "image/overlay2/repositories.json"
    names = json.loads(path.read_text())["Repositories"]["made/image"]
    names["x\nwhole     111111111111       2B  evil:1"] = names["made/image:0"]
    path.write_text(json.dumps({"Repositories": {"made/image": names}}))
    assert run(["rescue", str(root)]) == 0
    assert not [line for line in capsysbinary.readouterr().out.splitlines() if line.startswith(b"whole")]
