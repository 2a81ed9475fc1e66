"""What other engines left on a disk, read without them: images, names and layers of their data roots.

`open` finds the data roots in a directory. Each of their images, or all, are a source of images: see
`ForeignRoot.source`, and `orlop.intake` for what can be done with one.
"""

from orlop.foreign.root import ForeignRoot
from orlop.foreign.root import open_root as open  # noqa: A004 - as `orlop.open`

__all__ = ["ForeignRoot", "open"]
