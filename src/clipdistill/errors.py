"""The errors a user can mend: one line that names the file or field and the fix, and how the command says it."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError


class UserError(Exception):
    """A mistake in a recipe, a path or a file that the user can mend.

    The command line prints `str(error)` as one line and exits with code 2; anything else that is raised is a bug
    of ours and keeps its traceback.
    """


class LostWorker(UserError):
    """A process that makes batches was killed from outside, or hangs."""


class Interrupted(Exception):
    """SIGTERM or Ctrl-C stopped a training, after a checkpoint was written."""


def nearest(name: str, options: Iterable[str]) -> str:
    """Return `" Did you mean 'x'?"` for the closest of `options`, or an empty string when none is close."""
    found = difflib.get_close_matches(name, list(options), n=1, cutoff=0.5)
    return f" Did you mean '{found[0]}'?" if found else ""


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """The first thing that is wrong, in one line: field, what is wrong, the nearest valid key."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        keys = _keys_at(model, first["loc"][:-1])
        hint = nearest(str(first["loc"][-1]), keys) or f" Valid keys: {', '.join(sorted(keys))}."
        return f"unknown key `{field}`.{hint}"
    if first["type"] == "missing":
        return f"`{field}` is missing; add it"
    message = first["msg"].removeprefix("Value error, ")
    given = first.get("input")
    shown = f" (got {given!r})" if isinstance(given, str | int | float | bool) else ""
    return f"`{field or 'recipe'}`: {message}{shown}"


def _keys_at(model: type[BaseModel], loc: Iterable[Any]) -> list[str]:
    current: Any = model
    for part in loc:
        if isinstance(part, int) or current is None:
            continue
        annotation = current.model_fields[part].annotation if part in current.model_fields else None
        current = _model_in(annotation)
    return list(current.model_fields) if current is not None else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    from pydantic import BaseModel  # here, so that a command that reads no recipe starts without it

    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        if (found := _model_in(inner)) is not None:
            return found
    return None


def usage(error: Any) -> int:
    """Show a mistake in the command line itself: one line and where help is."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return 2
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "clipdistill"
    return complain(f"{error.format_message().rstrip('.')}; see `{command} --help`", 2)


def complain(message: str, code: int) -> int:
    """Print one line on stderr and return the exit code. Of a word of 500 letters both ends are shown."""
    line = re.sub(r"\S{500,}", lambda word: f"{word[0][:200]}...{word[0][-60:]}", " ".join(message.splitlines()))
    print(f"clipdistill: {line}", file=sys.stderr)
    return code
