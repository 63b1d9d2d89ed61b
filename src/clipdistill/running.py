"""Running a command: its exit code, the one line that a mistake is, options, tables, and libraries that keep quiet."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from clipdistill.errors import Interrupted, UserError, complain, usage
from clipdistill.files import disk_trouble


def exit_code(app: typer.Typer, arguments: Sequence[str] | None = None) -> int:
    """Run one command of an app and return its exit code.

    A user's mistake is one line on stderr and code 2; an interruption says how to go on, code 130. Anything else that
    is raised is a bug of ours and keeps its traceback.

    Args:
        arguments: what stands behind `clipdistill`; None = this process's own.
    """
    _quiet_libraries()
    try:
        code = app(args=arguments, prog_name="clipdistill", standalone_mode=False)
        sys.stdout.flush()
        if code == 130:  # typer turns Ctrl-C into this code
            raise KeyboardInterrupt
        return code if isinstance(code, int) else 0
    except UserError as error:
        return complain(str(error), 2)
    except Interrupted as stop:
        return complain(str(stop), 130)
    except (KeyboardInterrupt, typer.Abort):
        return complain("stopped", 130)
    except BrokenPipeError:  # `clipdistill recipes | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if (message := disk_trouble(error)) is None:
            raise
        return complain(message, 2)
    except Exception as error:
        # Typer carries click's exceptions inside or takes them from beside it, by release; all have these two.
        if not (hasattr(error, "format_message") and hasattr(error, "exit_code")):
            raise
        return usage(error)


def show_runs(runs: Sequence[Path]) -> None:
    """Print what was measured in RUN folders, side by side."""
    from clipdistill.report.terminal import print_table

    print_table(runs, terminal())


def terminal() -> Any:
    """Where tables are printed."""
    from rich.console import Console

    known_width = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if known_width else 140)  # a pipe has no width, and 80 would cut names up


def read_options(pairs: Sequence[str] | None, option: str = "--option") -> dict[str, Any]:
    """`--option key=value`, each value YAML; UserError for one that isn't."""
    import yaml

    from clipdistill.yaml_files import parse_yaml

    found = {}
    for pair in pairs or ():
        key, equals, value = pair.partition("=")
        if not equals:
            raise UserError(f"{option} {pair}: write key=value")
        if option == "--option" and key in ("suite", "data"):
            raise UserError(f"--option {pair}: give it as --{key}")
        try:
            found[key] = parse_yaml(value)
        except yaml.YAMLError as error:
            raise UserError(f"{option} {pair}: the value is not valid YAML") from error
    return found


def _quiet_libraries() -> None:
    """Keep what the libraries below have to say to programmers off a user's terminal; -W and the variables win."""
    import logging
    import warnings

    for name in ("TRANSFORMERS_VERBOSITY", "HF_HUB_VERBOSITY", "DATASETS_VERBOSITY"):
        os.environ.setdefault(name, "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    logging.getLogger().setLevel(logging.ERROR)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
