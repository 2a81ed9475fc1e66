"""What a terminal may be shown: text from outside could hold its commands."""

from __future__ import annotations

from orlop.model.regex import regex

# Control characters start a terminal's escape sequences; the bidirectional ones let a name look like another.
_UNSAFE = regex("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_UNSAFE_BUT_NEWLINE = regex("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_UNSAFE_BUT_LAYOUT = regex("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def harmless(text: str) -> str:
    """Return a value as a terminal may show it: white space becomes spaces, other control characters U+FFFD."""
    return _UNSAFE.sub(lambda match: " " if match[0].isspace() else "\ufffd", text)


def harmless_json(text: str) -> str:
    """Return a JSON document as a terminal may show it: control characters in its strings become escapes."""
    return _UNSAFE_BUT_NEWLINE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def harmless_text(text: str) -> str:
    """Return a text of several lines as a terminal may show it: but for tabs, control characters become U+FFFD."""
    return _UNSAFE_BUT_LAYOUT.sub("\ufffd", text)


def harmless_lines(text: str) -> str:
    """Return lines as a terminal may show them: control characters, tabs too, become U+FFFD."""
    return _UNSAFE_BUT_NEWLINE.sub("\ufffd", text)
