"""How messages speak of a source of images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.model.values import dataclass

if TYPE_CHECKING:
    from orlop.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Words:
    """What messages call a source, and what they advise.

    ``name`` stands in a sentence: "the archive", "the registry ghcr.io". ``part`` is what one name leads to in it: a
    "member", a "blob". ``verb`` is what is done with it: "load", "pull". ``meanwhile`` ends the sentence "the layer …
    went away …", and ``advice`` says where a layer can be had that the source only points to. ``error`` is the class of
    what is wrong with the source as a whole.
    """

    name: str
    part: str
    verb: str
    meanwhile: str
    advice: str
    error: type[InvalidInput]
