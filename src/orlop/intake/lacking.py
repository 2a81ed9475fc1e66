"""What a source should have and lacks, and the store lacks too: the error that names all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orlop.errors import OrlopError
    from orlop.intake.offer import Offer, OfferedLayer
    from orlop.intake.source import ImageSource
    from orlop.intake.taking import L

_SHOWN: Final = 10


def absent(source: ImageSource[L], layer: OfferedLayer) -> OrlopError:
    """Return the error for a layer that a source lacks. It says where else the layer is, if that is known."""
    if not layer.urls:
        return source.missing(layer)
    words = source.words
    msg = (
        f"{words.name} does not carry the layer {layer.digest}, which is at {layer.urls[0]!r}; orlop does not fetch it:"
        f" {words.advice}"
    )
    return words.error(msg)


def lacks(source: ImageSource[L], offer: Offer, layers: Sequence[OfferedLayer]) -> OrlopError:
    """Return the error for layers that neither a source nor the store has: why, and which they all are.

    Args:
        source: where they should be.
        offer: what it holds, with the images that need them.
        layers: those that are lacking, one at least.
    """
    error = absent(source, layers[0])
    shown = [_described(offer, layer) for layer in layers[:_SHOWN]]
    more = f" and {len(layers) - _SHOWN} others" if len(layers) > _SHOWN else ""
    count = "1 layer is" if len(layers) == 1 else f"{len(layers)} layers are"
    msg = f"{error}. {count} not in the store either: {', '.join(shown)}{more}; {source.words.verb} what has them first"
    return type(error)(msg)


def _described(offer: Offer, layer: OfferedLayer) -> str:
    size = "" if layer.size is None else f" ({layer.size} bytes)"
    image = next(entry for entry in offer.images if layer in entry.layers)
    name = f" {image.references[0].familiar}" if image.references else ""
    short = layer.digest is not None and layer.digest.algorithm == layer.diff_id.algorithm
    return f"{layer.digest if short else layer.diff_id}{size} of the image{name} {image.image.id}"
