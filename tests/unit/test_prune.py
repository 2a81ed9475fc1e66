"""`prune`: what goes and what stays, by which rule, and what that frees. Random stores are in tests/property."""

from __future__ import annotations

import io
import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from orlop import errors, stores
from orlop.cli.main import run
from orlop.model.digest import DiffID, ImageID, chain_id
from orlop.model.reference import Reference
from orlop.service.image_service import ImageService
from orlop.store.events import EventLog
from orlop.store.local import local_store
from orlop.streams.tar_write import END, member_header, padding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from orlop.store.root import Store

SECOND = 10**9
NOW = 1_795_000_000


class Shop:
    """A store whose images are made by letters, at times that are set by hand."""

    def __init__(self, store: Store, clock: list[int]) -> None:
        self.store = store
        self.images = ImageService(store)
        self._clock = clock

    def image(
        self, name: str, layers: str, *tags: str, used: int = 0, parent: str | None = None, label: str | None = None
    ) -> str:
        """Make an image whose layers are named by letters; return its ID."""
        self._clock[0] = (NOW + used) * SECOND
        below = None
        handles = []
        for letter in layers:
            body = letter.encode() * 1000
            tar = member_header(letter, size=len(body), mode=0o644) + body + padding(len(body)) + END
            handles.append(self.store.layers.register(io.BytesIO(tar), below))
            below = handles[-1].chain_id
        image = self.store.images.create(
            json.dumps(
                {
                    "author": name,
                    "created": "2020-01-01T00:00:00Z",
                    "config": {"Labels": {label: ""}} if label else {},
                    "rootfs": {"type": "layers", "diff_ids": [str(handle.diff_id) for handle in handles]},
                }
            ).encode()
        )
        for handle in handles:
            self.store.layers.release(handle)
        self.store.images.set_last_used(image)
        if parent is not None:
            self.store.images.set_parent(image, ImageID.parse(parent))
        for tag in tags:
            self.store.references.set(Reference.parse(tag), image)
        return str(image)

    def reasons(self, **rules: Any) -> dict[str, str]:
        """Return why each image goes or stays, in a dry run, by its author's letter."""
        report = self.images.prune(dry_run=True, **rules)
        return {
            str(self.store.images.get(one.id).v1.author): f"{'-' if one.goes else '+'}{one.reason}"
            for one in report.images
        }

    def files(self) -> int:
        return sum(self.store.blobs.size_of(blob.digest).size for blob in self._rows("blobs")) + sum(
            self.store.blobs.toc_size_of(diff).size for diff in self._rows("diff_ids")
        )

    def _rows(self, kind: str) -> list[Any]:
        with self.store.metadata.read() as rows:
            return list(getattr(rows, kind)())


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    clock = [NOW * SECOND]
    with local_store(tmp_path / "root", now=lambda: clock[0]) as store:
        yield Shop(store, clock)


def test_what_has_a_tag_or_is_a_parent_stays_and_what_dangles_goes(shop: Shop) -> None:
    parent = shop.image("parent", "a")
    shop.image("named", "ab", "a:1", parent=parent)
    shop.image("dangling", "c")
    assert shop.reasons() == {"parent": "+parent", "named": "+named", "dangling": "-dangling"}
    report = shop.images.prune()
    assert (len(report.deleted), report.untagged) == (2, ())
    assert shop.reasons() == {"parent": "+parent", "named": "+named"}


def test_a_parent_that_only_what_goes_is_made_from_goes_along(shop: Shop) -> None:
    parent = shop.image("parent", "a")
    shop.image("dangling", "ab", parent=parent)
    assert shop.reasons() == {"parent": "-along", "dangling": "-dangling"}
    shop.images.pin(parent)
    assert shop.reasons() == {"parent": "+pinned", "dangling": "-dangling"}


def test_all_takes_all_but_what_is_pinned_and_what_that_is_made_from(shop: Shop) -> None:
    parent = shop.image("parent", "a", "base:1")
    shop.images.pin(shop.image("pinned", "ab", "a:1", parent=parent))
    shop.image("named", "c", "b:1")
    assert shop.reasons(all=True) == {"parent": "+parent", "pinned": "+pinned", "named": "-all"}
    report = shop.images.prune(all=True)
    # As with docker, the parent of an image that stays can lose its name.
    assert set(report.untagged) == {"base:1", "b:1"}
    assert shop.images.images("a:1")


