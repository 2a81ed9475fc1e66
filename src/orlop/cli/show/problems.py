"""What is wrong with a store, as people and programs read it."""

from __future__ import annotations

from orlop.cli.show import output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from orlop.service.stores import Problem


def line_of(level: str, message: str) -> str:
    """Return the one line that people read of a finding, whatever is in the name or the row that it is about."""
    return output.bounded(f"{level}: {' '.join(message.splitlines())}")


def described(problems: Iterable[Problem]) -> list[dict[str, str]]:
    """Return problems as records."""
    return [{"Level": one.level, "Kind": one.kind, "Subject": one.subject, "Message": one.message} for one in problems]
