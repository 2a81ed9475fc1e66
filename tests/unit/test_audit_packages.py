"""What an audit knows of packages: programs that name their module, secrets as shipped, and caches that were left."""

from __future__ import annotations

import hashlib
from base64 import b64encode, urlsafe_b64encode
from typing import TYPE_CHECKING

import pytest

from orlop.cli.main import run
from orlop.inside.programs import SMALLEST, Program
from tests.unit.images_made import image, layer
from tests.unit.secrets_made import PLANTED
from tests.unit.test_audit import audited

if TYPE_CHECKING:
    from pathlib import Path

    from orlop.inside.finding import AuditFinding

MARK = b"\xff Go buildinf:"
BEGINS = bytes.fromhex("3077af0c9274080241e1c107e6d618e6")
ENDS = bytes.fromhex("f932433186182072008242104116d8f2")
PATH = b"path\texample.org/tool/cmd/tool\n"
MOD = b"mod\texample.org/tool\tv1.2.3\th1:x=\ndep\texample.org/lib\tv0.1.0\th1:y=\n"


def sized(text: bytes) -> bytes:
    """Return a text after its length in groups of seven bits."""
    size, digits = len(text), b""
    while size > 0x7F:
        size, digits = size >> 7, digits + bytes([size & 0x7F | 0x80])
    return digits + bytes([size]) + text


def block(lines: bytes, *, flags: int = 2, version: bytes = b"go1.24.1") -> bytes:
    return (MARK + bytes([8, flags])).ljust(32, b"\0") + sized(version) + sized(BEGINS + lines + ENDS)


def program(*parts: bytes, size: int = SMALLEST) -> bytes:
    """Return an ELF file with parts that begin at multiples of 16 bytes."""
    content = b"\x7fELF".ljust(64, b"\1")
    for part in parts:
        content += part + b"\2" * (-len(part) % 16)
    return content.ljust(size, b"\3")


def module_in(content: bytes, *, piece: int = 1 << 20) -> str:
    found = Program()
    chunks = [content[at : at + piece] for at in range(0, len(content), piece)]
    assert [*found.look_into(chunks)] == chunks
    return found.module


@pytest.mark.parametrize(
    ("parts", "module"),
    [
        ((block(PATH + MOD),), "example.org/tool"),
        ((block(PATH),), "example.org/tool/cmd/tool"),
        ((block(PATH + MOD + b"dep\tx\ty\tz\n" * 9000),), "example.org/tool"),
        ((block(PATH + MOD, version=b"devel go1.25-" + b"0" * 200),), "example.org/tool"),
        ((b"\4" * 8 + MARK, block(PATH + MOD)), "example.org/tool"),
        ((MARK, MARK + b"x" * 100, block(PATH + MOD)), "example.org/tool"),
        ((b"\4" * 8 + block(PATH + MOD),), ""),
        ((block(PATH + MOD, flags=0),), ""),
        ((block(b""),), ""),
        (((MARK + b"\x08\x02").ljust(32, b"\0") + b"\xff" * 100,), ""),
        (((MARK + b"\x08\x02").ljust(32, b"\0") + sized(b"go1.24") + b"\0",), ""),
    ],
)
def test_a_program_names_its_module(parts: tuple[bytes, ...], module: str) -> None:
    assert module_in(program(*parts)) == module


@pytest.mark.parametrize("size", [0, 20, 31, 32, 40, 41, 60])
def test_a_program_that_is_cut_has_no_module(size: int) -> None:
    content = program(block(PATH + MOD))
    assert module_in(content[: 64 + size]) == ""


def test_a_module_may_lie_across_any_border() -> None:
    content = program(b"\2" * 20_000, block(PATH + MOD), size=40_000)
    assert {module_in(content, piece=piece) for piece in (1000, 4096, 20_064, 20_070, 20_100, 40_000)} == {
        "example.org/tool"
    }
    assert module_in(content[:20_500], piece=1000) == "example.org/tool"


def test_the_block_of_a_real_program_is_read(data: Path) -> None:
    """The block was cut out of a program that Go 1.27.3 had built."""
    real = (data / "go" / "buildinfo").read_bytes()
    assert module_in(program(real)) == "example.org/hello"


