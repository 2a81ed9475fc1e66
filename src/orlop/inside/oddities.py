"""What programs disagree on when they unpack layers, or what is to no purpose: kinds of `Finding`."""

from __future__ import annotations

from typing import Final

__all__ = ["KINDS"]

KINDS: Final = {
    "below-file": "an entry lies below a file; most engines refuse it, or put a directory in the file's place",
    "below-link": "an entry lies below a symbolic link of a lower layer: engines hide the link, umoci follows it",
    "below-own-link": "an entry lies below a link of its layer that leads to what the layer lacks; engines refuse it",
    "directory-made-anew": "a directory is hidden and made anew in one layer; overlay engines show its old content",
    "hidden-and-there": "a path is hidden and made anew in one layer; some engines refuse it",
    "hides-nothing": "a whiteout or an opaque marker hides nothing; it can be left out of the layer",
    "implied-attributes": "a directory has no entry in a layer; Docker and podman reset its mode and owner",
    "link-before-target": "a hard link comes before its target; most engines refuse it",
    "link-to-lower": "a hard link leads to a file of a lower layer; most engines refuse it",
    "link-to-nothing": "a hard link leads to nothing, and is left out",
    "link-with-attributes": "a hard link states other attributes than its target; the last ones count",
    "marker-in-hidden": "a whiteout lies in a directory that the same layer hides; some engines refuse it",
    "marker-without-directory": "a whiteout lies in a directory that is not there; some engines make the directory",
    "opaque-root": "the root is opaque: overlay engines ignore that and show what lies below",
    "outside": "a name leads out of the root, and is taken as if the root had no parent",
    "overlay-attribute": "an attribute of overlay file systems is set, which can hide files in some engines",
    "reserved-name": "a name is reserved for layers, and is left out; some programs show it",
    "twice": "a path is there twice in one layer; some engines refuse it, in others the first one counts",
    "whiteout-device": "a character device 0:0, which an overlay engine takes for a whiteout",
    "whiteout-of-nothing": "a whiteout names nothing, and is left out; engines refuse it",
}
"""Each kind, with a clause that says what it is and how programs read it."""
