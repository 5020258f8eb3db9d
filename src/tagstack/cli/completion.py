"""`tagstack completion`: the completion script of a shell."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Literal

from cyclopts import App

from tagstack.cli.failures import UsageError

SHELLS = ("bash", "zsh", "fish")


def completion(shell: Literal["bash", "zsh", "fish"] | None = None, /) -> None:
    """Print the completion script of a shell.

    bash: eval "$(tagstack completion bash)"; zsh: write it to a folder of $fpath as _tagstack;
    fish: tagstack completion fish > ~/.config/fish/completions/tagstack.fish

    Parameters
    ----------
    shell
        the shell; the one that $SHELL names otherwise
    """
    from tagstack.cli.main import build

    sys.stdout.write(_script(build(), shell or _own_shell()))


def _script(app: App, shell: str) -> str:
    found = app.generate_completion(prog_name="tagstack", shell=shell)  # type: ignore[arg-type]
    return found if found.endswith("\n") else found + "\n"


def _own_shell() -> str:
    name = Path(os.environ.get("SHELL", "")).name
    if name not in SHELLS:
        raise UsageError(f"name the shell: {', '.join(SHELLS)} ($SHELL is {name!r})")
    return name