def test_programs_are_packages_unless_a_distribution_has_them(tmp_path: Path) -> None:
    tool, other = program(block(PATH + MOD)), program(block(b"path\texample.org/other\n"), size=SMALLEST + 1)
    found = audited(
        tmp_path,
        layer(("usr/bin/tool", tool), "usr/bin/alias=>usr/bin/tool", ("usr/bin/old", other), ("d/text", b"x" + tool)),
        layer(
            *(("usr/bin/packed", other), ("var/lib/dpkg/info/packed.list", b"/usr/bin/packed\n")),
            *(("opt/tool", tool), "usr/bin/.wh.old"),
        ),
    )
    assert found.packages == {
        "golang/example.org/tool": 2 * len(tool),
        "golang/example.org/other": 0,
        "packed": len(other),
    }


@pytest.mark.parametrize("name", ["Zope.Interface", "zope_interface", "zope--interface", "ZOPE._interface"])
def test_a_package_of_python_has_one_name_however_it_is_spelt(name: str, tmp_path: Path) -> None:
    found = audited(
        tmp_path,
        layer(
            ("site/a.py", b"1"),
            ("site/b.py", b"22"),
            (f"site/{name.replace('--', '__')}-5.0.dist-info/RECORD", b"a.py,,\n"),
            (f"old/{name.replace('--', '__')}.egg-info/installed-files.txt", b"../../site/b.py\n"),
        ),
    )
    assert found.packages == {"pypi/zope-interface": 3}


# Secrets that packages ship.

KEY = PLANTED["private-key"].encode()
TOKEN = PLANTED["github-token"].encode()


def secrets_in(findings: list[AuditFinding]) -> dict[str, str]:
    return {one.path: one.severity for one in findings if one.kind == "secret"}


def digest(algorithm: str, content: bytes) -> bytes:
    return hashlib.new(algorithm, content, usedforsecurity=False).digest()


def test_a_secret_that_a_package_ships_is_a_minor_one(tmp_path: Path) -> None:
    md5 = digest("md5", KEY).hex()
    record = urlsafe_b64encode(digest("sha256", KEY)).rstrip(b"=").decode()
    sha1 = b64encode(digest("sha1", KEY)).decode()
    listed = ["a", "b", "c", "d", "e"]
    found = audited(
        tmp_path,
        layer(
            *((f"usr/share/{name}", KEY) for name in listed),
            *(("usr/share/changed", KEY + b"\n"), ("usr/share/own", KEY), "share->usr/share"),
            ("var/lib/dpkg/info/p0.md5sums", f"{'0' * 32}  usr/share/a\n".encode()),
            (
                "var/lib/dpkg/info/p1:amd64.md5sums",
                f"{md5}  share/a\n{md5}  usr/share/changed\nno  usr/share/b".encode(),
            ),
            ("var/lib/dpkg/status.d/p2.md5sums", f"{md5}  ./usr/share/b\n".encode()),
            ("lib/apk/db/installed", f"P:p3\nF:usr/share\nR:c\na:0:0:644\nZ:Q1{sha1}\nR:own\nZ:Q1???\n".encode()),
            ("usr/lib/p_4-1.dist-info/RECORD", f"../share/d,sha256={record},1\n../share/own,sha256=,\nx\n".encode()),
            ("usr/lib/p5-1.dist-info/RECORD", f"../share/e,md5={md5},1\n".encode()),
        ),
    )
    assert secrets_in(found.findings) == {
        **{f"/usr/share/{name}": "low" for name in "abcd"},
        **{f"/usr/share/{name}": "high" for name in ("e", "changed", "own")},
    }
    told = {one.path[-1]: one.text.rpartition(", ")[2] for one in found.findings if one.kind == "secret"}
    assert [told[name] for name in "abcd"] == [
        f"as the package {package} ships it" for package in ("p1", "p2", "p3", "pypi/p-4")
    ]


def test_what_was_hidden_or_written_over_is_not_as_it_was_shipped(tmp_path: Path) -> None:
    sums = f"{digest('md5', KEY).hex()}  a\n{digest('md5', KEY).hex()}  b\n".encode()
    found = audited(
        tmp_path,
        layer(("a", KEY), ("b", KEY), ("var/lib/dpkg/info/p.md5sums", sums)),
        layer(("a", KEY + TOKEN), ".wh.b"),
    )
    assert {one.severity for one in found.findings if one.kind == "secret"} == {"high"}


