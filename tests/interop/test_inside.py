"""What orlop sees in images is what `umoci unpack` puts on the disk, and what `docker export` writes."""

from __future__ import annotations

import base64
import email
import io
import json
import os
import random
import stat
import tarfile
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pytest

from tests.interop.programs import Program
from tests.interop.wild import MIXES, wild_layer
from tests.needs import need, need_root
from tests.unit import merge_cases
from tests.unit.images_made import image, layer
from tests.unit.test_merge_agreed import CASES as AGREED
from tests.unit.test_merge_disputes import CASES, LETTERS, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.interop.programs import Docker, Orlop

pytestmark = pytest.mark.interop

LONG = bool(os.environ.get("ORLOP_LONG"))
NEVER_ALIKE = "dir file link lower"
"""A mix of layers of which umoci reads none as engines do: entries below links, and directories in place of files."""

Seen = tuple[str, int, int, int, int, int, str, dict[str, str], str]
"""Type, mode, owner, group, size, whole seconds of the time, target, extended attributes, digest of the content."""

KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "dir",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
}


def on_disk(root: Path) -> dict[str, Seen]:
    """Return what lies in a directory, by paths from it, without the directory itself."""
    found: dict[str, Seen] = {}
    for path in root.rglob("*"):
        facts = path.lstat()
        kind = KINDS[stat.S_IFMT(facts.st_mode)]
        names = os.listxattr(path, follow_symlinks=False)
        found[f"/{path.relative_to(root)}"] = (
            *(kind, stat.S_IMODE(facts.st_mode), facts.st_uid, facts.st_gid),
            *(facts.st_size if kind == "file" else 0, facts.st_mtime_ns // 10**9),
            str(path.readlink()) if kind == "symlink" else "",
            {one: os.getxattr(path, one, follow_symlinks=False).hex() for one in names},
            sha256(path.read_bytes()).hexdigest() if kind == "file" else "",
        )
    return found


def in_tar(path: Path) -> dict[str, Seen]:
    """Return the members of a tar."""
    found: dict[str, Seen] = {}
    types = {"0": "file", "5": "dir", "2": "symlink", "6": "fifo", "3": "char", "4": "block"}
    with tarfile.open(path) as archive:
        for one in archive:
            source = archive.extractfile(one) if one.isreg() or one.islnk() else None
            content = b"" if source is None else source.read()
            real = archive.getmember(one.linkname) if one.islnk() else one
            xattrs = {
                name.removeprefix("SCHILY.xattr."): value.encode("utf-8", "surrogateescape").hex()
                for name, value in real.pax_headers.items()
                if name.startswith("SCHILY.xattr.")
            }
            kind = types[real.type.decode()]
            found["/" + one.name.rstrip("/")] = (
                *(
                    kind,
                    0o777 if kind == "symlink" else real.mode & 0o7777,
                    real.uid,
                    real.gid,
                    real.size,
                    int(real.mtime // 1),
                ),
                *(real.linkname if kind == "symlink" else "", xattrs),
                sha256(content).hexdigest() if kind == "file" else "",
            )
    return found


def info(name: str, **facts: object) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.mtime = 1_600_000_000
    for fact, value in facts.items():
        setattr(found, fact, value)
    return found


def random_layers(seed: int) -> list[bytes]:
    """Make layers of every kind of change that all programs can unpack: nothing lies below a file."""
    choose = random.Random(seed)
    layers = []
    for number in range(4):
        members: list[str | tuple[str, bytes] | tarfile.TarInfo] = []
        made: list[str] = []
        for _ in range(10):
            folder = "/".join(choose.choice(["d0", "d1"]) for _ in range(choose.randrange(3)))
            base = f"{folder}/" if folder else ""
            mode, uid = choose.choice([0o755, 0o700, 0o1777, 0o4755]), choose.randrange(3)
            kind = choose.choice(["dir", "file", "symlink", "fifo", "any", "hide", "opaque", "link", "xattr"])
            if kind == "dir":
                members.append(info(f"{base}d{choose.randrange(2)}", type=tarfile.DIRTYPE, mode=mode, uid=uid))
            elif kind == "file":
                made.append(f"{base}f{choose.randrange(2)}")
                members.append((made[-1], str((seed, number, choose.random())).encode()))
            elif kind == "symlink":
                members.append(f"{base}s->d{choose.randrange(2)}/f0")
            elif kind == "fifo":
                members.append(info(f"{base}p", type=tarfile.FIFOTYPE, mode=mode))
            elif kind == "any":
                of = choose.choice([tarfile.DIRTYPE, tarfile.REGTYPE, tarfile.FIFOTYPE])
                members.append(info(f"{base}x", type=of, mode=mode, gid=uid))
            elif kind == "xattr":
                members.append(info(f"{base}y", mode=mode, pax_headers={"SCHILY.xattr.user.a": str(number)}))
            elif kind == "link" and made:
                members.append(f"{base}h=>{choose.choice(made)}")
            elif kind == "hide" and number:
                members.insert(0, f"{base}.wh.{choose.choice(['d0', 'd1', 'f0', 's', 'x', 'y', 'h'])}")
            elif kind == "opaque" and number:
                members.insert(0, f"{base}.wh..wh..opq")
        layers.append(layer(*members))
    return layers


def image_of_files(layers: Sequence[Path], digests: Sequence[str], archive: Path) -> Path:
    """Write an archive of an image whose layers are files, and return its path."""
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [*digests]}}
    names = [one.name for one in layers]
    with tarfile.open(archive, "w") as out:
        for one in layers:
            out.add(one, one.name)
        manifest = [{"Config": "config.json", "RepoTags": ["made:1"], "Layers": names}]
        for name, document in (("config.json", config), ("manifest.json", manifest)):
            content = json.dumps(document).encode()
            member = tarfile.TarInfo(name)
            member.size = len(content)
            out.addfile(member, io.BytesIO(content))
    return archive


