"""What Docker Engine 20.10 left behind when it was killed, and what comes out of it."""

from __future__ import annotations

import json
import sys
import tarfile
from collections import Counter

import pytest

import orlop
from orlop.cli.main import run
from orlop.errors import DigestMismatch
from orlop.foreign.root import open_root
from orlop.intake.taking import measuring
from orlop.model.limits import DEFAULT_LIMITS
from orlop.service.rescue import look, rescue_archive, rescue_store
from tests.foreign_roots import DOCKER, extract, folder, layer_rows, make_root, snapshot, unpack
from tests.unit.test_json import check
from tests.unpacked import unpack as unpack_tar

# What the engines do not keep: the content of a whiteout, and the map in a sparse file's content.
LOST = {"give/odd-whiteouts:1": 3, "give/odd-sparse-pax1:1": 1}


@pytest.fixture(params=DOCKER)
def engine(request):
    return request.param


@pytest.fixture
def root(data, engine, tmp_path):
    return unpack(data, engine, tmp_path / "disk" / "docker")


@pytest.fixture
def overlay2(data, tmp_path):
    return unpack(data, "engine-20.10-overlay2", tmp_path / "disk" / "docker")


@pytest.mark.sampled(2)
def test_images_names_parents_and_sizes_are_those_that_the_daemon_listed(data, engine, root):
    listed = json.loads((folder(data, engine) / "images-all.json").read_text())
    with open_root(root) as found:
        images = {image.id: image for image in found.images}
    for said in listed:
        image = images[said["Id"]]
        assert image.offered is not None
        assert sorted(image.names) == sorted(set(said["RepoTags"]) - {"<none>:<none>"})
        assert str(image.offered.parent or "") == said["ParentId"]
        assert image.size == said["Size"]
        assert image.offered.image.created.unix == said["Created"]
    # A step of the build under way had finished, and was not listed before.
    assert len(images) - len(listed) <= 1


@pytest.mark.sampled(3)
def test_every_layer_comes_out_that_can_and_the_others_are_named(data, engine, root):
    rows = {row.diff_id: row for row in layer_rows(folder(data, engine) / "layers.tsv") if row.verdict == "equal"}
    seen = {}
    lost: set[tuple[str, int]] = set()
    with open_root(root) as found, measuring(DEFAULT_LIMITS) as taking:
        source = found.source(taking)
        for image in found.images:
            assert image.offered is not None
            for number, layer in enumerate(image.offered.layers, 1):
                try:
                    seen[str(layer.diff_id)] = source.layer(layer).diff
                except DigestMismatch:
                    lost.update((name, number) for name in image.names)
    assert {diff_id: seen[diff_id].size for diff_id in rows} == {diff_id: row.size for diff_id, row in rows.items()}
    # Engines fail for more than that: links and directories that state a size, and sparse files of PAX 0.1.
    expected = {} if engine.endswith("fuse-overlayfs") else LOST
    assert lost <= set(expected.items())
    assert len(seen) == {"overlay2": 163, "fuse-overlayfs": 21}.get(engine.removeprefix("engine-20.10-"), 20)


@pytest.mark.sampled(4)
def test_a_rescue_leaves_the_root_as_it_is(root, tmp_path):
    before = snapshot(root)
    look(root, verify=True)
    rescue_store(tmp_path / "store", root)
    rescue_archive(tmp_path / "rich.tar", root, ["give/rich:1"])
    assert snapshot(root) == before


@pytest.mark.sampled(4)
def test_the_store_has_names_and_parents_and_what_is_lost_is_said(overlay2, tmp_path):
    report = rescue_store(tmp_path / "store", overlay2)
    said = {image.image.names[0]: image.problems[0].split(" cannot be rebuilt: ") for image in report.damaged}
    assert said == {
        "give/odd-whiteouts:1": [
            "layer 3 of 3: the layer sha256:b78e296465606ca4d15be420b260906efa879501721c7b6108dabf8b32759ada",
            'the whiteout ".wh.fender" had a content, which engines do not keep',
        ],
        "give/odd-sparse-pax1:1": [
            "layer 1 of 1: the layer sha256:87e94d2d9cfda5dd791c622b3037b13923c2f58cc0149ef69e1a71b74cc8d519",
            "its tar-split and its files fit each other, but they are not those of this layer",
        ],
    }
    with orlop.open(tmp_path / "store") as images:
        assert len(images.images(all=True)) == len(report.images) - len(report.damaged)
        committed = images.inspect("give/committed:1")
        assert images.inspect("give/rich:old").image == committed.image
        assert committed.image.parent == images.inspect("give/rich:1").image.id
    assert rescue_store(tmp_path / "store", overlay2) == report