def test_filters_say_which_images_may_be_touched(shop: Shop) -> None:
    shop.image("labelled", "a", "a:1", label="x")
    shop.image("plain", "b", "a:2")
    shop.image("dangling", "c", label="x")
    assert shop.reasons(filters=["label!=x"]) == {"labelled": "+named", "plain": "+named", "dangling": "+labels"}
    assert shop.reasons(all=True, filters=["label=x"]) == {
        "labelled": "-all",
        "plain": "+labels",
        "dangling": "-dangling",
    }
    assert set(shop.reasons(all=True, filters=["until=2019-01-01"]).values()) == {"+newer"}
    with pytest.raises(errors.QuotaExceeded):
        shop.images.prune(max_size=0, filters=["label=x"])
    assert shop.reasons(max_size=5000, filters=["label=x"])["plain"] == "+labels"


class TestKeepLast:
    def test_the_newest_images_of_each_repository_stay_with_all_their_tags_there(self, shop: Shop) -> None:
        shop.image("one", "a", "app:1", used=1)
        shop.image("two", "b", "app:2", used=2)
        shop.image("three", "c", "app:3", "app:latest", used=3)
        shop.image("other", "d", "other:1", used=0)
        expected = {"one": "-old", "two": "+newest", "three": "+newest", "other": "+newest"}
        assert shop.reasons(keep_last=2) == expected
        assert shop.reasons(keep_last=2, all=True) == expected
        assert shop.reasons(keep_last=1) == expected | {"two": "-old"}
        assert set(shop.images.prune(keep_last=1).untagged) == {"app:1", "app:2"}
        assert {image.repo_tags[0].familiar for image in shop.images.images()} == {"app:3", "other:1"}

    def test_newest_is_by_the_time_at_which_the_name_was_given(self, shop: Shop) -> None:
        shop.image("early", "a", "app:1", used=1)
        shop.image("late", "b", "app:2", used=2)
        shop.image("again", "a", "app:3", used=3)
        shop.images.tag("app:1", "app:stable")
        assert shop.reasons(keep_last=2) == {"early": "+newest", "late": "-old", "again": "+newest"}

    def test_an_image_that_is_new_in_one_repository_loses_its_old_names_in_another(self, shop: Shop) -> None:
        shop.image("both", "a", "app:1", "mirror:1", used=1)
        shop.image("new", "b", "app:2", used=2)
        report = shop.images.prune(keep_last=1)
        assert (report.untagged, report.freed) == (("app:1",), 0)
        assert {image.reason for image in report.images} == {"newest"}
        assert [name.familiar for name in shop.images.inspect("mirror:1").repo_tags] == ["mirror:1"]

    def test_what_dangles_is_nobody_s_newest_and_a_pinned_image_keeps_its_old_tags(self, shop: Shop) -> None:
        shop.images.pin(shop.image("pinned", "a", "app:1", used=1))
        shop.image("new", "b", "app:2", used=2)
        shop.image("dangling", "c", used=3)
        assert shop.reasons(keep_last=1) == {"pinned": "+pinned", "new": "+newest", "dangling": "-dangling"}
        assert shop.images.prune(keep_last=1).untagged == ()

    @pytest.mark.parametrize("rules", [{"keep_last": 0}, {"max_size": -1}])
    def test_a_number_that_makes_no_sense_is_refused(self, shop: Shop, rules: dict[str, int]) -> None:
        with pytest.raises(errors.InvalidInput):
            shop.images.prune(**rules)  # type: ignore[arg-type] # a table's column


