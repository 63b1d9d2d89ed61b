#!/usr/bin/env python3
"""Average the evaluations of runs over their seeds: one JSON file and Markdown tables.

usage: summarise.py RUN [RUN ...] --json docs/results/real.json

Runs of one recipe name are one group, a number of seeds. Each value is kept per seed, with mean and sample standard
deviation; `student - control` is the mean of the differences within a seed, since both share it.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

Values = dict[tuple[str, str, str], dict[int, float]]  # (role, data, metric) -> seed -> value
COSTS = ("parameters", "image_parameters", "text_parameters", "flops_per_pair")


def read(run: Path) -> tuple[str, int, dict[str, Any]]:
    """Recipe name, seed and evaluation of a run."""
    recipe = yaml.safe_load((run / "recipe.yaml").read_text(encoding="utf-8"))
    return recipe["name"], recipe["seed"], json.loads((run / "evaluation.json").read_text(encoding="utf-8"))["models"]


def gather(runs: Sequence[Path]) -> dict[str, tuple[Values, dict[str, Any]]]:
    """Recipe name -> (all values, cost of each role)."""
    groups: dict[str, tuple[Values, dict[str, Any]]] = {}
    for run in runs:
        name, seed, models = read(run)
        values, costs = groups.setdefault(name, ({}, {}))
        for role, model in models.items():
            costs[role] = {"name": model["name"], **{key: model[key] for key in COSTS if key in model}}
            for result in model["results"]:
                data = f"{result['evaluator']}: {result['data']}, n={result['n']}"
                for metric, value in result["metrics"].items():
                    values.setdefault((role, data, metric), {})[seed] = value
        for (role, data, metric), by_seed in list(values.items()):
            control = values.get(("control", data, metric), {})
            if role == "student" and seed in control:
                values.setdefault(("student - control", data, metric), {})[seed] = by_seed[seed] - control[seed]
    return groups


def spread(by_seed: Mapping[int, float]) -> dict[str, Any]:
    """Mean, sample standard deviation (none for one seed) and the values themselves."""
    numbers = [by_seed[seed] for seed in sorted(by_seed)]
    found: dict[str, Any] = {"mean": round(statistics.fmean(numbers), 5)}
    if len(numbers) > 1:
        found["sd"] = round(statistics.stdev(numbers), 5)
    return {**found, "seeds": {str(seed): round(by_seed[seed], 5) for seed in sorted(by_seed)}}


def table(values: Values) -> str:
    """A Markdown table of one group, in percent: a row a metric, a column a role."""
    roles = [r for r in ("teacher", "control", "student", "student - control") if any(key[0] == r for key in values)]
    lines = ["| data | metric | " + " | ".join(roles) + " |", "|---|---|" + "---|" * len(roles)]
    for data, metric in dict.fromkeys((data, metric) for _, data, metric in values):
        cells = []
        for role in roles:
            by_seed = values.get((role, data, metric))
            if not by_seed:
                cells.append("")
                continue
            found = spread(by_seed)
            sign = "+" if role == "student - control" else ""
            sd = f" ± {100 * found['sd']:.1f}" if found.get("sd") else ""
            cells.append(f"{100 * found['mean']:{sign}.1f}{sd}")
        lines.append(f"| {data} | {metric} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Read, write the JSON, print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    content: dict[str, Any] = {}
    for name, (values, costs) in gather(options.runs).items():
        results: dict[str, Any] = {}
        for (role, data, metric), by_seed in values.items():
            results.setdefault(role, {}).setdefault(data, {})[metric] = spread(by_seed)
        content[name] = {"models": costs, "results": results}
        print(f"### {name}\n\n{table(values)}\n")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
