"""Links from a study's report to those of its runs, a line for what differs by seed alone."""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path

from clipdistill.report.html_page import section
from clipdistill.report.markdown import escape


def run_links(folder: Path, runs: Mapping[Path, str]) -> tuple[list[str], str] | None:
    """Markdown blocks and an HTML section; None when no run has a report yet.

    Args:
        folder: where the study's report lies. runs: folders of its runs, inside it, and what each is called:
            `ROW, REGIME: RECIPE, seed N`, or without a seed.
    """
    lines: dict[str, list[tuple[str, str]]] = {}
    for run, called in runs.items():
        if (run / "report.html").is_file():
            name, _, seed = called.rpartition(", seed ")
            link = (f"seed {seed}" if name else "report", run.relative_to(folder).as_posix())
            lines.setdefault(name or called, []).append(link)
    if not lines:
        return None
    text, body = [], []
    for name, links in lines.items():
        text.append(f"- {escape(name)}: {', '.join(f'[{said}](<{place}/report.md>)' for said, place in links)}")
        listed = ", ".join(f'<a href="{html.escape(place)}/report.html">{said}</a>' for said, place in links)
        body.append(f"<li>{html.escape(name)}: {listed}</li>")
    return ["## Runs", "\n".join(text)], section("Runs", f"<ul>{''.join(body)}</ul>")
