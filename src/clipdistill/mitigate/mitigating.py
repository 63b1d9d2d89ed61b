"""`clipdistill mitigate`: write a VCR file again without what lets text alone answer it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from clipdistill.data.wordnet import open_wordnet
from clipdistill.errors import UserError, nearest
from clipdistill.evaluate.predictions import read_predictions
from clipdistill.mitigate import shortcut_rules
from clipdistill.mitigate.explicit import Explicit
from clipdistill.mitigate.implicit import CONFIDENCE, by_chances, chances_of, write_partition
from clipdistill.mitigate.masking import MASKS, Scores, by_scores, read_scores
from clipdistill.mitigate.vcr_files import (
    Outcome,
    Record,
    VcrFile,
    apply,
    beside,
    read_vcr,
    require_labels,
    target_of,
    write_lines,
    write_outcomes,
)

RULES: dict[str, Callable[[str, Record], Outcome]] = {
    "sm-rule": shortcut_rules.either, "sm-singular": shortcut_rules.singular, "sm-plural": shortcut_rules.plural,
}  # fmt: skip
KINDS: dict[str, tuple[str, ...]] = {
    "sm-rule": (), "sm-singular": (), "sm-plural": (), "em": ("wordnet",),
    "sm-adversarial": ("by", "scores", "mask", "wrong_only", "regions", "root", "batch_size"),
    "im": ("by", "confidence", "regions", "root", "batch_size"),
}  # fmt: skip
"""Kind -> the options that it has a use for."""
DEFAULTS: dict[str, Any] = {
    "by": None, "scores": None, "mask": "adv-1", "wrong_only": False, "confidence": CONFIDENCE, "wordnet": None,
    "regions": None, "root": None, "batch_size": 128,
}  # fmt: skip


def mitigate_vcr(file: str | Path, kind: str, out: str | Path, **options: Any) -> dict[str, Any]:
    """Write a mitigated VCR file, a log of every change and a summary.

    Args:
        file: a VCR jsonl.
        kind: `sm-rule`, `sm-singular`, `sm-plural` (`shortcut_rules`), `sm-adversarial` (`masking`), `em`
            (`explicit`) or `im` (`implicit`).
        out: the file to write (.jsonl), or a folder: NAME-KIND.jsonl in it. Beside it come NAME-KIND.changes.jsonl, a
            line a change, and NAME-KIND.summary.json.
        by: of `sm-adversarial` and `im`: the RUN (or folder) of a fusion model with task vcr; for `im` also a file
            of `predictions` that the suite vcr wrote (.npz).
        scores: of `sm-adversarial`: a score file instead of a model. One that is made lies beside `out`.
        mask: of `sm-adversarial`: `adv-1`, `keep-1`, `keep-3` or `keep-5`. wrong_only: leave right options.
        confidence: of `im`: the least probability of a right answer that leaves its question out.
        wordnet: of `em`: WordNet's folder or zip.
        regions, root, batch_size: of a model: a store of the pictures' regions, the pictures' folder, pairs at once.

    Returns:
        The summary: how many questions are kept, dropped and changed, options changed, changes by reason.

    Raises:
        UserError: a kind or option that isn't there or is missing, bad files, nothing left.
    """
    settings = _settings(kind, options)
    source = read_vcr(file)
    path = target_of(out, source.path, kind if kind != "sm-adversarial" else f"{kind}-{settings['mask']}")
    if kind != "em":
        require_labels(source)
    if kind == "em":
        rule = Explicit(open_wordnet(settings["wordnet"]))
        outcomes = apply(source, rule)
        facts: dict[str, Any] = {
            "wordnet": str(rule.wordnet.place), "unreplaced": sum(rule.unreplaced.values()),
            "unreplaced_words": dict(rule.unreplaced.most_common(20)),
        }  # fmt: skip
    elif kind == "im":
        outcomes, facts = _implicit(source, path, settings)
    elif kind == "sm-adversarial":
        scores = _scores(source, path, settings)
        outcomes = apply(source, by_scores(scores, settings["mask"], settings["wrong_only"]))
        facts = {"mask": settings["mask"], "wrong_only": settings["wrong_only"]}
    else:
        outcomes, facts = apply(source, RULES[kind]), {}
    return write_outcomes(path, source.path, kind, outcomes, facts)


def _settings(kind: str, options: Mapping[str, Any]) -> dict[str, Any]:
    if kind not in KINDS:
        raise UserError(f"--kind {kind}: there is no such kind.{nearest(kind, KINDS)} Kinds: {', '.join(KINDS)}")
    settings = {**DEFAULTS, **options}
    for name, value in options.items():
        if name not in DEFAULTS:
            raise UserError(f"mitigate: has no option '{name}'.{nearest(name, DEFAULTS)}")
        if value != DEFAULTS[name] and name not in KINDS[kind]:
            whose = ", ".join(each for each, names in KINDS.items() if name in names)
            raise UserError(
                f"--{name.replace('_', '-')}: means nothing to {kind} (it is an option of {whose}); leave it out"
            )
    if settings["mask"] not in MASKS:
        raise UserError(f"--mask {settings['mask']}: is none of {', '.join(MASKS)}")
    if not 0 < settings["confidence"] <= 1:
        raise UserError(f"--confidence {settings['confidence']}: is a probability, above 0 and at most 1")
    if kind == "im" and settings["by"] is None:
        raise UserError(
            "--by is missing: name the run of a language model that learnt VCR, or a file of its predictions"
        )
    if kind == "sm-adversarial" and (settings["by"] is None) == (settings["scores"] is None):
        raise UserError(
            "sm-adversarial takes either --by RUN, a model that is scored, or --scores FILE; give one of them"
        )
    return settings


def _implicit(source: VcrFile, path: Path, settings: Mapping[str, Any]) -> tuple[dict[str, Outcome], dict[str, Any]]:
    by = Path(settings["by"])
    if by.suffix == ".npz":
        predictions = read_predictions(by, "--by")
    else:
        from clipdistill.mitigate.asking import answered

        predictions = answered(_asked(source, settings))
    chances = chances_of(predictions, source, str(by))
    outcomes = apply(source, by_chances(chances, settings["confidence"]))
    if any(outcome.record is not None for outcome in outcomes.values()):
        return outcomes, {"by": str(by), **write_partition(path, source, chances, settings["confidence"])}
    return outcomes, {}  # refused where it would be written


def _scores(source: VcrFile, path: Path, settings: Mapping[str, Any]) -> Scores:
    if settings["scores"] is not None:
        return read_scores(settings["scores"], source.records)
    from clipdistill.mitigate.asking import token_losses

    lines = list(token_losses(_asked(source, settings), source.records))
    write_lines(beside(path, "scores.jsonl"), lines)
    return {line["annot_id"]: line for line in lines}


def _asked(source: VcrFile, settings: Mapping[str, Any]) -> Any:
    from clipdistill.mitigate.asking import open_asked

    return open_asked(
        settings["by"], source.path, root=settings["root"], regions=settings["regions"],
        batch_size=settings["batch_size"],
    )  # fmt: skip
