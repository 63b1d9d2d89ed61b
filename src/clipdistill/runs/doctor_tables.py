"""What `clipdistill doctor` found, as tables and the commands that get the rest."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table


def print_findings(found: dict[str, Any]) -> None:
    """Print what `doctor` returns."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)  # a pipe has no width: commands must not be cut up
    facts = Table(title="this machine", show_header=False, title_justify="left")
    facts.add_row("Python", found["python"])
    facts.add_row("packages", ", ".join(f"{name} {seen or 'MISSING'}" for name, seen in found["packages"].items()))
    for extra, packages in _rows(found["extras"]):
        facts.add_row(f"extra [{extra}]".replace("[", r"\["), _extra_line(extra, packages))
    for name, value in _rows(found["accelerators"]):
        facts.add_row(name, ", ".join(value) or "none" if isinstance(value, list) else str(value))
    is_set = [f"{name}={value}" for name, value in found["offline"].items() if value]
    facts.add_row("offline", ", ".join(is_set) or "no variable set: missing weights are fetched when they are needed")
    for name, value in _rows(found["caches"]):
        facts.add_row(f"{name} cache", value)
    console.print(facts)
    for title in ("weights", "data"):
        if isinstance(found[title], dict):
            console.print(f"{title}: {found[title]['error']}", markup=False)
            continue
        table = Table("name", "recipes", "found", title=f"{title} that the recipes name", title_justify="left")
        for item in found[title]:
            table.add_row(item["name"], str(item["recipes"]), "yes" if item["found"] else "[yellow]no[/]")
        console.print(table)
        ways: dict[str, list[str]] = {}
        for item in found[title]:
            if not item["found"]:
                ways.setdefault(item["get"], []).append(item["name"])
        for get, names in ways.items():
            console.print(f"{', '.join(names)}:\n    {get}", markup=False, highlight=False, soft_wrap=True)


def _extra_line(extra: str, packages: Any) -> str:
    if not isinstance(packages, dict):
        return str(packages)
    seen = ", ".join(f"{name} {version or 'missing'}" for name, version in packages.items())
    return seen if all(packages.values()) else f"{seen}; pip install 'clipdistill\\[{extra}]'"


def _rows(value: Any) -> list[tuple[str, Any]]:
    return list(value.items()) if isinstance(value, dict) else []
