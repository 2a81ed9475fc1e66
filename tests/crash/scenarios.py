"""What is interrupted: every command that writes, and a store that it works on. `stages` has how they are run."""

from __future__ import annotations

import io
import os
import shutil
import signal
import sqlite3
import tarfile
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orlop
from orlop import stores
from tests.crash import attached, damaged
from tests.crash.calls import Kill, watched
from tests.crash.damaged import DATA, MULTI, OTHER
from tests.foreign_roots import make_root
from tests.unit.distribution import Directory
from tests.unit.layouts import Layout
from tests.unit.sha512_layout import layout as layout_by_sha512

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from orlop.service.image_service import ImageService
    from tests.unit.hosted import RegistryClient


@dataclass(frozen=True, slots=True)
class Scenario:
    """A command, and what is there before. ``{}`` in its arguments is the place that the store lies in, as ``root``.

    All commands do all or nothing. One ends with the status ``ends``, where all is done already with ``again``. What is
    ``damaged`` before may stay so until it has ended. With ``library`` a program does the same with a store that it
    leaves open, so that nothing is brought to an end beyond what the library promised when its call returned. With
    ``clients`` a server over the store does what they ask for, and ``shows`` returns what they see.
    """

    name: str
    arguments: tuple[str, ...]
    prepare: Callable[[Path], None] = lambda _: None
    piped: Path | None = None
    ends: int = 0
    again: int = 0
    damaged: bool = False
    library: Callable[[ImageService], object] | None = None
    clients: Callable[[RegistryClient], object] | None = None
    shows: Callable[[ImageService], list[object]] | None = None

    def is_of(self, words: Sequence[str]) -> bool:
        """Return whether it is about the command that these words call."""
        return self.arguments[: len(words)] == tuple(words)


def _loaded(*archives: Path) -> Callable[[Path], None]:
    def prepare(place: Path) -> None:
        with orlop.open(place / "root") as images:
            for archive in archives:
                images.load(archive)

    return prepare


def _with_file(place: Path) -> None:
    _loaded(MULTI)(place)
    (place / "saved.tar").write_bytes(b"an older archive")


def _with_archive(place: Path) -> None:
    _loaded(MULTI)(place)
    with orlop.open(place / "root") as images:
        images.save(["example/tiny:1.0"], place / "saved.tar")


def _with_layout_tar(place: Path) -> None:
    _loaded(MULTI)(place)
    with orlop.open(place / "root") as images:
        images.save(["example/tiny:1.0"], place / "saved.tar", format="oci")


def _with_sha512(place: Path) -> None:
    _loaded(MULTI)(place)
    (place / "sha512.tar").write_bytes(layout_by_sha512().pack())


