"""The sentences and tables of an analysis: what HTML, Markdown and the terminal have in common."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from clipdistill.analysis.ablation import CASES, MEASURES
from clipdistill.report.content import Table
from clipdistill.report.tables import metric_label
from clipdistill.report.words import MINUS, PLUS_MINUS

QUOTED = (
    "Gap: |text - vision| of each layer, the mean over the layers. Changes are relative to the value before. "
    "Ranges (of one pair of runs): 95 % of draws of the questions, with the models as they are. The paper's are "
    "VL-BERT's on VCR (section 5.1)."
)
MAPS = "A cell is a head of a layer: the mean over the questions. All maps have one scale."
ABLATION = (
    "Per cent right. Attention shows where a model looks, and not what its answers hang on; this does. No picture: a "
    "model that always saw one is out of its depth. Another question's picture: each side is as in training, but they "
    "don't belong together. Masked: the words of the question (the hypothesis) are [MASK], options stay. In brackets "
    "the standard error of one run's share, or the deviation over runs."
)


def headline(content: Mapping[str, Any]) -> list[str]:
    """What was found, in sentences."""
    found = []
    shares = {role: _mean(content, role, "vision") for role in ("before", "after") if _of(content, role)}
    one = shares["after"]
    questions = f"{content['questions']:,} questions of {content['data']}"
    if content["comparison"]:
        mean = content["comparison"]["mean"]
        found.append(
            f"On {questions} the picture's importance goes from {shares['before']:.3f} to {one:.3f} "
            f"({'by pairs of runs ' if len(content['comparison']['pairs']) > 1 else ''}{_signed(mean['vision_up'])})."
        )
        if mean["gap_reduced"] is not None:
            way = "smaller" if mean["gap_reduced"] >= 0 else "larger"
            found.append(f"The gap between text and vision is {abs(100 * mean['gap_reduced']):.1f} % {way}.")
        if not _told_apart(content["comparison"]):
            found.append("Runs of both kinds are no further apart than chance could make them.")
    else:
        text = _mean(content, "after", "text")
        found.append(f"On {questions} {text:.3f} of the importance is the text's and {one:.3f} the picture's.")
    if len(_of(content, "after")) == 1:
        found.append("One run: the spread over seeds is not known.")
    return found


def quoted_table(content: Mapping[str, Any]) -> Table:
    """The two numbers of the paper, measured the same way, with what was printed."""
    comparison = content["comparison"]
    pairs, mean, sd, paper = (comparison[name] for name in ("pairs", "mean", "sd", "paper"))
    many = len(pairs) > 1
    rows = []
    for name, label in (("gap_reduced", "gap, smaller by"), ("vision_up", "vision, higher by")):
        spread = f" {PLUS_MINUS} {100 * sd[name]:.1f}" if many and sd[name] is not None else ""
        measured = "" if mean[name] is None else f"{_percent(mean[name])}{spread}"
        rows.append([label, measured, _range(pairs, name), f"{100 * paper[name]:g} %"])
    points = f"{100 * mean['vision_points']:+.1f}".replace("-", MINUS)
    spread = f" {PLUS_MINUS} {100 * sd['vision_points']:.1f}" if many else ""
    rows.append(["vision, points", f"{points}{spread}", _range(pairs, "vision_points"), ""])
    for label, name in (("gap", "gap"), ("vision", "vision")):
        before, after = _mean(content, "before", name), _mean(content, "after", name)
        rows.append([f"{label}, before and after", f"{before:.3f}, {after:.3f}", "", ""])
    if many:  # their spread says more than draws of the questions
        return Table(["", f"measured ({len(pairs)} pairs)", "the paper"], [[*row[:2], row[3]] for row in rows])
    return Table(["", "measured", "95 % of draws", "the paper"], rows)


def layer_table(content: Mapping[str, Any]) -> Table:
    """Text, vision and the special tokens' share, a row a layer, columns by role."""
    roles = [role for role in ("before", "after") if _of(content, role)]
    names = ("text", "vision", "special")
    header = ["layer", *(f"{name}{f', {role}' if len(roles) > 1 else ''}" for role in roles for name in names)]
    depth = max(len(model["layers"]["text"]) for model in content["models"])
    rows = [
        [str(layer), *(_cell(_of(content, role), name, layer) for role in roles for name in names)]
        for layer in range(depth)
    ]
    return Table(header, rows)


def ablation_table(content: Mapping[str, Any]) -> Table:
    """A row a case, a column a role; the drop beside."""
    roles = [role for role in ("before", "after") if _of(content, role)]
    rows = []
    for case, label in CASES.items():
        cells = []
        for role in roles:
            models = _of(content, role)
            values = [model["ablation"][case] for model in models]
            mean = statistics.fmean(values)
            spread = (
                statistics.stdev(values)
                if len(values) > 1
                else math.sqrt(mean * (1 - mean) / max(1, models[0]["questions"]))
            )
            drop = 100 * statistics.fmean(model["ablation"][case] - model["ablation"]["as_it_is"] for model in models)
            cells += [f"{100 * mean:.1f} ({100 * spread:.1f})", "" if case == "as_it_is" else _points(drop)]
        rows.append([label, *cells])
    measure = metric_label(MEASURES[content["suite"]])
    named = {"after": measure} if len(roles) == 1 else {role: f"{measure}, {role}" for role in roles}
    header = [f"{content['data']}, {content['questions']:,} questions"]
    return Table([*header, *(cell for role in roles for cell in (named[role], "change"))], rows)


