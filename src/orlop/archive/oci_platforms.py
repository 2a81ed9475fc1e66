"""Which platforms of an image go into a layout."""

from __future__ import annotations

from orlop.errors import InvalidInput, PlatformNotFound
from orlop.intake.platforms import chosen, matches
from orlop.model.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from orlop.model.platform import Platform

ALL = "all"
"""The word for every platform that an index names."""


@dataclass(frozen=True, slots=True)
class Platforms:
    """Those that were asked for, or all of them (``everything``), or what the store has, where none was asked for."""

    asked: tuple[Platform, ...] = ()
    everything: bool = False

    @classmethod
    def of(cls, asked: Platform | str | list[Platform] | list[str] | list[Platform | str] | None) -> Platforms:
        """Return what a caller asks for: a platform, a list of some, the word ``all``, or nothing.

        Raises:
            InvalidPlatform: a text is not a platform. WrongType: a value is none. InvalidInput: ``all`` stands beside
                others, or the list is empty.
        """
        if asked is None:
            return cls()
        several: Sequence[Platform | str] = asked if isinstance(asked, list) else [asked]
        if several == [ALL]:
            return cls(everything=True)
        if not several or ALL in several:
            msg = "name some platforms, or all of them with the one word 'all'"
            raise InvalidInput(msg)
        found = (chosen(one).asked for one in several)
        return cls(tuple(dict.fromkeys(platform for platform in found if platform is not None)))

    @property
    def is_one(self) -> bool:
        """Whether one platform was asked for, so that no index is needed."""
        return len(self.asked) == 1

    @property
    def are_several(self) -> bool:
        """Whether a whole index, or several of its platforms, were asked for."""
        return self.everything or len(self.asked) > 1

    def keeps(self, platform: Platform) -> bool:
        """Return whether an image of this platform is wanted."""
        return not self.asked or any(matches(wanted, platform) for wanted in self.asked)

    def require(self, name: str, here: Sequence[Platform], absent: Iterable[str] = ()) -> None:
        """Check that an image is here for all that was asked for.

        Args:
            name: what the user calls the image.
            here: the platforms for which it is in the store.
            absent: those that its index names, and for which it is not.

        Raises:
            PlatformNotFound: it is not.
        """
        for wanted in self.asked:
            if not any(matches(wanted, platform) for platform in here):
                found = ", ".join(map(str, here)) or "none"
                msg = (
                    f"image with reference {name} was found but its platform ({found}) does not match"
                    f" the specified platform ({wanted})"
                )
                raise PlatformNotFound(msg)
        lacking = ", ".join(dict.fromkeys(absent))
        if self.everything and lacking:
            msg = (
                f"{name} is not in the store for all of its platforms, it lacks {lacking}; load it whole, or name those"
                " that are there"
            )
            raise PlatformNotFound(msg)
