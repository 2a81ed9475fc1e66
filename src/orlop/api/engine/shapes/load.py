"""``POST /images/load``: what was loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orlop.api.engine.shapes.progress import message_line

if TYPE_CHECKING:
    from orlop.intake.report import LoadReport

_BY_ID: Final = "Loaded image ID: "


def loaded_lines(report: LoadReport) -> list[bytes]:
    """Write the lines that say what was loaded.

    Images without a name come in one line together; a load that did nothing has an empty one.
    """
    messages = report.messages()
    lines = [message_line(f"{message}\n") for message in messages if not message.startswith(_BY_ID)]
    unnamed = [message for message in messages if message.startswith(_BY_ID)]
    if unnamed or not messages:
        lines.append(message_line("".join(f"{message}\n" for message in unnamed)))
    return lines
