"""`clipdistill analyse`: models in, an analysis (numbers, figures, one page) out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clipdistill.analysis.ablation import ablate
from clipdistill.analysis.comparison import compare, gap, layer_values, vision
from clipdistill.analysis.importance import ImportanceOptions
from clipdistill.analysis.opening import TASKS, Opener, Questions, Subject, open_data, subjects
from clipdistill.analysis.pages import write_pages
from clipdistill.analysis.reading import LABELS, Importance, read_importance
from clipdistill.analysis.words import Attention, require_layer, selection_scores, word_attention
from clipdistill.engine.tracking import LaterMeter
from clipdistill.errors import UserError
from clipdistill.evaluate.suites.fusion_answers import without_head
from clipdistill.evaluate.suites.questions import Answered, missing
from clipdistill.files import require_writable, write_json

SHOWN = 4
"""Questions whose words are shown unless it is said."""


def analyse(
    runs: str | Path | Sequence[str | Path],
    data: str,
    out: str | Path,
    *,
    against: str | Path | Sequence[str | Path] = (),
    count: int | None = None,
    show: int | Sequence[str] = SHOWN,
    words: str | None = None,
    layer: int | None = None,
    ablation: bool = False,
    options: ImportanceOptions | None = None,
    regions: Path | None = None,
    batch_size: int = 32,
) -> dict[str, Any]:
    """Analyse what fusion models attend to, and write analysis.json, report.html and report.md into a folder.

    Args:
        runs: RUN folders, or folders of models; several are seeds of one recipe. against: as many to compare with, in
            pairs by seed where all seeds differ, else in the order given.
        data: questions, as a path or format:path@split. count: draw so many of them; None = all.
        show: ids of questions, or how many of the first, whose words are shown with the first model (and the first it
            is compared with). words: a teacher's name, or a store of questions' targets, whose scores stand beside.
        layer: whose attention on words is shown; None = the mean over layers.
        ablation: measure what answers lose without a modality, too.
        regions: folder of a store of the pictures' regions; None = a run's own, made if need be.
        batch_size: pairs at once.

    Returns:
        What analysis.json holds.

    Raises:
        UserError: models without attention over both modalities or without the head, other data, no regions; one line,
            before the first question is read.
    """
    options = options or ImportanceOptions()
    out = Path(out)
    if out.is_file():
        raise UserError(f"--out {out}: is a file; give a folder")
    require_writable(out / "analysis.json", "--out")
    after, before = subjects(_listed(runs)), subjects(_listed(against))
    if before and len(before) != len(after):
        raise UserError(f"--against: {len(before)} for {len(after)} runs; give one for each, such as of the same seed")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    opener = Opener(device, batch_size, regions)
    questions = open_data(data, list(opener.model(after[0].path).heads), count)
    names = questions.whole.ids[:show] if isinstance(show, int) else list(show)
    if not _labelled(questions, questions.whole[0]):
        if not isinstance(show, int):
            raise UserError(f"--show: {questions.name} has no right answers, so there is no pair to show; leave it out")
        names = []
    if words and not names:
        raise UserError("--words: no question is shown beside which its scores could stand; see --show")
    shown = questions.some(names) if names else None
    _check(opener, questions, [*after, *before], options, ablation, layer if names else None)
    scores = selection_scores(words, shown, names, questions.reads) if words and shown else None

    roles = {"before": before, "after": after}
    found: dict[str, list[tuple[Subject, Importance]]] = {role: [] for role in roles}
    content: dict[str, Any] = {
        "data": questions.name, "suite": questions.suite, "reads": questions.reads,
        "settings": {**options.model_dump(), "layer": layer}, "models": [],
    }  # fmt: skip
    attention: dict[str, dict[str, Attention]] = {}
    for role, members in roles.items():
        for number, subject in enumerate(members):
            model = opener.model(subject.path)
            with LaterMeter(
                f"{role if before else 'attention'} ({subject.name}, {number + 1} of {len(members)})"
            ) as moved:
                job = opener.job(subject.path, model, moved)
                pairs = opener.pairs(job, questions)
                read = read_importance(pairs, questions.reads, options)
            found[role].append((subject, read))
            record = {"role": role, **described(subject, model, read)}
            record["left_out"] = missing(questions.part, Answered([], {}, pairs.bad))["bad"]
            if ablation:
                record["ablation"] = ablate(
                    opener.job(subject.path, model), questions.suite, questions.some(list(read.ids)),
                    pairs.mixture.regions,
                )  # fmt: skip
            if number == 0 and shown is not None:
                own = opener.pairs(opener.job(subject.path, model), questions, shown)
                attention[role] = word_attention(own, questions.reads, options, layer)
            content["models"].append(record)
    content["questions"] = len(found["after"][0][1].ids)
    content["comparison"] = compare(*([one for _, one in found[role]] for role in roles)) if before else None
    content["words"] = _words(names, attention, scores)
    content["teacher"] = words
    content = finite(content)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "analysis.json", content)
    write_pages(content, out)
    return content


def described(subject: Subject, model: Any, read: Importance) -> dict[str, Any]:
    """A model's numbers: of each layer and head, of each layer, and over the layers."""
    heads = read.heads
    layers = layer_values(heads)
    names = ("text", "vision", "special")
    return {
        "path": subject.path, "name": subject.name, "seed": subject.seed, "model": model.name,
        "carries": carries(model), "questions": len(read.ids),
        "tokens": dict(zip(("words", "special", "regions"), read.tokens, strict=True)),
        "heads": {name: heads[..., place].tolist() for place, name in enumerate(names)},
        "layers": {name: layers[..., place].tolist() for place, name in enumerate(names)},
        "gap": float(gap(layers)), "text": float(layers[..., 0].mean()), "vision": float(vision(layers)),
    }  # fmt: skip


