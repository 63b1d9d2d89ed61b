"""Links from a study's report to those of its runs."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

from clipdistill.report.html_page import section
from clipdistill.report.markdown import escape


def run_links(folder: Path, runs: Sequence[Path]) -> tuple[list[str], str] | None:
    """Markdown blocks and an HTML section; None when no run has a report yet.

    Args:
        folder: where the study's report lies. runs: folders of its runs, inside it.
    """
    links = [run.relative_to(folder).as_posix() for run in runs if (run / "report.html").is_file()]
    if not links:
        return None
    listed = "".join(f'<li><a href="{html.escape(one)}/report.html">{html.escape(one)}</a></li>' for one in links)
    text = ["## Runs", "\n".join(f"- [{escape(one)}](<{one}/report.md>)" for one in links)]
    return text, section("Runs", f"<ul>{listed}</ul>")
