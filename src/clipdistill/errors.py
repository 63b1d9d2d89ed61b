"""The errors a user can mend: one line that names the file or field and the fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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
