"""The contract of `ReferenceStore`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orlop.errors import InvalidReference, ReferenceNotFound
from orlop.model.digest import Digest, ImageID
from orlop.model.reference import Reference
from orlop.testing.contract import Contract

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from orlop.store.references import ReferenceStore

_ONE, _TWO = ImageID.of(b"one"), ImageID.of(b"two")
_DIGEST = Digest.of(b"manifest")
_NAMES = (
    "docker.io/library/alpine:latest",
    "localhost/a:b",
    "registry.example.com:5000/team/app:1.0_x-y.z",
    f"docker.io/library/alpine@{_DIGEST}",
    f"docker.io/user/{'x' * 200}:{'t' * 128}",
)


class ReferenceStoreContract(Contract):
    """What every store of references does.

    Hook: ``open(folder)`` gives the store as a context manager, and the same content for the same folder again.
    """

    hooks = ("open",)

    def open(self, folder: Path) -> AbstractContextManager[ReferenceStore]:
        """Open the store whose content lies in a folder."""
        raise NotImplementedError

    @pytest.fixture
    def references(self, tmp_path: Path) -> Iterator[ReferenceStore]:
        """An empty store."""
        with self.open(tmp_path) as references:
            yield references

    @pytest.mark.parametrize("text", _NAMES)
    def test_a_name_leads_to_its_image(self, references: ReferenceStore, text: str) -> None:
        """Tags and digests are names; ``delete`` forgets one."""
        name = Reference.parse(text)
        assert references.set(name, _ONE) is None
        assert references.get(name) == _ONE
        assert references.of_image(_ONE) == (name,)
        assert references.of_repository(name.name) == ((name, _ONE),)
        references.delete(name)
        assert references.of_image(_ONE) == ()
        assert references.of_repository(name.name) == ()

    def test_a_name_moves_and_says_from_where(self, references: ReferenceStore) -> None:
        """A name points to one image; ``set`` gives the one it pointed to before, unless it is the same."""
        name = Reference.parse("a/b:c")
        references.set(name, _ONE)
        assert references.set(name, _ONE) is None
        assert references.set(name, _TWO) == _ONE
        assert references.get(name) == _TWO
        assert references.of_image(_ONE) == ()

    def test_an_image_has_many_names_sorted(self, references: ReferenceStore) -> None:
        """Names come sorted by repository and tag, those of other images not among them."""
        texts = ["b:2", "a:2", "b:10", "a:1", "z.example/a:1"]
        for text in texts:
            references.set(Reference.parse(text), _ONE)
        references.set(Reference.parse("a:3"), _TWO)
        assert [name.familiar for name in references.of_image(_ONE)] == ["a:1", "a:2", "b:10", "b:2", "z.example/a:1"]
        repository = references.of_repository("docker.io/library/a")
        assert [(name.familiar, image) for name, image in repository] == [("a:1", _ONE), ("a:2", _ONE), ("a:3", _TWO)]

    def test_a_repository_is_its_whole_name(self, references: ReferenceStore) -> None:
        """One repository's name may begin another's."""
        for text in ("a:1", "a/b:1", "ab:1", "x.example/a:1"):
            references.set(Reference.parse(text), _ONE)
        assert [name.familiar for name, _ in references.of_repository("docker.io/library/a")] == ["a:1"]

    def test_a_tag_and_a_digest_are_two_names(self, references: ReferenceStore) -> None:
        """Neither hides the other."""
        tag, digest = Reference.parse("a:1"), Reference.parse(f"a@{_DIGEST}")
        references.set(tag, _ONE)
        references.set(digest, _TWO)
        assert (references.get(tag), references.get(digest)) == (_ONE, _TWO)
        references.delete(tag)
        assert references.get(digest) == _TWO

    def test_what_is_not_there_is_an_error(self, references: ReferenceStore) -> None:
        """``get`` and ``delete`` of an unknown name change nothing."""
        references.set(Reference.parse("a:1"), _ONE)
        for text in ("a:2", "b:1", f"a@{_DIGEST}"):
            for call in (references.get, references.delete):
                with pytest.raises(ReferenceNotFound):
                    call(Reference.parse(text))
        assert references.get(Reference.parse("a:1")) == _ONE

    def test_a_bare_name_is_no_name_of_an_image(self, references: ReferenceStore) -> None:
        """Every call needs a tag or a digest."""
        name = Reference.parse("a/b")
        with pytest.raises(InvalidReference):
            references.set(name, _ONE)
        with pytest.raises(InvalidReference):
            references.get(name)
        with pytest.raises(InvalidReference):
            references.delete(name)

    def test_no_name_looks_like_an_id(self, references: ReferenceStore) -> None:
        """``sha256:<tag>`` would be taken for the beginning of an ID."""
        with pytest.raises(InvalidReference):
            references.set(Reference.parse("sha256:abc"), _ONE)

    def test_names_last(self, tmp_path: Path) -> None:
        """A second store over the same folder has the names of the first, at once."""
        name = Reference.parse("a:1")
        with self.open(tmp_path) as first:
            first.set(name, _ONE)
            with self.open(tmp_path) as second:
                assert second.get(name) == _ONE
                second.set(name, _TWO)
            assert first.get(name) == _TWO
