"""What next: where the student lies, how it is opened, and whether seeds or epochs would tell more."""

from __future__ import annotations

import math
import shlex
import statistics
from dataclasses import dataclass
from typing import Any

from clipdistill.report.by_epoch import epoch_numbers, epoch_values
from clipdistill.report.records import RunRecord, loss_terms
from clipdistill.report.tables import Group
from clipdistill.report.words import headline_rows

LEAST = 40
"""Logged values of a term from which its end is judged: four in each tenth of the training at least."""


@dataclass(frozen=True)
class Step:
    """A sentence, and lines to copy: `language` is "python" or "bash"."""

    said: str
    code: str = ""
    language: str = "bash"


def next_steps(group: Group) -> list[Step]:
    """Return what the reader can do with the runs; nothing for runs without a student."""
    run = next((run for run in group.runs if (run.path / "student").is_dir()), None)
    steps = [*_opening(run, len(group.runs))] if run is not None else []
    if said := longer(group):
        steps.append(Step(said))
    if run is not None and len(group.runs) == 1 and (run.path / "recipe.yaml").is_file():
        steps.append(_seeds(run))
    return steps


def longer(group: Group) -> str:
    """Whether a longer training would help, as far as the runs tell; empty where they tell nothing at all."""
    runs = [run for run in group.runs if run.metrics]
    if not runs:
        return ""
    steps = max(run.metrics[-1]["step"] for run in runs)
    warmup = (runs[0].recipe.get("train") or {}).get("warmup_steps") or 0
    if warmup >= steps > 1:
        return f"All {steps:,} steps lay in the warm-up of {warmup:,}: train longer, or lower `train.warmup_steps`."
    if said := _by_epoch(group):
        return said
    terms = loss_terms(row for run in runs for row in run.metrics)
    ends = {term.removeprefix("loss/"): [end for run in runs if (end := _end(run.metrics, term))] for term in terms}
    judged = {term: found for term, found in ends.items() if found}
    if not judged:
        return "Too few steps were logged to tell whether a longer training would help."
    falling = {term: found for term, found in judged.items() if all(end[2] for end in found)}
    if not falling:
        return (
            "The loss was level over the last tenth. The rate falls towards the end, so this alone doesn't say that a "
            "longer training wouldn't help."
        )
    parts = [f"{term} from {found[0][0]:.3g} to {found[0][1]:.3g}" for term, found in falling.items()]
    return f"Still falling over the last tenth: {', '.join(parts)}. More epochs may help."


def _by_epoch(group: Group) -> str:
    """From the students of kept epochs, by the first number of the headline."""
    rows, numbers = headline_rows(group), epoch_numbers(group)
    if not rows or len(numbers) < 2:
        return ""
    row = rows[0]
    means = {number: statistics.fmean(found) for number in numbers if (found := epoch_values(group, row, number))}
    if len(means) < 2:
        return ""
    last, before = list(means)[-1], list(means)[-2]
    best = max(means, key=lambda number: means[number])
    noise = 2 * math.sqrt(2 * means[last] * (1 - means[last]) / max(row.count, 1))
    what = f"{row.label} on {row.data}"
    if means[last] - means[before] > noise:
        rise = 100 * (means[last] - means[before])
        return f"{what} still rose by {rise:.1f} points in the last epoch: more of them may help."
    if means[best] - means[last] > noise:
        return (
            f"Epoch {best} was better than the last by {100 * (means[best] - means[last]):.1f} points of {what}. That "
            "is what it was picked by: look at it on other data before you take it."
        )
    return f"{what} was level over the last epochs: more of them are unlikely to help under the same schedule."


def _end(metrics: list[dict[str, Any]], term: str) -> tuple[float, float, bool] | None:
    """Means of the tenth before the last and of the last tenth, and whether it fell by more than noise would.

    Falling: by over two standard errors of the difference, and by over 1 % of the value. None with few values.
    """
    values = [float(row[term]) for row in metrics if isinstance(row.get(term), int | float)]
    values = [value for value in values if math.isfinite(value)]
    if len(values) < LEAST:
        return None
    tenth = len(values) // 10
    before, last = values[-2 * tenth : -tenth], values[-tenth:]
    means = statistics.fmean(before), statistics.fmean(last)
    noise = math.sqrt((statistics.variance(before) + statistics.variance(last)) / tenth)
    fall = means[0] - means[1]
    return *means, fall > 2 * noise and fall > abs(means[0]) / 100


def _opening(run: RunRecord, runs: int) -> list[Step]:
    """Where the student lies, and lines that open it."""
    path, folder = run.path.as_posix(), (run.path / "student").as_posix()
    which = "The student lies in" if runs == 1 else f"The student of seed {run.seed}, one of {runs}, lies in"
    lies = f"{which} `{folder}`, as a path from where the report was made."
    names = {each.name for each in (run.path / "student").iterdir()}
    if "open_clip_config.json" in names:
        steps = [
            Step(
                f"{lies} In Python:",
                f'from clipdistill import embed_images, embed_texts, load_model\n\nmodel = load_model("{path}")\n'
                'pictures = embed_images(model, ["picture.jpg"])  # [1, D], of length 1\n'
                'texts = embed_texts(model, ["a caption"])',
                "python",
            ),
        ]
        if "text_tower" not in names:  # open_clip finds that folder from inside the student's alone
            alone = (
                f'import open_clip\n\nname = "local-dir:{folder}"\n'
                "model, _, preprocess = open_clip.create_model_and_transforms(name)"
            )
            steps.append(Step("Without this package:", alone, "python"))
    else:
        opened = f'from clipdistill.kinds import open_trained\n\nmodel = open_trained("{path}")'
        steps = [Step(f"{lies} In Python:", opened, "python")]
    suites = [str(each.get("suite")) for each in run.recipe.get("evaluate") or () if isinstance(each, dict)]
    suites = [suite for suite in suites if suite != "likeness"]  # it needs the teacher beside
    if suites:
        suite = "retrieval" if suites[0] == "petri" else suites[0]
        measured = f"clipdistill evaluate {shlex.quote(path)} --suite {suite} --data DATA"
        steps.append(Step("On data of your own (DATA is a path, or FORMAT:PATH@SPLIT):", measured))
    return steps


def _seeds(run: RunRecord) -> Step:
    """One seed says nothing of the spread: the commands that make another, and set the two side by side."""
    path = run.path.as_posix()
    try:
        seed = int(run.seed) + 1
    except (TypeError, ValueError):
        seed = 1
    other = f"{path.rstrip('/')}-seed{seed}"
    augment = (run.recipe.get("data") or {}).get("augment") or {}
    stored = any(isinstance(each, dict) and each.get("store") for each in run.recipe.get("teachers") or ())
    views = f" data.augment.seed={run.seed}" if stored and augment.get("seed") is None else ""  # the store's views
    train = f"clipdistill train {shlex.quote(f'{path}/recipe.yaml')} seed={seed}{views} --out {shlex.quote(other)}"
    both = f"clipdistill report {shlex.quote(path)} {shlex.quote(other)} --out {shlex.quote(f'{path}-seeds')}"
    return Step(
        "One seed. Others show how far luck moves these numbers; three are few, and more than one:", f"{train}\n{both}"
    )
