"""``orlop completion``."""

from __future__ import annotations

from orlop.cli.declared import argument, command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orlop.cli.session import Session


@command(epilog="Example: orlop completion bash >~/.local/share/bash-completion/completions/orlop")
@argument("shell", choices=["bash", "zsh", "fish"])
def completion(session: Session, shell: str) -> int:
    """Print a completion script for a shell.

    It completes commands, options, and the names of images.
    """
    from orlop.cli.shell.completion import answer  # noqa: PLC0415 - only here

    del session
    return answer(f"{shell}_source")
