"""What is written into an archive, whatever its form."""

from __future__ import annotations

from orlop.model.progress import LayerDone, LayerProgress
from orlop.model.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from orlop.model.digest import ImageID
    from orlop.model.image import Image
    from orlop.model.progress import Progress
    from orlop.model.reference import Reference


@dataclass(frozen=True, slots=True)
class SaveItem:
    """An image to be saved, under these names; ``parent`` is the one that the store knows."""

    image: Image
    references: tuple[Reference, ...]
    parent: ImageID | None


def told(chunks: Iterable[bytes], label: str, size: int, progress: Progress | None) -> Generator[bytes]:
    """Yield the bytes of a layer, and report them as they go out.

    Args:
        chunks: the bytes.
        label: what progress calls the layer.
        size: their number.
        progress: called after each chunk, and at the end.
    """
    done = 0
    for chunk in chunks:
        yield chunk
        done += len(chunk)
        if progress is not None:
            progress(LayerProgress(label, done, size))
    if progress is not None:
        progress(LayerDone(label))