def _with_layout(place: Path) -> None:
    """Leave a layout that has a layer of what is added, and a torn one."""
    _loaded(MULTI)(place)
    with orlop.open(place / "root") as images:
        images.save(["example/tiny:1.0"], place / "layout", format="oci-dir")
        images.save(["example/imported"], place / "other", format="oci-dir")
    # The largest of them is the config: what is left out of a layout is its owner's affair.
    blobs = sorted((place / "other/blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    new = next(path for path in blobs if not _there(place / "layout", path))
    (place / "layout/blobs/sha256" / new.name).write_bytes(new.read_bytes()[:-1])
    shutil.rmtree(place / "other")


def _there(layout: Path, blob: Path) -> bool:
    return (layout / "blobs/sha256" / blob.name).exists()


def _with_room(place: Path) -> None:
    _loaded(MULTI)(place)
    (place / "layout").mkdir()


def _with_layer(place: Path) -> None:
    _loaded(MULTI)(place)
    with tarfile.open(place / "layer.tar", "w") as tar:
        for number in range(4):
            member = tarfile.TarInfo(f"file-{number}")
            member.size = 300_000
            tar.addfile(member, io.BytesIO(bytes([number]) * member.size))


def _dangling(place: Path) -> None:
    with orlop.open(place / "root") as images:
        images.load(MULTI)
        images.load(OTHER)
        # The name goes to another image: the one that had it dangles.
        images.tag("example/tiny:1.0", "registry.example.com:5000/team/committed:2.0")


def _backed_up(place: Path) -> None:
    _loaded(MULTI)(place)
    stores.backup(place / "root", place / "backup")
    with orlop.open(place / "root") as images:
        images.load(OTHER)
        images.remove("example/imported")


def _pinned(place: Path) -> None:
    _loaded(MULTI)(place)
    with orlop.open(place / "root") as images:
        images.pin("example/tiny:1.0")


def _of_the_first_schema(place: Path) -> None:
    """Leave a store as orlop wrote it before rows told where manifests lead, and before it looked for pins."""
    with orlop.open(place / "root") as images:
        images.load(MULTI)
        images.load(DATA / "other-tools" / "skopeo-oci-archive.tar")
    with closing(sqlite3.connect(place / "root" / "metadata.db", isolation_level=None)) as rows:
        triggers = rows.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger' AND sql LIKE '%edge%'")
        for (name,) in triggers.fetchall():
            rows.execute(f"DROP TRIGGER {name}")
        rows.execute("DROP TABLE edge")
        rows.execute("DROP TABLE top")
        rows.execute("DROP INDEX image_pinned")
        rows.execute("PRAGMA user_version=1")


def _garbage(place: Path) -> None:
    """Leave all that processes leave which die at work: a layer of nobody, files under way, rows, locks, strays."""
    _with_layer(place)
    root = place / "root"

    def register() -> int:
        with orlop.open(root) as images, (place / "layer.tar").open("rb") as layer:
            images.layer_store.register(layer)
            os.kill(os.getpid(), signal.SIGKILL)
        return 0

    def load() -> int:
        with orlop.open(root) as images:
            images.load(OTHER)
        return 0

    assert watched(register, [str(root)]).status == -signal.SIGKILL
    published = f"{root}/blobs/sha256"
    ended = watched(
        load, [str(root)], lambda call, _: Kill() if (call.name, call.path) == ("fsync", published) else None
    )
    assert ended.status == -signal.SIGKILL
    (root / "trash" / "sha256-0").write_bytes(b"on its way out")


def _with_data_root(place: Path) -> None:
    _loaded(MULTI)(place)
    make_root(place / "docker", 1, {"etc/hosts": b"a file" * 1000})


def _with_registry(place: Path) -> None:
    _loaded(MULTI)(place)
    layout = Layout()
    Directory(place / "registry").push(layout, "app", {"1": layout.image("a", "b")})


def scenarios() -> dict[str, Scenario]:
    """Return all of them by name."""
    loaded = _loaded(MULTI)
    found = [
        Scenario("first load", ("load", "-i", str(MULTI))),
        Scenario("load", ("load", "-i", str(OTHER)), loaded),
        Scenario("load from a pipe", ("load",), loaded, piped=OTHER),
        Scenario("load of gzip layers", ("load", "-i", str(DATA / "other-tools" / "skopeo-oci-archive.tar")), loaded),
        Scenario("load of zstd layers", ("load", "-i", str(DATA / "other-tools" / "skopeo-oci-archive-zstd.tar"))),
        Scenario("load again", ("load", "-i", str(MULTI)), loaded),
        Scenario("import", ("import", "-m", "by hand", "{}/layer.tar", "new:1"), _with_layer),
        Scenario("save", ("save", "-o", "{}/saved.tar", "example/tiny:1.0"), loaded),
        Scenario("save over a file", ("save", "-o", "{}/saved.tar", "example/imported"), _with_file),
        Scenario("save as a layout", ("save", "--format", "oci", "-o", "{}/saved.tar", "example/tiny:1.0"), loaded),
        Scenario("save a directory", ("save", "--format", "oci-dir", "-o", "{}/layout", "example/tiny:1.0"), loaded),
        Scenario("save beside", ("save", "--format", "oci-dir", "-o", "{}/layout", "example/imported"), _with_layout),
        Scenario("save empty", ("save", "--format", "oci-dir", "-o", "{}/layout", "example/imported"), _with_room),
        Scenario(
            "save compressed",
            ("save", "--format", "oci-dir", "--compress", "gzip", "-o", "{}/layout", "example/tiny:1.0"),
            loaded,
        ),
        Scenario("save --append", ("save", "--append", "-o", "{}/saved.tar", "example/imported"), _with_archive),
        Scenario(
            "save --append to a layout",
            ("save", "--append", "--format", "oci", "-o", "{}/saved.tar", "example/imported"),
            _with_layout_tar,
        ),
        Scenario(
            "save --since",
            ("save", "--since", "example/tiny:1.0", "-o", "{}/saved.tar", "example/tiny:1.0", "example/imported"),
            loaded,
        ),
        Scenario(
            "save beside --since",
            ("save", "--format", "oci-dir", "--since", "example/imported", "-o", "{}/layout", "example/imported"),
            _with_layout,
        ),
        Scenario(
            "load of an index with artifacts", ("load", "-i", str(DATA / "oci" / "buildx-provenance.tar.zst")), loaded
        ),
        Scenario("load of content by sha512", ("load", "-i", "{}/sha512.tar"), _with_sha512),
        Scenario("tag", ("tag", "example/tiny:1.0", "example/imported:latest"), loaded),
        Scenario("rmi", ("rmi", "example/imported"), loaded, again=4),
        Scenario("image prune", ("image", "prune", "-f"), _dangling),
        Scenario("image prune -a", ("image", "prune", "-a", "-f"), _dangling),
        Scenario("prune", ("prune", "-f", "--max-size", "35kB"), _dangling),
        Scenario("gc", ("gc",), _garbage),
        Scenario("fsck --repair", ("fsck", "--repair", "--from", str(MULTI)), damaged.files, ends=8, damaged=True),
        Scenario("fsck --repair of a database", ("fsck", "--repair"), damaged.database, ends=8, damaged=True),
        Scenario("fsck --repair of a shape", ("fsck", "--repair"), damaged.shape, ends=8, damaged=True),
        Scenario("fsck --repair of a log", ("fsck", "--repair"), damaged.log, ends=8, damaged=True),
        Scenario("rescue", ("rescue", "{}/docker", "--into", "store"), _with_data_root),
        Scenario("rescue into an archive", ("rescue", "{}/docker", "--into", "{}/saved.tar"), _with_data_root),
        Scenario(
            "store import-registry", ("store", "import-registry", "--host", "r.test", "{}/registry"), _with_registry
        ),
        Scenario("pin", ("pin", "example/tiny:1.0"), loaded),
        Scenario("unpin", ("unpin", "example/tiny:1.0"), _pinned),
        Scenario("store backup", ("store", "backup", "{}/backup"), loaded),
        Scenario("store backup again", ("store", "backup", "{}/backup"), _backed_up),
        Scenario("store copy", ("store", "copy", "{}/copy"), loaded, again=5),
        Scenario("store move", ("store", "move", "{}/moved"), loaded, again=4),
        Scenario("store init", ("store", "init")),
        Scenario("store migrate", ("store", "migrate"), _of_the_first_schema),
        Scenario("load, left open", ("load", "-i", str(OTHER)), loaded, library=lambda images: images.load(OTHER)),
        Scenario(
            "rmi, left open",
            ("rmi", "example/imported"),
            loaded,
            again=4,
            library=lambda images: images.remove("example/imported"),
        ),
    ]
    return {scenario.name: scenario for scenario in (*found, *attached.scenarios())}


def chosen(names: Sequence[str]) -> list[Scenario]:
    """Return the scenarios with these names, or all, those of the registry among them."""
    from tests.crash import pushes

    known = scenarios() | pushes.scenarios()
    return [known[name] for name in names] if names else list(known.values())
