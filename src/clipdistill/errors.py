"""The errors a user can mend: one line that names the file or field and the fix, and how the command says it."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable
from typing import Any


class UserError(Exception):
    """A mistake in a recipe, a path or a file that the user can mend.

    The command line prints `str(error)` as one line and exits with code 2; anything else that is raised is a bug
    of ours and keeps its traceback.
    """


class Interrupted(Exception):
    """SIGTERM or Ctrl-C stopped a training, after a checkpoint was written."""


def nearest(name: str, options: Iterable[str]) -> str:
    """Return `" Did you mean 'x'?"` for the closest of `options`, or an empty string when none is close."""
    found = difflib.get_close_matches(name, list(options), n=1, cutoff=0.5)
    return f" Did you mean '{found[0]}'?" if found else ""


def usage(error: Any) -> int:
    """Show a mistake in the command line itself: one line and where help is."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return 2
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "clipdistill"
    return complain(f"{error.format_message().rstrip('.')}; see `{command} --help`", 2)


def complain(message: str, code: int) -> int:
    """Print one line on stderr and return the exit code."""
    print(f"clipdistill: {' '.join(message.splitlines())}", file=sys.stderr)
    return code