@pytest.fixture
def umoci() -> Program:
    """Return umoci, which needs root to give files to their owners."""
    need_root()
    return Program([need("umoci")])


def unpacked(umoci: Program, layout: Path, bundle: Path) -> dict[str, Seen]:
    umoci("unpack", "--image", f"{layout}:1", bundle)
    return on_disk(bundle / "rootfs")


def without_times_of_folders(seen: dict[str, Seen]) -> dict[str, Seen]:
    """Leave out the times of directories: removals and implied parents leave there when umoci unpacked."""
    return {path: (*facts[:5], 0, *facts[6:]) if facts[0] == "dir" else facts for path, facts in seen.items()}


@pytest.mark.sampled(12)
@pytest.mark.parametrize("seed", range(12))
def test_a_view_is_what_umoci_unpacks(seed: int, orlop: Orlop, umoci: Program, tmp_path: Path) -> None:
    archive = tmp_path / "image.tar"
    archive.write_bytes(image(*random_layers(seed), compressed=bool(seed % 2)))
    orlop("load", "-i", archive)
    orlop("save", "--format", "oci-dir", "-o", tmp_path / "layout", "made:1")
    theirs = unpacked(umoci, tmp_path / "layout", tmp_path / "bundle")
    orlop("export", "--resolve-links", "-o", tmp_path / "out.tar", "made:1")
    ours = in_tar(tmp_path / "out.tar")
    assert without_times_of_folders(ours) == without_times_of_folders(theirs)
    # The same by the other commands.
    assert {*orlop.lines("find", "made:1")} - {"/"} == {*theirs}
    for path, facts in theirs.items():
        if facts[0] == "file":
            assert sha256(orlop.run("cat", "made:1", path).stdout).hexdigest() == facts[8]
            break
    (tmp_path / "copy").mkdir()
    orlop("cp", "-a", "made:1:/.", tmp_path / "copy")
    copied = on_disk(tmp_path / "copy")
    bare: dict[str, Seen] = {
        path: (*facts[:7], {}, facts[8]) for path, facts in theirs.items()
    }  # cp keeps no extended attributes
    assert without_times_of_folders(copied) == without_times_of_folders(bare)


