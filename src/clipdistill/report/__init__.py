"""Reports: one or several RUN folders in, Markdown, one HTML page and a terminal table out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clipdistill.errors import UserError
from clipdistill.files import write_text

__all__ = ["build_report", "print_table"]


def build_report(runs: str | Path | Sequence[str | Path], out: str | Path | None = None) -> list[Path]:
    """Write report.md (pictures in report_files/ beside it) and report.html, and return their paths.

    Args:
        runs: one RUN folder or several; those that differ only by seed are summed up together.
        out: the folder to write into; the first run's own when left out.

    Raises:
        UserError: no run given, a folder that is none, a file in it that can't be read, or `out` that can't be written.
    """
    from clipdistill.report.html_page import html_report
    from clipdistill.report.markdown import markdown_report
    from clipdistill.report.records import read_run
    from clipdistill.report.tables import build_groups
    from clipdistill.report.words import report_title

    paths = [Path(runs)] if isinstance(runs, str | Path) else [Path(run) for run in runs]
    if not paths:
        raise UserError("report: give at least one run folder")
    groups = build_groups([read_run(path) for path in paths])
    folder = Path(out) if out is not None else paths[0]
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: can't be written into, it is a file; give a folder")
    title = report_title(groups)
    page, text = folder / "report.html", folder / "report.md"
    try:
        written = markdown_report(title, groups, folder), html_report(title, groups)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        # Numbers, curves and examples are drawn as they come; what breaks here is a file that someone changed.
        which = ", ".join(map(str, paths))
        reason = f"{type(error).__name__}: {error}"
        raise UserError(
            f"{which}: evaluation.json or examples.json isn't what a run writes ({reason}); evaluate the run again"
        ) from error
    write_text(text, written[0])
    write_text(page, written[1])  # last: where it is, all of the report is
    return [text, page]


def print_table(runs: str | Path | Sequence[str | Path]) -> None:
    """Print the results of one or several RUN folders side by side in the terminal."""
    from clipdistill.report.terminal import print_table as show

    show(runs)
