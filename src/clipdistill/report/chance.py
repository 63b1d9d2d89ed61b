"""What a number would be by guessing, and how far other test items could have moved it."""

from __future__ import annotations

import math
from statistics import NormalDist

from clipdistill.evaluate.results import Result

OF_OPTIONS = {
    "vcr": {"q2a": 1 / 4, "qa2r": 1 / 4, "q2ar": 1 / 16},
    # Two pictures and two captions: a guesser has the four scores in a random order.
    "winoground": {"text": 1 / 4, "image": 1 / 4, "group": 1 / 6, "text_argmax": 1 / 2, "image_argmax": 1 / 2},
    "sugarcrepe": {"accuracy": 1 / 2, "macro": 1 / 2},
    "clevr": {"accuracy": 1 / 2, "macro": 1 / 2},
    "aro": {"accuracy": 1 / 2, "macro": 1 / 2},
}
"""Suite or benchmark -> metric -> chance, where the number of choices is the benchmark's own."""

SHUFFLED = 1 / 5
"""Of ARO's order tasks: a caption among itself and four shuffles of its words."""

PROPORTIONS = frozenset(
    (*(f"{a}/recall@{k}" for a in ("text_to_image", "image_to_text") for k in (1, 5, 10)),
     "top1", "top5", "text", "image", "group", "q2a", "qa2r", "q2ar", "accuracy")
)  # fmt: skip
"""Metrics that are a share of the items; a score between 0 and 1 an item varies no more than these."""

NOTE = (
    "95 %: where the student's number would lie with other test items drawn as these were (Wilson's interval of the "
    "items, a picture's captions counted once). It says nothing of other seeds."
)


def chance_levels(result: Result) -> dict[str, float]:
    """Metric -> what guessing gives on average, a fraction; metrics of which it isn't known are left out.

    Retrieval: k of N pictures; from pictures to texts, that one of a picture's texts is among k drawn of all, each
    picture with as many texts. Classification: 1 of C classes. Questions and pairs: 1 of the options.
    """
    facts = result.artifacts
    classes = len(facts.get("classes") or ())
    if result.evaluator == "retrieval":
        return _recalls(result.n, facts)
    if result.evaluator == "zero_shot" and classes:
        known = {"top1": 1 / classes, "mean_per_class": 1 / classes}
        return known | ({"top5": 5 / classes} if classes > 5 else {})
    if result.evaluator == "aro" and "_order" in result.data:
        return dict.fromkeys(("accuracy",), SHUFFLED)
    if result.evaluator in OF_OPTIONS:
        return dict(OF_OPTIONS[result.evaluator])
    return {"accuracy": 1 / classes} if classes else {}


def interval(rate: float, items: int) -> tuple[float, float] | None:
    """Wilson's 95 % interval (1927) of a share of `items`, both fractions; None without items or for no share."""
    if items < 1 or not 0 <= rate <= 1:
        return None
    z = NormalDist().inv_cdf(0.975)
    middle = (rate + z * z / (2 * items)) / (1 + z * z / items)
    half = z / (1 + z * z / items) * math.sqrt(rate * (1 - rate) / items + z * z / (4 * items * items))
    return max(0.0, middle - half), min(1.0, middle + half)


def _recalls(pictures: int, facts: dict[str, object]) -> dict[str, float]:
    texts, folds = facts.get("texts"), facts.get("folds")
    parts = len(folds) if isinstance(folds, list) else 1
    if not isinstance(texts, int) or pictures < 1 or texts < 1:
        return {}
    one, every, own = pictures / parts, texts / parts, texts / pictures
    found = {}
    for k in (1, 5, 10):
        found[f"text_to_image/recall@{k}"] = min(1.0, k / one)
        missed = math.prod(max(0.0, every - own - draw) / max(1.0, every - draw) for draw in range(k))
        found[f"image_to_text/recall@{k}"] = 1 - missed
    return found
