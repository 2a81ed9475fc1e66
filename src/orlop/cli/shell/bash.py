"""Completion in bash, which cuts words at colons and at signs, as names of images have them."""

from __future__ import annotations

import os

from click.shell_completion import BashComplete

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar, Final

    from click.shell_completion import CompletionItem

_BREAKS: Final = (":", "@")
_UNIT_SEPARATOR: Final = "\x1f"

_SOURCE: Final = """\
%(complete_func)s() {
    local IFS=$'\\n' kind value
    COMPREPLY=()
    while IFS=, read -r kind value; do
        case $kind in
        plain) COMPREPLY+=("$value") ;;
        dir) compopt -o dirnames ;;
        file) compopt -o default ;;
        esac
    done < <(IFS=$'\\x1f'; env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD \\
        %(complete_var)s=bash_complete "$1")
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class Bash(BashComplete):
    """Takes together what bash has cut, and leaves out of each completion what stands before the cut."""

    name: ClassVar[str] = "bash"
    source_template: ClassVar[str] = _SOURCE

    @staticmethod
    def _check_version() -> None:
        # The script says nothing to a bash that is too old for it (4.4).
        return

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the one to complete, and that one as far as it is written."""
        words = os.environ["COMP_WORDS"].split(_UNIT_SEPARATOR)
        joined: list[str] = []
        for word in words[: int(os.environ["COMP_CWORD"]) + 1]:
            if joined and (word.startswith(_BREAKS) or joined[-1].endswith(_BREAKS)):
                joined[-1] += word
            else:
                joined.append(word)
        *before, incomplete = joined if len(joined) > 1 else [*joined, ""]
        self._hidden = max(incomplete.rfind(character) for character in _BREAKS) + 1
        return before[1:], incomplete

    def format_completion(self, item: CompletionItem) -> str:
        """Return a line of the answer."""
        return f"{item.type},{item.value[self._hidden :]}"
