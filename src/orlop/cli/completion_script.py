"""``orlop completion``."""

from __future__ import annotations

import click

from orlop.cli.flags import Command


@click.command(cls=Command, epilog="Example: orlop completion bash >~/.local/share/bash-completion/completions/orlop")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script that teaches a shell the commands, the options and the names of images."""
    from orlop.cli.completion import answer  # noqa: PLC0415 - only here

    context.exit(answer(f"{shell}_source"))
