"""What `rank-teachers` reads from the command line and prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from rich.table import Table

from clipdistill.analysis.forecasting import SCORES
from clipdistill.errors import UserError
from clipdistill.running import terminal

COLUMNS = {
    "accuracy": "accuracy", "parameters": "parameters", "reached": "reached", "ridge_r2": "ridge R2", "cka": "CKA",
    "neighbours": "neighbours", "logme": "LogME", "margin_entropy": "margin entropy",
}  # fmt: skip


def suite_and_data(given: str | None) -> tuple[str, str] | None:
    """`--accuracy SUITE=DATA`; UserError for anything else."""
    if given is None:
        return None
    suite, equals, data = given.partition("=")
    if not equals:
        raise UserError(f"--accuracy {given}: write SUITE=DATA, such as zero_shot=imagefolder:data/val")
    return suite, data


def features_of(given: str) -> Literal["embedding", "grid"]:
    """`--features`; UserError for a word that isn't one."""
    if given == "embedding":
        return "embedding"
    if given == "grid":
        return "grid"
    raise UserError(f"--features {given}: there are embedding and grid")


def show_ranking(content: Mapping[str, Any]) -> None:
    """Print the teachers with each score and, in brackets, the rank by it; and how well that came out, if known."""
    fit, choose, held = content["parts"]
    chance, k = content["chance"]["neighbours"], content["settings"]["neighbours"]
    left = f", {content['left_out']} left out because some model couldn't read them" if content["left_out"] else ""
    print(
        f"{content['student']}, untrained, on {content['items']} pictures of {content['data']}{left}: {fit} fitted, "
        f"{choose} to choose the penalty, {held} held out; {k} neighbours agree by chance on {chance:.3f}"
    )
    table = Table(title="teachers: score (rank by it)", title_justify="left")
    # A column a teacher: scores are many, and a terminal of 80 columns would cut their names up.
    table.add_column("")
    for row in content["teachers"]:
        table.add_column(f"{row['name']}\n{row['origin']}", justify="right")
    for name in SCORES:
        table.add_row(COLUMNS[name], *(_cell(row, name) for row in content["teachers"]))
    console = terminal()
    console.print(table)
    if content["outcome"] is not None:
        console.print(_outcome_table(content["outcome"]))


def _cell(row: Mapping[str, Any], name: str) -> str:
    value, spread = row["scores"][name], row["sd"].get(name)
    if value is None:
        return "-"
    shown = f"{value / 1e6:.2f} M" if name == "parameters" else f"{value:.3f}"
    below = "" if spread is None else f"\n± {spread:.3f}"
    return f"{shown} ({row['ranks'][name]:g}){below}"


def _outcome_table(outcome: Mapping[str, Any]) -> Table:
    cells = ", ".join(f"{name} {sum(many) / len(many):.4g}" for name, many in outcome["cells"].items())
    table = Table(title=f"rank correlation with {outcome['metric']} of the students ({cells})", title_justify="left")
    for name in ("score", "Spearman", "95 %", "p", "more than accuracy", "disputed, right", "more than size",
                 "disputed, right"):  # fmt: skip
        table.add_column(name, justify="left" if name == "score" else "right")
    for row in outcome["scores"]:
        against = [_against(row["against"].get(baseline)) for baseline in ("accuracy", "parameters")]
        table.add_row(
            COLUMNS.get(row["score"], row["score"]), _number(row["rho"]), _between(row["interval"]), _number(row["p"]),
            *against[0], *against[1],
        )  # fmt: skip
    return table


def _against(found: Mapping[str, Any] | None) -> tuple[str, str]:
    if found is None:
        return "-", "-"
    return _number(found["difference"], sign=True), f"{found['disputed']}, {found['won']}"


def _number(value: float | None, sign: bool = False) -> str:
    if value is None:
        return "-"
    return f"{value:+.2f}" if sign else f"{value:.2f}"


def _between(interval: Any) -> str:
    return "-" if interval is None else f"{interval[0]:.2f} to {interval[1]:.2f}"