def test_databases_are_not_read_where_there_is_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orlop.inside.shipped.shipped_files", None)
    assert audited(tmp_path, layer(("a", b"1"), ("var/lib/dpkg/info/p.md5sums", b"0  a\n"))).size == 6


def test_a_secret_that_a_package_ships_fails_no_audit_for_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ORLOP_ROOT", str(tmp_path / "root"))
    sums = ("var/lib/dpkg/info/p.md5sums", f"{digest('md5', KEY).hex()}  a\n".encode())
    for number, (layers, status) in enumerate((((("a", KEY), sums), 0), ((("a", KEY), sums, ("b", KEY)), 8))):
        archive = tmp_path / f"{number}.tar"
        archive.write_bytes(image(layer(*layers)))
        assert run(["audit", "--archive", str(archive), "--fail-on", "secret"]) == status
        assert "ships it" in capsys.readouterr().out


# Caches.


def test_caches_of_package_managers_are_told_if_they_are_large(tmp_path: Path) -> None:
    large, small = b"\1" * (1 << 20), b"\1" * 1000
    places = {
        "/var/lib/apt/lists": "deb.example_Packages",
        "/var/cache/apt": "archives/x.deb",
        "/root/.cache/pip": "http/0/1",
        "/home/a/.npm/_cacache": "content-v2/x",
        "/srv/b/.m2/repository": "org/x.jar",
    }
    other = ["var/lib/aptitude/lists/x", "srv/cache/pip/x", "usr/var/lib/apt/lists/x", "root/.cache/pipx/y", "pip"]
    found = audited(
        tmp_path,
        layer(
            *((f"{folder[1:]}/{name}", large) for folder, name in places.items()),
            *((name, large) for name in other),
            *(("var/cache/apk/x", small), ("var/cache/dnf/gone", large)),
        ),
        layer("var/cache/dnf/.wh.gone", "root/.cache/pip/http/0/2=>root/.cache/pip/http/0/1"),
    )
    caches = [one for one in found.findings if one.rule == "package-cache"]
    assert {one.path: one.size for one in caches} == dict.fromkeys(places, 1 << 20)
    assert {(one.kind, one.severity, one.layer, one.seen) for one in caches} == {("waste", "low", 1, True)}


def test_remains_of_a_build_are_told_if_they_are_large(tmp_path: Path) -> None:
    large, small = b"\1" * (1 << 20), b"\1" * 1000
    places = {
        "/var/log": "apt/term.log",
        "/tmp": "a",
        "/var/tmp": "b/c",
        "/.git": "objects/0",
        "/srv/a/.git": "objects/1",
    }
    other = ["srv/tmp/x", "var/log.old/x", "srv/b.git/objects/x", "srv/c/.git/index", "tmpfile", "var/tmpx/y"]
    found = audited(
        tmp_path,
        layer(
            *((f"{folder}/{name}".lstrip("/"), large) for folder, name in places.items()),
            *((name, large) for name in other),
            ("srv/d/.git/objects/x", small),
        ),
    )
    remains = [one for one in found.findings if one.rule == "left-over"]
    assert {one.path: one.size for one in remains} == dict.fromkeys(places, 1 << 20)
    assert {(one.kind, one.severity, one.layer) for one in remains} == {("waste", "low", 1)}
    assert not [one for one in found.findings if one.rule == "package-cache"]


def test_what_no_package_has_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ORLOP_ROOT", str(tmp_path / "root"))
    status = b"Package: p\nStatus: install ok installed\nVersion: 1\n\n"
    listed = ("var/lib/dpkg/info/p.list", b"/a\n/c\n")
    lower = layer(
        ("var/lib/dpkg/status", status), listed, ("a", b"1" * 100_000), ("b", b"2" * 20_000), ("c", b"3" * 50_000)
    )
    archive = tmp_path / "made.tar"
    archive.write_bytes(image(lower, layer(("c", b"4" * 70_000))))
    assert run(["audit", "--archive", str(archive)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines if "package" in line] == [
        ["170kB", "package", "p"],
        ["20.1kB", "in", "no", "package"],
    ]
    archive.write_bytes(image(layer(("a", b"1"))))
    assert run(["audit", "--archive", str(archive)]) == 0
    assert "in no package" not in capsys.readouterr().out
