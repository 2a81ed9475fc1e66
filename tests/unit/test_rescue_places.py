"""Where data roots are found on a disk."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from orlop.errors import InvalidRoot
from orlop.foreign.disk import Folder
from orlop.foreign.places import likely_paths, likely_places
from orlop.foreign.root import open_root
from orlop.model import toml
from orlop.model.limits import DEFAULT_LIMITS
from orlop.service.rescue import look
from tests.foreign_roots import make_root, snapshot
from tests.open_files import open_below

if TYPE_CHECKING:
    from pathlib import Path

NAME = "made/image:0"


def names(path: Path) -> list[str]:
    return sorted(name for image in look(path).images for name in image.image.names)


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("place", "given"),
    [
        ("var/lib/docker", ""),
        ("var/lib/docker", "var/lib"),
        ("var/lib/docker/100000.100000", ""),
        ("var/snap/docker/common/var-lib-docker", ""),
        ("home/me/.local/share/docker", ""),
        ("home/me/.local/share/docker", "home"),
        ("home/me/.local/share/docker", "home/me"),
        ("root/.local/share/docker", ""),
        ("docker", ""),
        ("data/docker", ""),
        ("srv/engines/docker", ""),
        ("@/var/lib/docker", ""),
        ("ostree/deploy/os/var/lib/docker", ""),
        ("var/lib/docker/volumes/some/_data", ""),
        ("var/lib/docker/volumes/some/_data", "var/lib/docker/volumes/some"),
        ("version-pack-data/community/docker", ""),
    ],
)
def test_a_root_is_found_wherever_engines_keep_it(tmp_path, place, given):
    make_root(tmp_path / place, 1, {})
    assert names(tmp_path / given) == [NAME]


@pytest.mark.parametrize(
    "place",
    [
        "var/lib/containerd",
        "lib/containerd",
        "var/lib/rancher/k3s/agent/containerd",
        "var/lib/rancher/rke2/agent/containerd",
        "home/me/.rancher/k3s/agent/containerd",
        "home/me/.local/share/containerd",
        "var/snap/microk8s/common/var/lib/containerd",
        "var/lib/k0s/containerd",
        "var/lib/desktop-containerd/daemon",
        "var/lib/docker/volumes/kind/_data/lib/containerd",
    ],
)
def test_a_root_of_containerd_is_found(tmp_path, place):
    (tmp_path / place / "io.containerd.content.v1.content" / "blobs").mkdir(parents=True)
    with open_root(tmp_path) as found:
        assert found.data_roots == (str(tmp_path / place),)


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("etc/docker/daemon.json", json.dumps({"data-root": "/srv/x/a b"})),
        ("etc/docker/daemon.json", json.dumps({"graph": "/srv//x/./a b/"})),
        ("home/me/.config/docker/daemon.json", json.dumps({"data-root": "/srv/x/a b"})),
        ("var/snap/docker/current/config/daemon.json", json.dumps({"data-root": "/srv/x/a b"})),
        ("etc/containers/storage.conf", '[storage]\ndriver = "overlay"\ngraphroot = "/srv/x/a b"\n'),
        ("etc/containers/storage.conf", '[storage.options]\nadditionalimagestores = ["/none", "/srv/x/a b"]\n'),
        ("home/me/.config/containers/storage.conf", '[storage]\ngraphroot = "/srv/x/a b"\n'),
        ("etc/containerd/config.toml", 'version = 2\nroot = "/srv/x/a b"\n'),
    ],
)
def test_a_root_is_found_by_the_settings_of_engines(tmp_path, file, text):
    # The default place has one, too, that was in use before: nothing is searched for.
    make_root(tmp_path / "var" / "lib" / "docker", 1, {})
    make_root(tmp_path / "srv" / "x" / "a b", 2, {})
    assert names(tmp_path) == [NAME]
    settings = tmp_path / file
    settings.parent.mkdir(parents=True)
    settings.write_text(text)
    assert names(tmp_path) == [NAME, NAME, "made/image:1"]


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    "text",
    [
        '{"data-root": "/../../outside"}',
        '{"data-root": "/link"}',
        '{"data-root": "/\\u0000"}',
        '{"data-root": "/\\ud800"}',
        '{"data-root": ["/link"]}',
        '{"data-root": ' + "[" * 100_000,
        '{"data-root": ' + "9" * 100_000 + "}",
        '["data-root"]',
        "",
    ],
)
def test_settings_lead_nowhere_else(tmp_path, text):
    disk = tmp_path / "disk"
    make_root(disk / "var" / "lib" / "docker", 1, {})
    make_root(tmp_path / "outside", 2, {})
    (disk / "link").symlink_to("../outside")
    (disk / "etc" / "docker").mkdir(parents=True)
    (disk / "etc" / "docker" / "daemon.json").write_text(text)
    before = snapshot(tmp_path)
    assert names(disk) == [NAME]
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    "text",
    [b'[storage]\ngraphroot = ["/x"]', b"[[storage]]", b"storage = 1", b"a = " + b"[" * 5000, b"\xff", b"x." * 9000],
)
def test_settings_that_cannot_be_read_are_passed_over(tmp_path, text):
    make_root(tmp_path / "var" / "lib" / "docker", 1, {})
    (tmp_path / "etc" / "containers").mkdir(parents=True)
    (tmp_path / "etc" / "containers" / "storage.conf").write_bytes(text)
    (tmp_path / "etc" / "docker").mkdir()
    os.mkfifo(tmp_path / "etc" / "docker" / "daemon.json")
    assert names(tmp_path) == [NAME]


def test_settings_are_not_read_where_that_takes_all_memory(tmp_path, monkeypatch):
    make_root(tmp_path / "var" / "lib" / "docker", 1, {})
    (tmp_path / "etc" / "containers").mkdir(parents=True)
    text = f"{'.'.join(['a'] * 500)} = 1\n"
    (tmp_path / "etc" / "containers" / "storage.conf").write_text(text)
    refused = []
    loads = toml.loads

    def noted(given):
        try:
            return loads(given)
        except ValueError:
            refused.append(given)
            raise

    monkeypatch.setattr(toml, "loads", noted)
    assert names(tmp_path) == [NAME]
    assert refused == [text]


def test_a_place_that_settings_name_often_is_looked_at_once(tmp_path):
    (tmp_path / "srv").mkdir()
    (tmp_path / "etc" / "containers").mkdir(parents=True)
    stores = '"/srv", "srv//./", ".", "/", ' * 500
    (tmp_path / "etc" / "containers" / "storage.conf").write_text(
        f"[storage.options]\nadditionalimagestores = [{stores}]\n"
    )
    with Folder.open(str(tmp_path)) as top:
        places = []
        for folder in likely_places(top, likely_paths(top, DEFAULT_LIMITS)):
            with folder:
                places.append(folder.path)
    # Each of these also lies directly below the directory, or is it.
    assert {path: places.count(path) for path in places} == {
        str(tmp_path): 2,
        str(tmp_path / "srv"): 2,
        str(tmp_path / "etc"): 1,
    }


def test_a_search_follows_no_link_and_ends(tmp_path):
    make_root(tmp_path / "outside", 1, {})
    disk = tmp_path / "disk"
    (disk / "a" / "b").mkdir(parents=True)
    (disk / "a" / "link").symlink_to(tmp_path / "outside")
    (disk / "a" / "b" / "loop").symlink_to("..")
    deep = disk
    for _ in range(300):
        deep = deep / "deep"
    deep.mkdir(parents=True)
    with pytest.raises(InvalidRoot, match="nor a disk on which one was found"):
        look(disk)


def test_of_the_settings_of_many_users_no_more_is_read_than_of_a_few(tmp_path, monkeypatch):
    make_root(tmp_path / "srv/own/docker", 1, {})
    for number in range(10):
        path = tmp_path / f"home/user{number}/.config/containers/storage.conf"
        path.parent.mkdir(parents=True)
        path.write_text(f'[storage]\ngraphroot = "/srv/{number}"\n#{"x" * 1_000_000}\n')
    read: list[str] = []
    real = toml.loads

    def counted(text: str) -> dict[str, object]:
        read.append(text)
        return real(text)

    monkeypatch.setattr(toml, "loads", counted)
    with Folder.open(str(tmp_path)) as top:
        for folder in likely_places(top, likely_paths(top, DEFAULT_LIMITS)):
            folder.close()
    assert 0 < sum(map(len, read)) <= 4 << 20
    # The machine's own come first.
    (tmp_path / "etc/docker").mkdir(parents=True)
    (tmp_path / "etc/docker/daemon.json").write_text(json.dumps({"data-root": "/srv/own/docker"}))
    assert names(tmp_path) == [NAME]


@pytest.mark.parametrize("name", ["", "0f" * 32])
def test_many_directories_that_look_like_settings_of_docker_are_not_all_held_open(tmp_path, name):
    make_root(tmp_path / "docker", 1, {"a": b"x"})
    for number in range(50):
        (tmp_path / f"user{number}" / "containers" / name).mkdir(parents=True)
    with open_root(tmp_path) as root:
        assert len(root.images) == 1
        assert len(open_below(tmp_path)) < 40
    assert open_below(tmp_path) == []


@pytest.mark.parametrize("target", ["/srv/large/engine", "../../srv/large/engine"])
def test_a_root_behind_a_link_is_found_although_another_one_is_there(tmp_path, target):
    disk = tmp_path / "disk"
    make_root(disk / "srv/large/engine", 2, {"a": b"content"})
    make_root(disk / "home/ann/.local/share/docker", 1, {"b": b"other"})
    (disk / "var/lib").mkdir(parents=True)
    # That is a link on every disk of a system.
    (disk / "lib").symlink_to("usr/lib")
    assert len(look(disk).images) == 1
    assert not look(disk).notes
    (disk / "var/lib/docker").symlink_to(target)
    before = snapshot(disk)
    report = look(disk)
    assert len(report.images) == 3
    said = "is a link, which is not followed; if what it leads to is not listed, name that directory"
    assert report.notes == (f"{disk}/var/lib/docker {said}",)
    assert snapshot(disk) == before


def test_of_very_many_links_some_are_named(tmp_path):
    make_root(tmp_path / "var/lib/docker", 1, {"a": b"content"})
    (tmp_path / "home").mkdir()
    for number in range(25):
        (tmp_path / f"home/user-{number:02}").symlink_to("/srv")
    notes = look(tmp_path).notes
    assert len(notes) == 11
    assert notes[0].startswith(f"{tmp_path}/home/user-00 is a link")
    assert notes[-1] == "15 more links are not followed"


def test_a_link_that_leads_to_nothing_here_is_named_where_no_root_is_found(tmp_path):
    (tmp_path / "var/lib").mkdir(parents=True)
    (tmp_path / "var/lib/docker").symlink_to("/mnt/other-disk")
    with pytest.raises(InvalidRoot, match="/var/lib/docker is a link, which is not followed"):
        look(tmp_path)
