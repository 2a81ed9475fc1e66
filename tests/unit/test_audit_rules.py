"""Rules about configs, histories, names and directories fire on what was made for them, and not on what is near."""

from __future__ import annotations

import struct
import tarfile
from typing import TYPE_CHECKING, Any, Final

import pytest

import orlop
from orlop.inside.audit import audit
from orlop.inside.declared import step_findings
from tests.unit.images_made import image, layer

if TYPE_CHECKING:
    from pathlib import Path

    from orlop.inside.finding import AuditFinding

MIB: Final = 1 << 20


def found_in(tmp_path: Path, *layers: bytes, **how: Any) -> list[AuditFinding]:
    """Return what an audit of an image of these layers finds."""
    options = {name: how.pop(name) for name in ("contents", "visible_only") if name in how}
    (tmp_path / "image.tar").write_bytes(image(*(layers or (layer(("a", b"a")),)), **how))
    with orlop.ArchiveService(tmp_path / "image.tar") as archive, archive.files(None) as files:
        return audit(files, **options).findings


def told(findings: list[AuditFinding], rule: str) -> list[str]:
    return [one.path or one.text for one in findings if one.rule == rule]


def member(name: str, *, mode: int = 0o644, uid: int = 0, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.mode, info.uid, info.type = mode, uid, kind
    return info


# Configs.


@pytest.mark.parametrize(
    "volume", ["/", "/dev", "/dev/shm", "/proc/", "//sys/../sys/fs", "/etc", "/var/run/docker.sock"]
)
def test_a_volume_in_place_of_the_system_is_told(volume: str, tmp_path: Path) -> None:
    found = found_in(
        tmp_path, config={"Volumes": {volume: {}, "/data": {}, "/var/lib/x": {}, "/etc/app": {}, "/device": {}}}
    )
    assert [(one.kind, one.severity) for one in found if one.rule == "system-volume"] == [("risk", "medium")]


def test_very_many_volumes_are_not_all_listed(tmp_path: Path) -> None:
    found = found_in(tmp_path, config={"Volumes": {f"/dev/{number}": {} for number in range(1500)}})
    assert len(told(found, "system-volume")) == 1001
    assert "500 more" in told(found, "system-volume")[-1] + told(found, "system-volume")[0]


@pytest.mark.parametrize("entrypoint", [["/bin/sh", "-c", "app"], ["bash", "-c", "app", "x"]])
def test_an_entry_point_that_a_shell_runs_is_told(entrypoint: list[str], tmp_path: Path) -> None:
    assert told(found_in(tmp_path, config={"Entrypoint": entrypoint}), "shell-entrypoint")


@pytest.mark.parametrize("entrypoint", [["/bin/sh", "/start.sh"], ["/usr/bin/python3", "-c", "pass"], [], None])
def test_an_entry_point_that_no_shell_runs_is_not_told(entrypoint: list[str] | None, tmp_path: Path) -> None:
    assert not told(found_in(tmp_path, config={"Entrypoint": entrypoint}), "shell-entrypoint")


def test_steps_for_later_builds_are_told(tmp_path: Path) -> None:
    assert "2 more steps" in told(found_in(tmp_path, config={"OnBuild": ["RUN a", "COPY . ."]}), "on-build")[0]
    assert not told(found_in(tmp_path, config={"OnBuild": []}), "on-build")


LABELS: Final = {
    "created": (
        ["2026-01-01T00:00:00Z", "2026-01-01 00:00:00.5+02:00"],
        ["2026-01-01", "today", "2026-01-01T00:00:00"],
    ),
    "url": (["https://a.example/x"], ["a.example", "https://a b"]),
    "source": (["https://a.example/x.git", "git+ssh://a/b"], ["/a"]),
    "documentation": (["mailto:a@b.example"], ["see the wiki"]),
    "licenses": (
        ["MIT", "(MIT OR Apache-2.0) AND GPL-2.0+ WITH x-exception", "LicenseRef-own"],
        ["MIT, BSD", "MIT or BSD"],
    ),
    "base.digest": (["sha256:" + "0" * 64], ["latest", "sha256:"]),
    "version": (["anything at all"], []),
    "revision": (["not a hash"], []),
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("label", LABELS)
def test_labels_have_the_form_that_the_specification_requires(label: str, tmp_path: Path) -> None:
    key = f"org.opencontainers.image.{label}"
    right, wrong = LABELS[label]
    for value in [*right, ""]:
        assert not told(
            found_in(tmp_path, config={"Labels": {key: value, label: "of somebody else"}}), "label-format"
        ), value
    for value in wrong:
        assert told(found_in(tmp_path, config={"Labels": {key: value}}), "label-format"), value


PATHS: Final = {
    "fine": ({}, []),
    "a directory": ({"opt/bin": 0o777}, ["/opt/bin"]),
    "a sticky directory": ({"opt/bin": 0o1777}, ["/opt/bin"]),
    "above": ({"opt": 0o777, "opt/bin": 0o755}, ["/opt"]),
    "above, sticky": ({"opt": 0o1777, "opt/bin": 0o755}, []),
    "above, sticky, and missing": ({"opt": 0o1777}, ["/opt"]),
    "missing": ({"opt": 0o755}, []),
    "elsewhere": ({"opt": 0o755, "opt/lib": 0o777}, []),
}


@pytest.mark.parametrize("name", PATHS)
def test_directories_of_programs_that_anyone_may_write_to_are_told(name: str, tmp_path: Path) -> None:
    modes, expected = PATHS[name]
    made = layer(*(member(path, mode=mode, kind=tarfile.DIRTYPE) for path, mode in modes.items()))
    found = found_in(tmp_path, made, config={"Env": ["PATH=/bin:/opt/bin:/opt/bin"]})
    assert told(found, "writable-path") == expected


def test_search_paths_that_depend_on_a_directory_and_links_are_told(tmp_path: Path) -> None:
    made = layer(member("real", mode=0o777, kind=tarfile.DIRTYPE), "link->real", "loop->loop", ("file", b"x"))
    for path, expected in {"/link": ["/real"], "/loop": [], "/file/x": [], "": [""], "bin:/a": ["bin"]}.items():
        found = found_in(tmp_path, made, config={"Env": [f"PATH={path}"]})
        assert len(told(found, "writable-path")) == len(expected), path
        assert expected in ([""], ["bin"]) or told(found, "writable-path") == expected
    found = found_in(tmp_path, layer(member("usr/local/bin", mode=0o777, kind=tarfile.DIRTYPE)))
    assert told(found, "writable-path") == ["/usr/local/bin"]  # where engines look if nothing else is said
    assert not told(
        found_in(tmp_path, config={"Env": ["PATH=" + ":".join(f"/p{n}" for n in range(100_000))]}), "writable-path"
    )


# Steps.

STEPS: Final = {
    "step-adds-url": (
        [
            "ADD https://a.example/x / # buildkit",
            "/bin/sh -c #(nop) ADD http://a.example/x /x",
            "ADD --chown=1 https://a /",
        ],
        [
            "ADD --checksum=sha256:00 https://a.example/x / # buildkit",
            "/bin/sh -c #(nop) ADD file:0123 in / ",
            "RUN echo ADD https://a.example",
            "COPY https:/x /",
        ],
    ),
    "step-sudo": (
        ["RUN /bin/sh -c sudo make # buildkit", "|1 A=b /bin/sh -c cd x && sudo  make", "/bin/sh -c a;sudo b"],
        ["RUN /bin/sh -c apt-get install -y sudo curl", "RUN /bin/sh -c pseudo x", "RUN /bin/sh -c echo /etc/sudoers"],
    ),
    "step-upgrades": (
        ["RUN /bin/sh -c apt-get update && apt-get -y -q dist-upgrade", "/bin/sh -c apt full-upgrade"],
        ["RUN /bin/sh -c apt-get upgrade -y", "RUN /bin/sh -c echo dist-upgrade"],
    ),
    "step-updates-alone": (
        ["RUN /bin/sh -c apt-get update", "/bin/sh -c apt-get -qq update && rm -r /x", "RUN /bin/sh -c apk update"],
        [
            "RUN /bin/sh -c apt-get update && apt-get install -y curl",
            "RUN /bin/sh -c apk update && apk --no-cache add curl",
            "RUN /bin/sh -c update-ca-certificates",
            "/bin/sh -c apt-get update && ./install.sh",
        ],
    ),
}


@pytest.mark.parametrize("rule", STEPS)
def test_steps_are_told_by_their_words(rule: str, tmp_path: Path) -> None:
    right, near = STEPS[rule]
    layers = [layer((str(number), b"x")) for number in range(len(right) + len(near))]
    found = found_in(tmp_path, *layers, steps=[*near, *right])
    assert [one.layer for one in found if one.rule == rule] == [*range(len(near) + 1, len(layers) + 1)]
    assert {(one.kind, one.severity) for one in found if one.rule == rule} == {("fact", "info")}


def test_a_finding_about_a_step_holds_no_secret(tmp_path: Path) -> None:
    found = found_in(tmp_path, steps=["RUN /bin/sh -c sudo login PASSWORD=hunter2hunter2"])
    assert told(found, "step-sudo")
    assert "unter2" not in str(found)


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    "text", ["apt " + "-y " * 200_000, "ADD " + "--a " * 200_000, "sudo" * 200_000, "-c " * 200_000]
)
def test_the_time_for_a_step_grows_with_its_length_only(text: str, tmp_path: Path) -> None:
    (tmp_path / "image.tar").write_bytes(image(layer("a"), steps=[text]))
    with orlop.ArchiveService(tmp_path / "image.tar") as archive, archive.files(None) as files:
        assert len([*step_findings(files)]) == 0


# Names.

STRAYS: Final = (
    *("app/.main.py.swp", "app/.a.swo", "app/#x#", "app/main.py~", "etc/app.conf.bak", "etc/x.orig", "etc/x.dpkg-old"),
    *("app/.DS_Store", "srv/Thumbs.db", "app/Dockerfile", "app/.dockerignore", "usr/local/app/docker-compose.yml"),
)
SENSITIVE: Final = (
    *("app/.env", "app/.env.production", "root/.bash_history", "root/.zsh_history", "home/a/.psql_history"),
    *(
        "app/terraform.tfstate",
        "app/terraform.tfstate.backup",
        "etc/nginx/.htpasswd",
        "root/keys.kdbx",
        "app/k.jks",
        "k.p12",
    ),
)
NEITHER: Final = (
    *("usr/share/doc/x/Dockerfile", "usr/lib/x/a.orig", "app/node_modules/x/.env", "app/node_modules/x/Dockerfile"),
    *(
        "opt/v/lib/python3/site-packages/x/a.bak",
        "etc/passwd-",
        "app/.env.example",
        "app/env",
        "app/swp",
        "app/x.swp.py",
    ),
    *("app/Dockerfile.py", "app/.environment", "app/bash_history", "usr/share/x/test.p12", "app/.envrc", "app/a#b"),
)


def test_names_tell_what_nobody_meant_to_ship(tmp_path: Path) -> None:
    every = layer(*((name, b"x") for name in (*STRAYS, *SENSITIVE, *NEITHER)), "app/.git/", ("app/.git/config", b"x"))
    found = found_in(tmp_path, every, layer(".vscode/", ("b/.svn/entries", b"x"), "app/.hg->x"), contents=False)
    assert sorted(told(found, "stray-file")) == sorted(f"/{name}" for name in (*STRAYS, "app/.git", "b/.svn"))
    assert sorted(told(found, "sensitive-file")) == sorted(f"/{name}" for name in SENSITIVE)
    assert {(one.kind, one.severity) for one in found if one.rule == "stray-file"} == {("waste", "info")}


def test_empty_files_hold_no_secrets_and_no_rule_is_flooded(tmp_path: Path) -> None:
    assert not told(found_in(tmp_path, layer("app/.env", "root/.bash_history")), "sensitive-file")
    found = found_in(tmp_path, layer(*(f"a/{number}~" for number in range(1200))))
    assert len(told(found, "stray-file")) == 1001


@pytest.mark.parametrize(
    ("path", "mode", "uid", "severity"),
    [
        ("usr/bin/passwd", 0o4755, 0, "info"),
        ("bin/su", 0o4755, 0, "info"),
        ("usr/sbin/unix_chkpwd", 0o2755, 0, "info"),
        ("usr/bin/passwd", 0o4775, 0, "low"),
        ("usr/bin/passwd", 0o4755, 7, "low"),
        ("usr/bin/sudo", 0o4755, 0, "low"),
        ("opt/usr/bin/passwd", 0o4755, 0, "low"),
        ("usr/bin/passwd2", 0o4755, 0, "low"),
    ],
)
def test_programs_that_all_distributions_ship_setuid_are_minor(
    path: str, mode: int, uid: int, severity: str, tmp_path: Path
) -> None:
    found = found_in(tmp_path, layer(member(path, mode=mode, uid=uid)))
    assert [one.severity for one in found if one.rule == "setuid"] == [severity]


# Accounts.


def test_accounts_that_share_an_id_are_told(tmp_path: Path) -> None:
    users = b"root:x:0:0\nadmin:x:0:0\na:x:7:7\nb:x:7:7\nc:x:8:8\nc:x:8:8\n"
    found = found_in(tmp_path, layer(("etc/passwd", users), ("etc/group", b"root:x:0:\nx:x:9:\ny:x:9:\nz:x:10:\n")))
    texts = [(one.path, one.text) for one in found if one.rule == "shared-id"]
    assert texts == [
        ("/etc/group", "accounts share a group ID: 9: x, y"),
        ("/etc/passwd", "accounts share a user ID: 7: a, b"),
    ]


# Dumps.


def elf(kind: int, order: str = "<") -> bytes:
    return b"\x7fELF\2" + (b"\1" if order == "<" else b"\2") + b"\1" * 10 + struct.pack(f"{order}H", kind) + bytes(100)


DUMPS: Final = {
    "app/core": elf(4),
    "core.123": elf(4, ">"),
    "app/vgcore.9": elf(4),
    "x/app.core": elf(4),
    "app/java_pid1.hprof": b"JAVA PROFILE 1.0.2\0" + bytes(20),
    "app/x.dmp": b"MDMP" + bytes(20),
    "var/lib/systemd/coredump/core.app.0.zst": b"anything",
    "var/crash/_usr_bin_x.0.crash": b"ProblemType: Crash",
}
NO_DUMPS: Final = {
    "bin/core": elf(2),
    "lib/core": elf(3),
    "app/core.4": elf(2, ">"),
    "app/core.js": b"var a",
    "app/cores": elf(4),
    "short/core": b"\x7fELF",
    "app/a.core": b"a text",
    "app/b.dmp": b"",
    "var/crash/notes.txt": b"x",
    "srv/var/crash/x.crash": b"x",
}


def test_dumps_of_memory_are_told_in_all_layers(tmp_path: Path) -> None:
    every = layer(*((name, content) for name, content in {**DUMPS, **NO_DUMPS}.items()))
    found = found_in(tmp_path, every, layer("app/.wh.core"))
    dumps = [one for one in found if one.rule == "core-dump"]
    assert {one.path for one in dumps} == {f"/{name}" for name in DUMPS}
    assert {one.path for one in dumps if not one.seen} == {"/app/core"}
    assert {(one.kind, one.severity, one.layer) for one in dumps} == {("risk", "medium", 1)}
    assert {one.size for one in dumps if one.path == "/core.123"} == {118}
    assert "/app/core" not in told(found_in(tmp_path, every, layer("app/.wh.core"), visible_only=True), "core-dump")
    assert not told(found_in(tmp_path, every, contents=False), "core-dump")


# Directories.


def test_archives_beside_their_unpacked_copies_are_told(tmp_path: Path) -> None:
    large = b"\1" * MIB
    fires = {
        "src/app-1.0.tar.gz": ("src/app-1.0/README",),
        "opt/tool.zip": ("opt/tool/bin",),
        "one.tgz": ("one/file",),
        "wheels/Big_Lib-2.0-py3-none-any.whl": ("usr/lib/python3/site-packages/big_lib-2.0.dist-info/RECORD",),
        "pkg/hello_1.0-1_amd64.deb": ("var/lib/dpkg/info/hello:amd64.list",),
        "p/plain_2_all.deb": ("var/lib/dpkg/info/plain.list",),
    }
    other = {
        "alone/app-1.0.tar.gz": ("alone/app-1/README",),
        "w/other-2.0-py3-none-any.whl": (),
        "d/other_1_amd64.deb": (),
        "d2/hello_1.0-1_arm64.deb": (),
        "data/x.gz": ("data/x/y",),
        "var/cache/apt/archives/hello_1.0-1_amd64.deb": (),
        "e/empty.zip": ("e/empty",),
        "small/x.tar": ("small/x/y",),
    }
    contents = {name: b"x" if name.startswith("small") else large for name in (*fires, *other)}
    beside = [(name, b"x") for names in (*fires.values(), *other.values()) for name in names]
    found = found_in(tmp_path, layer(*contents.items(), *beside), contents=False)
    left = [one for one in found if one.rule == "left-over"]
    assert {one.path: one.size for one in left} == {f"/{name}": MIB for name in fires}
    assert {(one.kind, one.severity, one.layer) for one in left} == {("waste", "low", 1)}


def test_several_small_archives_of_a_directory_count_together(tmp_path: Path) -> None:
    half = b"\1" * (MIB // 2)
    found = found_in(tmp_path, layer(("s/a.tar", half), ("s/a/x", b"x"), ("s/b.tar.xz", half), ("s/b/x", b"x")))
    assert [(one.path, one.size) for one in found if one.rule == "left-over"] == [("/s", MIB)]


def test_other_remains_are_told(tmp_path: Path) -> None:
    large = b"\1" * MIB
    places = {
        "/root/.cache/ms-playwright": "root/.cache/ms-playwright/chrome/x",
        "/var/log/lastlog": "var/log/lastlog",
        "/var/lib/dpkg/": "var/lib/dpkg/status-old",
        "/var/cache/debconf/": "var/cache/debconf/templates.dat-old",
    }
    near = ["var/lib/dpkg/status", "var/cache/debconf/templates.dat", "var/lib/dpkg/info/x-old", "srv/var/log/lastlog"]
    found = found_in(tmp_path, layer(*((name, large) for name in (*places.values(), *near))))
    assert {one.path: one.size for one in found if one.rule == "left-over"} == dict.fromkeys(places, MIB)


def test_byte_code_is_a_fact_and_what_is_never_used_is_told(tmp_path: Path) -> None:
    half = b"\1" * (MIB // 2)
    base = (
        ("a/m.py", b"x"),
        ("a/__pycache__/m.cpython-311.pyc", half),
        ("a/__pycache__/n.cpython-311.opt-1.pyc", half),
    )
    (one,) = (one for one in found_in(tmp_path, layer(*base, ("b/n.pyc", half))) if one.rule == "byte-code")
    assert (one.kind, one.severity, one.size, one.path) == ("fact", "info", MIB, "")
    assert f"{MIB:,} bytes are byte code" in one.text
    assert f"{MIB // 2:,} bytes of it have no source" in one.text
    assert not told(found_in(tmp_path, layer(*base[:2])), "byte-code")