def carries(model: Any) -> str:
    """What of the picture a model's words carry, in a sentence; empty where they carry nothing. They count as text."""
    config = model.config
    if config.architecture == "vl_bert":
        other = "the whole image's" if config.untagged == "whole_image" else "none"
        return f"words carry the visual feature of the region that they name, all others {other}; they count as text"
    if config.tags:
        return "words that name a region carry its feature; they count as text"
    return ""


def finite(value: Any) -> Any:
    """The same with null for what is no number, which JSON has no word for."""
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value


def _check(
    opener: Opener, questions: Questions, models: Sequence[Subject], options: ImportanceOptions, ablation: bool,
    layer: int | None,
) -> None:  # fmt: skip
    """Everything that can be wrong with a model or its regions, before a question is read."""
    first = questions.part[0]
    if options.pairs == "right" and not _labelled(questions, first):
        raise UserError(
            f"--pairs right: '{first.id}' of {questions.name} has no '{LABELS[questions.reads]}'; give labelled data, "
            "or --pairs all"
        )
    answered = {"vcr": "rationale_label" in first.fields, "snli_ve": first.label is not None}
    if ablation and not answered.get(questions.suite, "answers" in first.fields):
        raise UserError(f"--ablate: {questions.name} has no labels to measure by; give labelled data")
    vocabulary = len(questions.whole.answers) if ablation and questions.suite == "vqa" else None
    for subject in models:
        model = opener.model(subject.path)
        require_layer(model, layer)
        if vocabulary is not None and (why := without_head(model, questions.suite, vocabulary)):
            raise UserError(f"--ablate: {why}")
        opener.pairs(opener.job(subject.path, model), questions)


def _labelled(questions: Questions, sample: Any) -> bool:
    """Whether the right pair of a question is known, where it has several."""
    label = LABELS.get(questions.reads)
    return label is None or sample.fields.get(label) is not None


def _words(
    names: Sequence[str],
    attention: dict[str, dict[str, Attention]],
    scores: dict[str, dict[tuple[str, int], float]] | None,
) -> list[dict[str, Any]]:
    """Words of the shown questions, as JSON has them; those whose picture can't be read have none."""
    found = []
    for name in names:
        if name not in attention["after"]:
            continue
        words = attention["after"][name].words
        entry: dict[str, Any] = {
            "id": name, "words": [one.text for one in words], "parts": [one.part for one in words],
            "attention": {}, "picture": {},
        }  # fmt: skip
        for role, of in attention.items():
            if name in of and of[name].words == words:
                entry["attention"][role] = list(of[name].values)
                entry["picture"][role] = of[name].picture
        if scores is not None:
            entry["scores"] = [scores[name].get((one.part, one.start)) if one.part else None for one in words]
        found.append(entry)
    return found


def _listed(given: str | Path | Sequence[str | Path]) -> list[str]:
    many = [given] if isinstance(given, str | Path) else given
    return [str(one) for one in many]


__all__ = ["TASKS", "analyse"]
