"""Progress on a terminal: a bar for each layer."""

from __future__ import annotations

from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from orlop.cli.show.terminal import harmless
from orlop.model.progress import LayerDone, LayerExists

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Final

    from rich.progress import TaskID

    from orlop.model.progress import ProgressEvent

_MOST: Final = 100
"""How many bars there are at most, as long as layers end in their order."""


@contextmanager
def drawn() -> Iterator[Callable[[ProgressEvent], object]]:
    """Return a function that draws what it is told, on the standard error; the bars stay when the block ends."""
    console = Console(stderr=True)
    bars = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=console,
    )
    tasks: dict[str, TaskID] = {}
    sizes: dict[str, int] = {}

    def show(event: ProgressEvent) -> None:
        layer = harmless(event.layer)
        if isinstance(event, LayerExists):
            where = f" in {harmless(event.mounted_from)}, and shared from there" if event.mounted_from else ""
            console.print(f"{layer} is there already{where}", markup=False, highlight=False)
            return
        if layer not in tasks:
            tasks[layer] = bars.add_task(layer, total=None)
        if isinstance(event, LayerDone):
            bars.update(tasks[layer], total=sizes.get(layer, 0))
            while len(tasks) > _MOST and bars.tasks[0].finished:
                # Each bar is drawn again and again, and only the last ones are seen.
                oldest = bars.tasks[0]
                bars.remove_task(oldest.id)
                tasks.pop(oldest.description, None)
        else:
            sizes[layer] = event.current
            bars.update(tasks[layer], completed=event.current, total=event.total)

    with bars:
        yield show