@pytest.mark.sampled(18, daily=False)
@pytest.mark.parametrize("mix", MIXES)
def test_what_umoci_does_otherwise_with_wild_layers_is_told(
    mix: str, orlop: Orlop, umoci: Program, tmp_path: Path
) -> None:
    equal = 0
    for seed in range(40):
        # Some mixes have few stacks that both read alike, one has none.
        if (equal or mix == NEVER_ALIKE) and seed >= 4 and not LONG:
            break
        choose = random.Random(f"{mix} {seed}")
        place = tmp_path / str(seed)
        place.mkdir()
        (place / "image.tar").write_bytes(image(*(wild_layer(choose, mix) for _ in range(1 + seed % 2))))
        orlop("load", "-i", place / "image.tar")
        told = orlop("audit", "--no-content", "--format", "{{json .Findings}}", "made:1")
        orlop("save", "--format", "oci-dir", "-o", place / "layout", "made:1")
        orlop("export", "--resolve-links", "-o", place / "ours.tar", "made:1")
        done = umoci.run("unpack", "--image", f"{place}/layout:1", place / "bundle")
        ours = {path: facts for path, facts in in_tar(place / "ours.tar").items() if path != "/."}
        theirs = on_disk(place / "bundle" / "rootfs") if not done.returncode else {}
        same = not done.returncode and without_times_of_folders(ours) == without_times_of_folders(theirs)
        assert same or '"layer-' in told, f"{seed}: {done.stderr!r}"
        equal += same
    assert equal or mix == NEVER_ALIKE


@pytest.mark.sampled(32)
@pytest.mark.parametrize("name", AGREED)
def test_a_layer_that_is_read_alike_is_what_umoci_unpacks_and_docker_exports(
    name: str, orlop: Orlop, umoci: Program, docker: Docker, tmp_path: Path
) -> None:
    layers, _ = AGREED[name]
    (tmp_path / "image.tar").write_bytes(image(*layers))
    orlop("load", "-i", tmp_path / "image.tar")
    orlop("save", "--format", "oci-dir", "-o", tmp_path / "layout", "made:1")
    orlop("export", "-o", tmp_path / "ours.tar", "made:1")
    ours = {path: facts for path, facts in in_tar(tmp_path / "ours.tar").items() if path != "/."}
    unpacked_by_umoci = unpacked(umoci, tmp_path / "layout", tmp_path / "bundle")
    assert without_times_of_folders(ours) == without_times_of_folders(unpacked_by_umoci)
    docker("load", "-i", tmp_path / "image.tar")
    container = docker("create", "made:1", "nothing").strip()
    docker("export", "-o", tmp_path / "theirs.tar", container)
    docker("rm", "-v", container)
    theirs = {path: facts for path, facts in in_tar(tmp_path / "theirs.tar").items() if not is_of_engine(path)}
    assert as_exported(ours) == as_exported(theirs)


@pytest.mark.sampled(64)
@pytest.mark.parametrize("name", CASES)
def test_a_disputed_layer_is_what_umoci_unpacks(name: str, orlop: Orlop, umoci: Program, tmp_path: Path) -> None:
    case = CASES[name]
    (tmp_path / "image.tar").write_bytes(image(*case.layers))
    orlop("load", "-i", tmp_path / "image.tar")
    orlop("save", "--format", "oci-dir", "-o", tmp_path / "layout", "made:1")
    done = umoci.run("unpack", "--image", f"{tmp_path}/layout:1", tmp_path / "bundle")
    if done.returncode or "reserved-name" in case.findings:
        # It refuses the layer, or shows names that are reserved; either is told.
        assert case.findings
        return
    ours = merge_cases.merged(case.layers, resolve_links=True)
    theirs = on_disk(tmp_path / "bundle" / "rootfs")
    assert shown(ours) == " ".join(sorted(f"{path[1:]}{LETTERS.get(facts[0], '')}" for path, facts in theirs.items()))


