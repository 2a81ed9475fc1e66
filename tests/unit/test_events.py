"""Events: what happened to images, told to whoever asks, in whichever process."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile

import pytest

import orlop
from orlop import errors
from orlop.store.events import KEPT, LABELS
from tests.hostile.made import config, content, docker, entry

TINY = "sha256:8126e24b2462f21d011c30e61cf0a955bed4bdaf1731e35ef3add4927267f3b2"


@pytest.fixture
def images(tmp_path, data):
    with orlop.open(tmp_path / "root") as images:
        images.load(data / "dockerd-20.10-overlay2" / "tiny.tar")
        yield images


def told(images: orlop.ImageService, after: int) -> list[tuple[str, str, str]]:
    return [(event.action, event.actor, event.attributes.get("name", "")) for event in images.events(after)]


def root_tar() -> io.BytesIO:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("file"))
    out.seek(0)
    return out


def test_a_load_is_told_with_the_labels_of_the_image(images):
    (event,) = images.events()
    assert (event.kind, event.action, event.actor) == ("image", "load", TINY)
    assert event.attributes["name"] == TINY
    assert event.attributes["com.example.escape"] == "a<b & c>d"
    assert event.time > 0


def test_every_verb_is_told_as_docker_tells_it(images):
    start = images.last_event()
    images.tag(TINY, "other")
    images.remove("other")
    b"".join(images.save_chunks(["example/tiny:1.0"]))
    made = str(images.import_image(root_tar(), "imported:1"))
    images.remove("imported:1")
    images.remove(TINY, force=True)
    images.prune()
    *events, pruned = images.events(start)
    assert told(images, start)[:-1] == [
        ("tag", TINY, "other:latest"),
        ("untag", TINY, TINY),
        ("save", TINY, TINY),
        ("tag", made, "imported:1"),
        ("import", made, made),
        ("untag", made, made),
        ("delete", made, made),
        ("untag", TINY, TINY),
        ("delete", TINY, TINY),
    ]
    assert (pruned.action, pruned.actor, pruned.attributes) == ("prune", "", {"reclaimed": "0"})
    assert "com.example.escape" in events[1].attributes
    assert "com.example.escape" not in events[-1].attributes


def test_numbers_rise_and_an_event_is_given_once(images):
    start = images.last_event()
    images.tag(TINY, "a")
    images.tag(TINY, "b")
    first, second = images.events(start)
    assert start < first.number < second.number == images.last_event()
    assert images.events(first.number) == (second,)
    assert images.events(second.number) == ()


def test_what_fails_is_not_told(images):
    start = images.last_event()
    with pytest.raises(errors.NotFound):
        images.tag("nosuch", "x")
    with pytest.raises(errors.NotFound):
        images.remove("nosuch")
    with pytest.raises(errors.InvalidInput):
        images.load(io.BytesIO(b"junk"))
    assert images.events(start) == ()


def test_a_save_that_is_given_up_is_not_told(images):
    start = images.last_event()
    chunks = images.save_chunks([TINY])
    next(chunks)
    chunks.close()
    assert images.events(start) == ()


def test_only_the_newest_are_kept(images):
    with images._store.metadata.write():
        for number in range(KEPT + 5):
            images._store.events.pruned(number)
    events = images.events()
    assert len(events) == KEPT
    assert events[-1].attributes == {"reclaimed": str(KEPT + 4)}


def test_a_digest_that_goes_with_the_last_tag_is_not_told(images, data):
    images.load(data / "other-tools" / "skopeo-oci-archive.tar")
    (image,) = [one for one in images.images() if any(name.familiar == "tiny:1.0" for name in one.references)]
    assert [name.digest is None for name in image.references] == [True, False]
    start = images.last_event()
    assert len(images.remove("tiny:1.0").untagged) == 2
    assert [action for action, *_ in told(images, start)] == ["untag", "delete"]


def test_what_another_process_does_is_told(images):
    start = images.last_event()
    code = f"import orlop; orlop.open({images.root!r}).tag({TINY!r}, 'elsewhere')"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert told(images, start) == [("tag", TINY, "elsewhere:latest")]


def test_a_name_whose_image_is_gone_can_still_be_removed_and_is_told(images, caplog):
    image = images.inspect(TINY).image.id
    with images.store.metadata.write() as rows:
        rows.delete_image(image)
    start = images.last_event()
    images.remove("example/tiny:1.0")
    assert told(images, start) == [("untag", TINY, TINY)]
    assert not caplog.records


def labelled(size: int, times: int = 1) -> io.BytesIO:
    """An archive that lists one image of a long label some times."""
    listed = [entry(RepoTags=[f"a:{number}"]) for number in range(times)]
    raw = config(config={"Labels": {"long": "x" * size, "short": "y"}})
    return io.BytesIO(content(docker(c__json=raw, manifest__json=json.dumps(listed).encode())))


def test_an_image_is_told_once_for_each_load(images):
    start = images.last_event()
    report = images.load(labelled(100, 80))
    image = str(report.images[0].id)
    assert len(report.images) == 80
    assert [loaded.created for loaded in report.images] == [True] + [False] * 79
    assert told(images, start) == [("load", image, image)]


def test_long_labels_are_not_told(images):
    start = images.last_event()
    images.load(labelled(LABELS))
    images.tag("a:0", "b")
    images.remove("b")
    b"".join(images.save_chunks(["a:0"]))
    events = images.events(start)
    assert [event.action for event in events] == ["load", "tag", "untag", "save"]
    assert [[*event.attributes] for event in events] == [["name"]] * 4


def test_labels_that_are_just_short_enough_are_told(images):
    images.load(labelled(LABELS - 40))
    assert images.events()[-1].attributes["short"] == "y"


def test_events_are_read_in_batches(images):
    start = images.last_event()
    images.load(labelled(LABELS - 40))
    for number in range(10):
        images.tag("a:0", f"b:{number}")
    batches = []
    while batch := images.events(start, most=3 * LABELS):
        batches.append(len(batch))
        start = batch[-1].number
    assert sum(batches) == 11
    assert max(batches) <= 4