class TestMaxSize:
    def test_what_was_not_used_for_longest_goes_until_the_rest_fits(self, shop: Shop) -> None:
        shop.image("old", "a", "a:1", used=1)
        shop.image("middle", "b", "a:2", used=2)
        shop.image("new", "c", "a:3", used=3)
        whole = shop.files()
        assert shop.reasons(max_size=whole) == dict.fromkeys(("old", "middle", "new"), "+fits")
        assert shop.reasons(max_size=whole - 1) == {"old": "-quota", "middle": "+fits", "new": "+fits"}
        report = shop.images.prune(max_size=whole // 2)
        assert (report.stored, report.stored - report.freed) == (whole, shop.files())
        assert shop.files() <= whole // 2
        assert [image.repo_tags[0].familiar for image in shop.images.images()] == ["a:3"]

    def test_a_save_makes_an_image_one_that_was_used(self, shop: Shop) -> None:
        shop.image("old", "a", "a:1", used=1)
        shop.image("new", "b", "a:2", used=2)
        shop._clock[0] += SECOND
        b"".join(shop.images.save_chunks(["a:1"]))
        assert shop.reasons(max_size=shop.files() - 1) == {"old": "+fits", "new": "-quota"}

    def test_an_image_whose_layers_others_need_stays_as_nothing_would_be_freed(self, shop: Shop) -> None:
        shop.image("base", "a", "base:1", used=1)
        shop.image("unique", "b", "b:1", used=2)
        shop.image("newest", "ac", "c:1", used=3)
        assert shop.reasons(max_size=shop.files() - 1) == {"base": "+shared", "unique": "-quota", "newest": "+fits"}

    def test_a_parent_goes_after_what_is_made_from_it(self, shop: Shop) -> None:
        base = shop.image("base", "a", "base:1", used=1)
        between = shop.image("between", "ab", used=1, parent=base)
        shop.image("child", "abc", "child:1", used=2, parent=between)
        shop.image("other", "d", "other:1", used=3)
        whole = shop.files()
        assert shop.reasons(max_size=whole - 1) == {
            "child": "-quota",
            "between": "-along",
            "base": "+fits",
            "other": "+fits",
        }
        assert shop.reasons(max_size=whole // 3)["base"] == "-quota"
        shop.images.pin("child:1")
        assert shop.reasons(max_size=whole - 1) == {
            "child": "+pinned",
            "between": "+parent",
            "base": "+parent",
            "other": "-quota",
        }

    def test_what_cannot_fit_is_refused_and_nothing_is_removed(self, shop: Shop) -> None:
        shop.images.pin(shop.image("pinned", "a", "a:1"))
        shop.image("newest", "b", "b:1")
        shop.image("dangling", "c")
        before = shop.files()
        for max_size, keep_last in ((10, None), (2500, 1)):
            for dry_run in (True, False):
                with pytest.raises(errors.QuotaExceeded, match="what must stay takes"):
                    shop.images.prune(max_size=max_size, keep_last=keep_last, dry_run=dry_run)
        assert shop.files() == before
        assert (errors.QuotaExceeded.exit_code, errors.QuotaExceeded.http_status) == (5, 409)

    def test_an_image_that_a_process_works_with_stays(self, shop: Shop, tmp_path: Path) -> None:
        shop.image("saved", "a", "a:1", used=1)
        shop.image("other", "b", "b:1", used=2)
        with local_store(tmp_path / "root") as another:
            chunks = ImageService(another).save_chunks(["a:1"])
            next(chunks)
            assert shop.reasons(max_size=shop.files() - 1) == {"saved": "+in-use", "other": "-quota"}
            with pytest.raises(errors.QuotaExceeded):
                shop.images.prune(max_size=0)
            chunks.close()
        assert shop.reasons(max_size=shop.files() - 1) == {"saved": "-quota", "other": "+fits"}


class TestLayers:
    def reasons(self, shop: Shop, **rules: Any) -> list[tuple[str, bool]]:
        return sorted((one.reason, one.freed > 0) for one in shop.images.prune(dry_run=True, **rules).layers)

    def test_a_layer_whose_content_stands_elsewhere_too_goes_and_frees_nothing(self, shop: Shop) -> None:
        shop.image("one", "ab")
        shop.image("two", "b", "a:1")
        assert self.reasons(shop) == [("needed", False), ("unneeded", False), ("unneeded", True)]

    def test_what_a_living_process_holds_stays_and_goes_when_it_lets_go(self, shop: Shop, tmp_path: Path) -> None:
        image = shop.image("one", "ab")
        chain = shop.store.images.get(ImageID.parse(image)).rootfs.chain_id()
        assert chain is not None
        with local_store(tmp_path / "root") as another:
            held = another.layers.get(chain)
            assert self.reasons(shop) == [("held", False), ("held", False)]
            report = shop.images.prune()
            assert (report.deleted, report.reclaimed, report.freed) == ((image,), 0, 0)
            assert len(another.layers.release(held)) == 2
        assert shop.files() == 0

    def test_what_only_a_process_that_has_ended_held_goes(self, shop: Shop) -> None:
        image = shop.image("one", "ab", "a:1")
        with shop.store.metadata.write() as rows:
            (top,) = [row for row in rows.chains() if row.depth == 2]
            other = shop.store.layers.register(io.BytesIO(END))
            shop.store.leases.hold([top.chain_id])
            # A program that kills itself leaves its lease, and here the content that it had just brought.
            rows.put_lease("dead", [top.chain_id, other.diff_id])
            shop.store.layers.release(other)
        shop.store.leases.close()
        shop.store.references.delete(Reference.parse("a:1"))
        shop.store.images.delete(ImageID.parse(image))
        report = shop.images.prune()
        assert shop.files() == 0
        assert report.stored == report.freed

    def test_what_nothing_needs_is_left_to_gc(self, shop: Shop) -> None:
        shop.image("one", "a", "a:1")
        with shop.store.metadata.write() as rows:
            rows.put_chain(rows.chains()[0].__class__(*_chain_on(rows)))
        assert self.reasons(shop) == [("loose", False), ("needed", False)]


def _chain_on(rows: Any) -> tuple[Any, ...]:
    """A layer on the only one there is, which no image stands on."""
    (row,) = rows.chains()
    chain = chain_id((DiffID.wrap(row.chain_id), row.diff_id))
    return chain, row.chain_id, row.diff_id, row.size * 2, 2


def test_a_blob_that_is_missing_frees_nothing(shop: Shop, tmp_path: Path) -> None:
    shop.image("one", "a")
    for folder in ("blobs", "toc"):
        for path in (tmp_path / "root" / folder / "sha256").iterdir():
            path.unlink()
    report = shop.images.prune()
    assert (report.freed, report.stored, len(report.deleted)) == (0, 0, 2)


def test_a_file_with_a_second_name_goes_and_frees_nothing(shop: Shop, tmp_path: Path) -> None:
    shop.image("one", "a", "a:1", used=1)
    shop.image("two", "b", "b:1", used=2)
    stores.copy(shop.store.root, tmp_path / "copy", link=True)
    report = shop.images.prune(max_size=shop.files() - 1)
    # The store is smaller, and the disk as full as it was, but for the table of contents.
    assert [image.repo_tags[0].familiar for image in shop.images.images()] == ["b:1"]
    assert report.left == shop.files() < report.stored - 1000
    assert report.freed < 1000


def test_a_damaged_image_goes_with_its_layers(shop: Shop, tmp_path: Path) -> None:
    image = shop.image("one", "a", "a:1")
    with closing(sqlite3.connect(tmp_path / "root" / "metadata.db")) as database:
        database.execute("UPDATE image SET config = x'00'")
        database.commit()
    report = shop.images.prune(all=True)
    assert report.deleted[0] == image
    assert (len(report.deleted), shop.files()) == (2, 0)


def test_a_time_of_use_that_cannot_be_read_counts_as_none(shop: Shop) -> None:
    image = ImageID.parse(shop.image("one", "a", "a:1", used=5))
    with shop.store.metadata.write() as rows:
        rows.set_metadata(image, "lastUsed", b"yesterday")
    (verdict,) = shop.images.prune(dry_run=True).images
    assert verdict.last_used == (NOW + 5) * SECOND
    assert verdict.why == "has a tag"


def test_a_pruning_is_one_step(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        shop.image(f"{number}", "abc"[number], f"a:{number}")
    before, events = shop.files(), shop.images.last_event()
    monkeypatch.setattr(EventLog, "pruned", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        shop.images.prune(all=True)
    assert (len(shop.images.images()), shop.files(), shop.images.last_event()) == (3, before, events)


# The command line


class Result(NamedTuple):
    """How one command ended."""

    status: int
    out: str
    err: str


@pytest.fixture
def call(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> Callable[..., Result]:
    monkeypatch.setenv("ORLOP_ROOT", shop.store.root)

    def call(*arguments: str, answer: bytes = b"") -> Result:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(answer)))
        status = run(arguments)
        out, err = capsysbinary.readouterr()
        return Result(status, out.decode(), err.decode())

    return call


def test_the_command_asks_tells_what_went_and_the_bytes_on_the_disk(shop: Shop, call: Callable[..., Result]) -> None:
    image = shop.image("one", "a")
    assert call("prune", answer=b"n\n").out.endswith("[y/N] Total reclaimed space: 0B\n")
    size = shop.files()
    lines = call("prune", answer=b"y\n").out.splitlines()
    assert lines[0] == "WARNING! This will remove all dangling images."
    assert lines[2] == f"deleted: {image}"
    assert lines[-1] == f"Total reclaimed space: {size / 1000:.3g}kB"
    assert call("prune", "-f") == Result(0, "Total reclaimed space: 0B\n", "")


@pytest.mark.parametrize(
    ("arguments", "warning"),
    [
        (["-a"], "all images that are not pinned."),
        (
            ["-a", "--keep-last", "1"],
            "all dangling images, and of each repository all tags but those of the newest image.",
        ),
        (
            ["--keep-last", "2", "--max-size", "1.5GB"],
            """\
all dangling images, and of each repository all tags but those of the 2 newest images.
Then it will remove images that were not used for longest, until 1.5GB are left.""",
        ),
    ],
)
def test_the_question_says_what_the_options_do(call: Callable[..., Result], arguments: list[str], warning: str) -> None:
    assert call("prune", *arguments).out.startswith(f"WARNING! This will remove {warning}\nAre you sure")


def test_a_dry_run_asks_nothing_and_says_why_of_each_image_and_layer(shop: Shop, call: Callable[..., Result]) -> None:
    shop.image("one", "a", "a:1")
    shop.image("two", "ab")
    out = call("prune", "--dry-run").out
    images, layers, total, _ = [part.splitlines() for part in out.replace("that frees", "\n\nthat frees").split("\n\n")]
    assert images[0].split() == ["IMAGE", "NAMES", "SIZE", "LAST", "USED", "VERDICT", "WHY"]
    assert sorted(line.split("   ")[-1].strip() for line in images[1:]) == [
        "has a tag",
        "has no tag, and no image is made from it",
    ]
    assert [line.split()[-7:] for line in layers[1:] if "goes" in line] == [
        ["goes", "no", "image", "that", "stays", "has", "it"]
    ]
    assert total == ["1 of 2 images and 1 of 2 layers would go; "]
    assert len(shop.images.images()) == 2


def test_a_name_that_an_image_loses_while_it_stays_is_told(shop: Shop, call: Callable[..., Result]) -> None:
    shop.image("both", "a", "app:1", "mirror:1", used=1)
    shop.image("new", "b", "app:2", used=2)
    assert (
        "is among the newest of a repository, but loses app:1\n" in call("prune", "--dry-run", "--keep-last", "1").out
    )


def test_programs_get_one_object_that_says_the_same_before_and_after(shop: Shop, call: Callable[..., Result]) -> None:
    shop.image("one", "a", "a:1")
    shop.image("two", "b")
    planned = json.loads(call("prune", "--dry-run", "--format", "json").out)
    assert [image["Reason"] for image in planned["Images"] if image["Goes"]] == ["dangling"]
    assert planned["Images"][0]["LastUsed"] == "2026-11-18T11:06:40Z"
    done = json.loads(call("prune", "-f", "--format", "json").out)
    assert (planned.pop("DryRun"), done.pop("DryRun")) == (True, False)
    assert planned == done
    assert call("prune", "--format", "json").status == 2


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1000", 1000),
        ("7B", 7),
        ("500MB", 500 * 10**6),
        ("500 mb", 500 * 10**6),
        ("1.5GiB", 3 << 29),
        ("2kB", 2000),
        ("2KiB", 2048),
        ("0.25TB", 25 * 10**10),
    ],
)
def test_sizes_are_bytes_or_have_a_unit(
    shop: Shop, call: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, text: str, size: int
) -> None:
    asked: list[object] = []
    report = shop.images.prune(dry_run=True)

    def prune(_: ImageService, **rules: object) -> object:
        asked.append(rules["max_size"])
        return report

    monkeypatch.setattr(ImageService, "prune", prune)
    assert call("prune", "--dry-run", "--max-size", text).status == 0
    assert asked == [size]


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5", "1.5B", "20gg", "1iB", "1e3", "1 000"])
def test_what_is_no_size_is_refused(call: Callable[..., Result], text: str) -> None:
    result = call("prune", "--dry-run", "--max-size", text)
    assert (result.status, result.out) == (2, "")
    assert "is not a size; give one such as 500MB or 1.5GiB" in result.err


def test_a_quota_that_cannot_be_kept_is_a_conflict(shop: Shop, call: Callable[..., Result]) -> None:
    shop.images.pin(shop.image("one", "a", "a:1"))
    result = call("prune", "-f", "--max-size", "1kB")
    assert (result.status, result.out) == (5, "")
    assert result.err.startswith("Error: what must stay takes ")
    assert "nothing was removed" in result.err
