"""One of many processes in one store: ``python -m tests.crash.crowd ROOT NUMBER SECONDS`` begins with a line.

It does at random what users do: through the library with the store open all the time or for one call, and by the
command line. What it loaded under a name of its own and pinned is its own: nothing that others do may take it away.
At the end it prints how often it did what, and what was refused, as JSON. Any error that users should not meet ends it.
"""

from __future__ import annotations

import io
import json
import random
import subprocess
import sys
import time
from collections import Counter
from contextlib import nullcontext
from typing import TYPE_CHECKING

import orlop
from orlop import errors
from tests.crash.packed import layer, packed, whole

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from orlop.model.digest import ImageID
    from orlop.service.image_service import ImageService
    from orlop.store.layers import Layer

#: How many contents layers have among all processes, so that layers come and go under each other's hands.
_CONTENTS = 6
_OWN = 4
_SHARED = 10
_REFUSALS = {4, 5}


class Pipe(io.RawIOBase):
    """An archive that cannot be sought in."""

    def __init__(self, content: bytes) -> None:
        self._content = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        return self._content.readinto(memoryview(buffer)[:50_000])


class Member:
    """One of the crowd."""

    def __init__(self, root: str, number: int) -> None:
        self._root = root
        self._number = number
        self._chance = random.Random(number)
        self._layers = [layer(number, 20_000) for number in range(_CONTENTS)]
        self._images: ImageService | None = orlop.open(root) if number % 2 else None
        self._made = 0
        self._own: dict[str, bytes] = {}
        self.seen: Counter[str] = Counter()

    def run(self, seconds: float) -> None:
        """Do something until the time is over."""
        works: dict[Callable[[], object], int] = {
            self._load: 8,
            self._load_again: 4,
            self._look: 6,
            self._tag: 6,
            self._remove: 6,
            self._remove_by_id: 3,
            self._forget: 3,
            self._build: 4,
            self._prune: 3,
            self._collect: 3,
            self._list: 3,
            self._command: 1,
        }
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            (work,) = self._chance.choices([*works], [*works.values()])
            try:
                work()
            except (errors.NotFound, errors.Conflict) as error:
                # Loading needs nothing that another could take.
                if work in {self._load, self._load_again, self._look}:
                    raise
                self.seen[f"{work.__name__[1:]}: {type(error).__name__}"] += 1
            else:
                self.seen[work.__name__[1:]] += 1
        self._look()
        if self._images is not None:
            self._images.close()

    def _opened(self) -> AbstractContextManager[ImageService]:
        return orlop.open(self._root) if self._images is None else nullcontext(self._images)

    def _shared(self) -> str:
        return f"shared:{self._chance.randrange(_SHARED)}"

    def _load(self) -> None:
        """Load a new image, by file or by pipe, and make sure of it."""
        self._made += 1
        name = f"own-{self._number}:{self._made}"
        archive = packed(name, self._chance.sample(self._layers, self._chance.randrange(1, 4)))
        self._take(name, archive)
        with self._opened() as images:
            # Until it is pinned another may prune all; it is then loaded again.
            while True:
                try:
                    images.pin(name)
                except errors.NotFound:
                    self.seen["taken before it was pinned"] += 1
                    images.load(io.BytesIO(archive))
                else:
                    break
        self._own[name] = archive
        if len(self._own) > _OWN:
            self._forget()

    def _load_again(self) -> None:
        if self._own:
            self._take(*self._chance.choice([*self._own.items()]))

    def _take(self, name: str, archive: bytes) -> None:
        source = io.BytesIO(archive) if self._chance.random() < 0.5 else Pipe(archive)
        with self._opened() as images:
            report = images.load(source)  # type: ignore[arg-type]
        assert [str(reference) for image in report.images for reference in image.references] == [
            f"docker.io/library/{name}"
        ]

    def _look(self) -> None:
        """Make sure that what is its own is all there."""
        with self._opened() as images:
            for name in self._own:
                assert whole(b"".join(images.save_chunks([name]))), name
            for image in images.images(all=True):
                assert image.size >= 0

    def _forget(self) -> None:
        """Remove an own image."""
        if self._own:
            name = self._chance.choice([*self._own])
            del self._own[name]
            with self._opened() as images:
                images.remove(name, force=self._chance.random() < 0.5)

    def _tag(self) -> None:
        with self._opened() as images:
            if self._own and self._chance.random() < 0.8:
                images.tag(self._chance.choice([*self._own]), self._shared())
            else:
                images.tag(self._shared(), self._shared())

    def _remove(self) -> None:
        with self._opened() as images:
            images.remove(self._shared(), force=self._chance.random() < 0.5)

    def _remove_by_id(self) -> None:
        """Remove an image that is nobody's own: no such image becomes one again."""
        with self._opened() as images:
            free = [
                image
                for image in images.images(all=True)
                if not any(reference.path.startswith("library/own-") for reference in image.references)
            ]
            if free:
                images.remove(str(self._chance.choice(free).id), force=self._chance.random() < 0.7)

    def _build(self) -> None:
        """Make images step by step, as a program that builds them."""
        with self._opened() as images:
            held: list[Layer] = []
            parent: ImageID | None = None
            for content in self._chance.sample(self._layers, self._chance.randrange(1, 4)):
                held.append(images.layer_store.register(io.BytesIO(content), held[-1].chain_id if held else None))
                diff_ids = [str(one.diff_id) for one in held]
                config = {"rootfs": {"type": "layers", "diff_ids": diff_ids}, "author": f"{self._chance.randrange(99)}"}
                image = images.image_store.create(json.dumps(config).encode())
                if parent not in {None, image}:
                    try:
                        images.image_store.set_parent(image, parent)
                    except errors.InvalidInput as error:
                        # Another gave them to each other the other way round.
                        if "descends" not in str(error):
                            raise
                parent = image
            for one in held:
                images.layer_store.release(one)
            images.tag(str(parent), self._shared())

    def _prune(self) -> None:
        everything, size = self._chance.random() < 0.2, self._chance.choice([None, None, 100_000])
        with self._opened() as images:
            images.prune(all=everything, max_size=size, dry_run=self._chance.random() < 0.1)

    def _collect(self) -> None:
        with self._opened() as images:
            images.gc(dry_run=self._chance.random() < 0.1)

    def _list(self) -> None:
        with self._opened() as images:
            images.images()
            usage = images.df()
        assert usage.garbage + usage.dangling <= usage.size

    def _command(self) -> None:
        """Do one of these things as a person would."""
        own = self._chance.choice([*self._own]) if self._own else self._shared()
        arguments, statuses = self._chance.choice(
            [
                (["images", "-a"], {0}),
                (["tag", own, self._shared()], {0, *_REFUSALS}),
                (["rmi", self._shared(), self._shared()], {0, *_REFUSALS}),
                (["image", "prune", "-f"], {0}),
                (["gc"], {0}),
                (["df", "-v"], {0}),
                (["fsck"], {0}),
                (["save", "-o", "/dev/null", own], {0} if own in self._own else {0, *_REFUSALS}),
            ]
        )
        done = subprocess.run(
            [sys.executable, "-m", "orlop", "--root", self._root, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode in statuses, (arguments, done)


def main() -> None:
    """Wait for a line, then take part."""
    root, number, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    member = Member(root, number)
    sys.stdin.readline()
    member.run(seconds)
    print(json.dumps(member.seen))


if __name__ == "__main__":
    main()