@pytest.mark.sampled(3)
@pytest.mark.parametrize("engine", DOCKER)
def test_a_save_of_what_was_rescued_has_the_bytes_of_the_daemons(data, engine, tmp_path):
    root = unpack(data, engine, tmp_path / "docker")
    extract(folder(data, engine) / "save-rich.tar.zst", tmp_path / "saved")
    rescue_archive(tmp_path / "rich.tar", root, ["give/rich:1"], format="docker-20.10")
    with tarfile.open(tmp_path / "rich.tar") as tar:
        unpack_tar(tar, tmp_path / "ours")
    ours, theirs = (
        {str(path.relative_to(base)): path.read_bytes() for path in base.rglob("*") if path.is_file()}
        for base in (tmp_path / "ours", tmp_path / "saved")
    )
    assert ours == theirs
    assert not (tmp_path / ".rich.tar.rescue").exists()


def test_a_disk_is_searched_for_data_roots(overlay2, tmp_path):
    disk = tmp_path / "disk"
    (disk / "var" / "lib").mkdir(parents=True)
    overlay2.rename(disk / "var" / "lib" / "docker")
    assert look(disk).places == ("docker overlay2",)
    with pytest.raises(orlop.errors.InvalidRoot, match="not a data root"):
        look(disk / "var" / "lib" / "docker" / "containers")


def test_nothing_is_written_into_the_root(overlay2):
    for target in (overlay2 / "new.tar", overlay2 / "image" / "new.tar"):
        with pytest.raises(orlop.errors.InvalidInput, match="lies in"):
            rescue_archive(target, overlay2)
    with pytest.raises(orlop.errors.InvalidInput, match="lies in"):
        rescue_store(overlay2 / "store", overlay2)
    assert not (overlay2 / "store").exists()


def test_only_the_images_that_are_named_are_rescued(overlay2, tmp_path):
    report = rescue_store(tmp_path / "store", overlay2, ["give/same:two", "c1d4e8f9e058"])
    with orlop.open(tmp_path / "store") as images:
        assert [name.familiar for image in images.images() for name in image.references] == ["give/same:two"]
        assert len(images.images()) == len(report.images) == 2
    with pytest.raises(orlop.errors.ImageNotFound):
        look(overlay2, ["give/nothing"])


def test_the_command_prints_records_and_ends_with_6_where_something_is_lost(overlay2, capsysbinary):
    assert run(["rescue", str(overlay2), "give/same:1", "--format", "json"]) == 0
    records = [json.loads(line) for line in capsysbinary.readouterr().out.splitlines()]
    check("rescue", records)
    assert [(one["State"], one["Names"]) for one in records] == [
        ("complete", ["give/same:1", "give/same:two", "reg.example:5000/give/same:3"])
    ]
    assert run(["rescue", str(overlay2), "--verify", "give/odd-whiteouts:1"]) == 6
    assert b"1 image: 1 damaged" in capsysbinary.readouterr().out


@pytest.mark.sampled(3)
def test_twice_as_many_images_take_about_twice_the_work_to_list(tmp_path):
    calls = []
    for count in (75, 150):
        make_root(tmp_path / str(count), count, {})
        calls.append(_calls_of_a_look(tmp_path / str(count)))
    assert 75 < calls[0] < calls[1] < 2.5 * calls[0]


def _calls_of_a_look(root):
    calls: Counter[str] = Counter()
    sys.setprofile(lambda _frame, event, _what: calls.update((event,)))
    try:
        look(root)
    finally:
        sys.setprofile(None)
    return calls["call"] + calls["c_call"]


@pytest.mark.sampled(2)
def test_a_root_of_aufs_gives_what_the_same_layers_give_under_overlay2(overlay2):
    """No engine here writes one; aufs keeps its files in other directories, and all else is the same."""
    expected = {one.image.id: one.state for one in look(overlay2, verify=True).images}
    (overlay2 / "image" / "overlay2").rename(overlay2 / "image" / "aufs")
    (overlay2 / "aufs" / "diff").mkdir(parents=True)
    for entry in (overlay2 / "overlay2").iterdir():
        if (entry / "diff").is_dir():
            (entry / "diff").rename(overlay2 / "aufs" / "diff" / entry.name)
    found = look(overlay2, verify=True)
    assert found.places == ("docker aufs",)
    assert {one.image.id: one.state for one in found.images} == expected
    assert list(expected.values()).count("whole") > 5
