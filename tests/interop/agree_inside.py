"""Compares what orlop sees with what `umoci unpack` puts on a disk, path by path, on an image of files of this machine.

python -m tests.interop.agree_inside [DIRECTORY [MOST]]

The image has three layers: the directory, or the first MOST of its files that have at most 32 kB; every seventh file of
it changed, some removed by whiteouts, some directories replaced by opaque ones; and hard links, a device, attributes
and names of many bytes. By default the directory is /usr, which on a Debian machine has some 100,000 files. Needs root
and umoci. Prints how many paths were compared, and each that differs.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import tempfile
from hashlib import file_digest
from pathlib import Path
from typing import TYPE_CHECKING

from tests.interop.test_inside import image_of_files, in_tar, on_disk, without_times_of_folders

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.interop.test_inside import Seen

    Run = Callable[[Sequence[str | Path]], object]

_SMALL = 32 << 10


def layers_of(directory: Path, folder: Path, most: int | None = None) -> list[Path]:
    """Write the three layers to a folder."""
    base, changed, odd = (folder / f"{number}.tar" for number in range(3))
    with tarfile.open(base, "w", format=tarfile.PAX_FORMAT) as archive:
        taken: set[str] = set()

        def wanted(one: tarfile.TarInfo) -> tarfile.TarInfo | None:
            if one.isdir() or most is None:
                return one
            # A hard link to what was left out would lead to nothing.
            small = one.linkname in taken if one.islnk() else one.size <= _SMALL
            if not small or len(taken) >= most:
                return None
            taken.add(one.name)
            return one

        archive.add(directory, "tree", filter=wanted)
        members = [one for one in archive if not one.isdir()]
        folders = [one for one in archive if one.isdir() and one.name.count("/") > 1]
    with tarfile.open(changed, "w", format=tarfile.PAX_FORMAT) as archive:
        opaque: set[str] = set()
        for one in folders[5::97]:
            if opaque.isdisjoint(_above(one.name)):
                opaque.add(one.name)
                archive.addfile(tarfile.TarInfo(f"{one.name}/.wh..wh..opq"))
        for one in members[3::11]:
            parent, _, name = one.name.rpartition("/")
            # In a directory that is hidden, engines would make a directory for the whiteout.
            if opaque.isdisjoint(_above(one.name)):
                archive.addfile(tarfile.TarInfo(f"{parent}/.wh.{name}"))
        for number, one in enumerate(members[::7]):
            info = tarfile.TarInfo(one.name)
            content = f"changed {number}".encode()
            info.size, info.mtime, info.mode, info.uid = len(content), one.mtime + 1, 0o640, number % 5
            archive.addfile(info, io.BytesIO(content))
    with tarfile.open(odd, "w", format=tarfile.PAX_FORMAT) as archive:
        for name, kind, target in (
            ("odd/file", tarfile.REGTYPE, ""),
            ("odd/linked", tarfile.LNKTYPE, "odd/file"),
            ("odd/" + "n" * 250, tarfile.REGTYPE, ""),
            ("odd/sym", tarfile.SYMTYPE, "../tree"),
            ("odd/device", tarfile.CHRTYPE, ""),
            ("odd/caf\udce8", tarfile.REGTYPE, ""),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.mtime, info.devmajor, info.devminor = kind, target, 1_600_000_000, 1, 3
            archive.addfile(info)
    return [base, changed, odd]


def _above(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path


def load(directory: Path, folder: Path, orlop: Run, *, most: int | None = None) -> Path:
    """Make the image of a directory, load it as ``made:1``, and return its archive; ``folder`` is for all of it."""
    layers = layers_of(directory, folder, most)
    digests = []
    for one in layers:
        with one.open("rb") as file:
            digests.append(f"sha256:{file_digest(file, 'sha256').hexdigest()}")
    archive = image_of_files(layers, digests, folder / "image.tar")
    orlop(["load", "-i", archive])
    return archive


def compare(folder: Path, orlop: Run) -> tuple[int, list[str]]:
    """Return how many paths were compared with those that umoci makes of the image, and a line for each that differs.

    Args:
        folder: for what is written.
        orlop: runs a command of orlop, over the store with the image.
    """
    orlop(["save", "--format", "oci-dir", "-o", folder / "layout", "made:1"])
    umoci = ["umoci", "unpack", "--image", f"{folder}/layout:1", f"{folder}/bundle"]
    subprocess.run(umoci, check=True, stdout=subprocess.DEVNULL)
    orlop(["export", "--resolve-links", "-o", folder / "out.tar", "made:1"])
    theirs = without_times_of_folders(on_disk(folder / "bundle" / "rootfs"))
    ours = without_times_of_folders(in_tar(folder / "out.tar"))
    return len({*theirs, *ours}), differences(ours, theirs)


def differences(ours: dict[str, Seen], theirs: dict[str, Seen]) -> list[str]:
    """Return a line for each path that is not the same."""
    return [
        f"{path!r}: orlop {ours.get(path)}, the other {theirs.get(path)}"
        for path in sorted({*theirs, *ours})
        if ours.get(path) != theirs.get(path)
    ]


def main() -> None:
    directory = Path(sys.argv[1] if len(sys.argv) > 1 else "/usr")
    with tempfile.TemporaryDirectory(prefix="orlop-agree-") as folder:
        program = [sys.executable, "-m", "orlop", "--root", f"{folder}/root"]

        def orlop(words: Sequence[str | Path]) -> None:
            subprocess.run([*program, *map(str, words)], check=True, stdout=subprocess.DEVNULL)

        load(directory, Path(folder), orlop, most=int(sys.argv[2]) if len(sys.argv) > 2 else None)
        count, found = compare(Path(folder), orlop)
    print(*found, f"{count} paths, {len(found)} differ", sep="\n")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