@pytest.mark.sampled(32)
@pytest.mark.parametrize("name", CASES)
def test_what_an_engine_does_otherwise_is_told(name: str, docker: Docker, tmp_path: Path) -> None:
    case = CASES[name]
    if case.findings:
        return
    (tmp_path / "image.tar").write_bytes(image(*case.layers))
    docker("load", "-i", tmp_path / "image.tar")
    container = docker("create", "made:1", "nothing").strip()
    docker("export", "-o", tmp_path / "theirs.tar", container)
    docker("rm", "-v", container)
    theirs = {path: facts for path, facts in in_tar(tmp_path / "theirs.tar").items() if not is_of_engine(path)}
    assert case.paths == " ".join(sorted(f"{path[1:]}{LETTERS.get(facts[0], '')}" for path, facts in theirs.items()))


def test_directories_that_an_engine_makes_for_whiteouts_are_told(docker: Docker, tmp_path: Path) -> None:
    """Those were the only paths of a large tree that an engine showed and orlop did not."""
    layers = [
        layer("d/", "d/e/", ("d/e/f", b"1"), "d/g/h/", ("d/g/h/i", b"2")),
        layer("d/.wh..wh..opq", "d/e/.wh.f", "d/g/h/.wh.i", "no/such/.wh.x"),
    ]
    merge = merge_cases.merged(layers)
    told = {PurePosixPath("/", one.path).parent for one in merge.findings if one.kind == "marker-without-directory"}
    (tmp_path / "image.tar").write_bytes(image(*layers))
    docker("load", "-i", tmp_path / "image.tar")
    container = docker("create", "made:1", "nothing").strip()
    docker("export", "-o", tmp_path / "theirs.tar", container)
    docker("rm", "-v", container)
    theirs = {path for path in in_tar(tmp_path / "theirs.tar") if not is_of_engine(path)}
    made = {str(one) for folder in told for one in (folder, *folder.parents)} - {"/", "/d"}
    assert shown(merge) == "d/"
    assert theirs - {"/d"} == made


@pytest.mark.usefixtures("umoci")
def test_a_tree_of_this_machine_is_what_umoci_unpacks(orlop: Orlop, tmp_path: Path) -> None:
    from tests.interop import agree_inside

    agree_inside.load(Path(email.__file__).parent, tmp_path, lambda words: orlop(*words))
    count, differences = agree_inside.compare(tmp_path, lambda words: orlop(*words))
    assert differences == []
    assert count > 30


@pytest.mark.skipif(not LONG, reason="takes minutes; ORLOP_LONG=1 runs it")
@pytest.mark.usefixtures("umoci")
def test_a_hundred_thousand_files_are_what_umoci_and_docker_make_of_them(
    orlop: Orlop, docker: Docker, tmp_path: Path
) -> None:
    from tests.interop import agree_inside

    archive = agree_inside.load(Path("/usr"), tmp_path, lambda words: orlop(*words), most=100_000)
    _, differences = agree_inside.compare(tmp_path, lambda words: orlop(*words))
    assert differences == []
    orlop("export", "-o", tmp_path / "ours.tar", "made:1")
    ours = in_tar(tmp_path / "ours.tar")
    check_commands(orlop, ours)
    docker("load", "-i", archive)
    container = docker("create", "made:1", "nothing").strip()
    docker("export", "-o", tmp_path / "theirs.tar", container)
    docker("rm", "-v", container)
    theirs = {path: facts for path, facts in in_tar(tmp_path / "theirs.tar").items() if not is_of_engine(path)}
    assert agree_inside.differences(as_exported(ours), as_exported(theirs)) == []