def sources_table(content: Mapping[str, Any]) -> Table:
    """The models."""
    rows = []
    for model in content["models"]:
        tokens = ", ".join(f"{model['tokens'][name]:.1f} {name}" for name in ("words", "special", "regions"))
        seed = "" if model["seed"] is None else str(model["seed"])
        rows.append([model["role"] if content["comparison"] else "", model["path"], model["model"], seed, tokens])
    return Table(["", "run", "model", "seed", "tokens of a pair (mean)"], rows, numbers=5)


def counting(content: Mapping[str, Any]) -> list[str]:
    """How importance was counted, in sentences."""
    settings = content["settings"]
    asked = "the [CLS] query" if settings["queries"] == "cls" else "all queries (their mean)"
    summed = "summed" if settings["tokens"] == "sum" else "averaged"
    special = {
        "text": "[CLS], [SEP], [MASK] and VL-BERT's [END] count as text, so that both add up to 1.",
        "out": "[CLS], [SEP], [MASK] and VL-BERT's [END] are left out.",
        "renormalised": "[CLS], [SEP], [MASK] and VL-BERT's [END] are left out, and the rest is divided by its sum.",
    }[settings["special"]]
    if settings["tokens"] == "mean":
        special = special.replace(", so that both add up to 1", "")
    pairs = {"answers": {"right": "Question and right answer", "all": "Each question with all of its answers"}}
    read = pairs.get(content["reads"], {}).get(settings["pairs"], "Each text")
    found = [
        f"Modality importance (Cao et al. 2020): of each head the attention of {asked} to the tokens of a modality, "
        f"{summed}; a layer is the mean over its heads. {special}",
        f"{read} with the picture's regions; the whole image is a region.",
    ]
    carried = {model["model"]: model["carries"] for model in content["models"] if model["carries"]}
    found += [f"{name}: {text}." for name, text in carried.items()]
    found.append(
        "Attention is not influence: a token that is looked at much may add little, and what the words of deeper "
        "layers hold comes from the picture too. "
        + ("See the table above." if "ablation" in content["models"][0] else "`--ablate` measures influence.")
    )
    return found


def words(content: Mapping[str, Any]) -> str:
    """What the rows of words are."""
    layer = content["settings"]["layer"]
    which = "the mean over layers and heads" if layer is None else f"layer {layer}, the mean over heads"
    scores = (
        f" Word selection: the scores of {content['teacher']} (equation 5); words that can't be selected have none."
        if content["teacher"] else ""
    )  # fmt: skip
    seeds = " Of the first run of each kind." if len(content["models"]) > 2 else ""
    asked = "[CLS]" if content["settings"]["queries"] == "cls" else "all tokens, their mean"
    return f"Attention of {asked}: {which}. Each row has its own scale.{scores}{seeds}"


def spread(content: Mapping[str, Any]) -> str:
    """What stands behind the values, where there are several runs."""
    many = len(_of(content, "after")) > 1
    return f"Mean {PLUS_MINUS} standard deviation over the runs; bars: the least and the most." if many else ""


def left_out(content: Mapping[str, Any]) -> str:
    """Questions that couldn't be asked."""
    most = max(content["models"], key=lambda model: len(model["left_out"]))["left_out"]
    if not most:
        return ""
    return f"{len(most):,} questions are left out, such as {most[0]['id']}: {most[0]['reason']}."


def _of(content: Mapping[str, Any], role: str) -> list[dict[str, Any]]:
    return [model for model in content["models"] if model["role"] == role]


def _mean(content: Mapping[str, Any], role: str, name: str) -> float:
    return statistics.fmean(model[name] for model in _of(content, role))


def _cell(models: Sequence[Mapping[str, Any]], name: str, layer: int) -> str:
    values = [model["layers"][name][layer] for model in models if layer < len(model["layers"][name])]
    if not values:
        return ""
    deviation = f" {PLUS_MINUS} {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.3f}{deviation}"


def _told_apart(comparison: Mapping[str, Any]) -> bool:
    """Whether vision changed by more than two standard errors over the pairs of runs; one pair can't say."""
    values = [pair["vision_points"] for pair in comparison["pairs"]]
    if len(values) < 2:
        return True
    error: float = statistics.stdev(values) / math.sqrt(len(values))
    return abs(statistics.fmean(values)) > 2 * error


def _range(pairs: Sequence[Mapping[str, Any]], name: str) -> str:
    """Of the first pair."""
    bounds = pairs[0]["interval"][name]
    if not bounds:
        return ""
    unit = "" if name == "vision_points" else " %"
    return f"{100 * bounds[0]:.1f} to {100 * bounds[1]:.1f}{unit}".replace("-", MINUS)


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %".replace("-", MINUS)


def _signed(value: float | None) -> str:
    return "no share of it" if value is None else f"{100 * value:+.1f} %".replace("-", MINUS)


def _points(value: float) -> str:
    return f"{value:+.1f}".replace("-", MINUS)