@pytest.mark.skipif(not LONG, reason="takes a minute; ORLOP_LONG=1 runs it")
def test_a_plain_debian_has_no_secrets(orlop: Orlop, tmp_path: Path) -> None:
    """It is what this machine has of the packages that every Debian has."""
    query, tar = Program([need("dpkg-query")]), Program([need("tar")])
    lines = query("-W", "-f", "${Priority} ${Package} ${binary:Package}\\n").splitlines()
    info = Path("/var/lib/dpkg/info")
    paths: set[Path] = set()
    for priority, *names in map(str.split, lines):
        if priority in {"required", "important", "standard"}:
            listed = next(one for one in (info / f"{name}.list" for name in names) if one.exists())
            paths |= {path for path in map(Path, listed.read_text().splitlines()) if path.is_file()}
            paths |= {one for one in (listed, listed.with_suffix(".md5sums")) if one.exists()}
    (tmp_path / "names").write_text("".join(f"{one}\0" for one in sorted(paths)))
    tar("--null", "--no-recursion", "-P", "-T", tmp_path / "names", "-cf", tmp_path / "root.tar")
    orlop("import", tmp_path / "root.tar", "debian:1")
    report = json.loads(orlop("audit", "--format", "json", "debian:1"))
    assert report["Size"] > 20_000_000
    assert len(report["Packages"]) > 30
    assert [one for one in report["Findings"] if one["Kind"] == "secret"] == []


def check_commands(orlop: Orlop, seen: dict[str, Seen]) -> None:
    """Compare lists, searches and contents with what an export has."""

    def lines(*words: str) -> list[str]:
        return orlop.run(*words).stdout.decode("utf-8", "surrogateescape").split("\n")[:-1]

    assert {f"/{line}" for line in lines("ls", "-R", "made:1")} == {*seen}
    assert {*lines("find", "made:1")} == {"/", *seen}
    for line in lines("ls", "-R", "--format", "json", "made:1"):
        one = json.loads(line)
        path = base64.b64decode(one["PathBytes"]).decode("utf-8", "surrogateescape") or one["Path"]
        facts = one["Type"], int(one["Mode"], 8), one["UID"], one["GID"], one["Size"]
        target = base64.b64decode(one["TargetBytes"]).decode("utf-8", "surrogateescape") or one["Target"]
        assert (*facts, target) == (*seen[path][:5], seen[path][6])
    files = [path for path, facts in seen.items() if facts[0] == "file"]
    for start in range(0, len(files), 5000):
        some = files[start : start + 100]
        whole = orlop.run("cat", "made:1", *some).stdout
        assert len(whole) == sum(seen[path][4] for path in some)
        for path in some:
            size = seen[path][4]
            assert sha256(whole[:size]).hexdigest() == seen[path][8], path
            whole = whole[size:]


def is_of_engine(path: str) -> bool:
    """Return whether an engine adds a path to what it exports: mount points of a container."""
    return path.split("/")[1] in {".dockerenv", "dev", "etc", "proc", "sys"}


def as_exported(seen: dict[str, Seen]) -> dict[str, Seen]:
    """Leave out what engines do not keep: extended attributes, and what directories without an entry look like."""
    return {
        path: (*facts[:7], {}, facts[8]) if facts[0] != "dir" else ("dir", 0, 0, 0, 0, 0, "", {}, "")
        for path, facts in seen.items()
    }


def test_a_view_is_what_docker_exports(orlop: Orlop, docker: Docker, data: Path, tmp_path: Path) -> None:
    archive = data / "dockerd-20.10-overlay2" / "tiny.tar"
    docker("load", "-i", archive)
    orlop("load", "-i", archive)
    container = docker("create", "example/tiny:1.0").strip()
    docker("export", "-o", tmp_path / "theirs.tar", container)
    docker("rm", "-v", container)
    orlop("export", "-o", tmp_path / "ours.tar", "example/tiny:1.0")
    theirs, ours = (in_tar(tmp_path / name) for name in ("theirs.tar", "ours.tar"))
    # The engine adds mount points of a container, and keeps no extended attributes but capabilities.
    added = {path for path in theirs if is_of_engine(path)}
    assert {path: (*facts[:7], {}, facts[8]) for path, facts in ours.items()} == {
        path: (*facts[:7], {}, facts[8]) for path, facts in theirs.items() if path not in added
    }
