"""`clipdistill interpolate`: sweep the weights between a base and its student, measure each, keep the best."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from clipdistill.errors import UserError
from clipdistill.evaluate.results import Result, retention
from clipdistill.evaluate.suites import Evaluation, open_suite
from clipdistill.export import save_student
from clipdistill.export.interpolate import interpolate as mix
from clipdistill.files import require_writable, write_json, write_text
from clipdistill.kinds import require_weights
from clipdistill.models import load_model
from clipdistill.recipe import EvaluateSpec
from clipdistill.report.frontier import Point, choose, frontier_picture, frontier_table
from clipdistill.runs.evaluation import check_suite, run_suite
from clipdistill.runs.folder import RunFolder

RETRIEVAL, ZERO_SHOT = "text_to_image/recall@1", "top1"


def interpolate(
    base: str | Path,
    student: str | Path,
    alphas: Sequence[float],
    suites: Sequence[tuple[str, str]],
    out: str | Path,
    keep: float = 0.97,
) -> dict[str, Any]:
    """Measure (1 - alpha) base + alpha student for each alpha, and save the best that keeps its zero-shot accuracy.

    Args:
        base, student: models by name or folder, of one architecture.
        alphas: from 0 to 1; both ends are measured whatever is given.
        suites: (suite, data): together they must give text -> image recall@1 and top-1; where several do, the first
            is the axis of the picture, and all are in `frontier.json`.
        out: gets `frontier.json`, `frontier.md`, `frontier.svg` and the chosen student as `student/`.
        keep: share of the base's top-1 that the chosen one must keep.

    Returns:
        The content of frontier.json.

    Raises:
        UserError: unknown suite or data, models that don't fit one another, suites that lack one of the two measures,
            another process at work in `out`.
    """
    out = Path(out)
    _refuse_frontier(out)
    checked = [check_suite(EvaluateSpec(suite=suite), "--measure", "--measure") for suite, _ in suites]
    for wanted, metric in (("retrieval", RETRIEVAL), ("zero_shot", ZERO_SHOT)):
        if not {wanted, "petri"} & {suite for suite, _ in suites}:
            raise UserError(f"--measure: none of the suites gives {metric}; add {wanted}=DATA (petri gives both)")
    require_writable(out, "--out")
    for name in (base, student):
        require_weights(str(name))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    ends = load_model(base, device=device), load_model(student, device=device)
    evaluations = [
        open_suite(suite, data, options) for (suite, options), (_, data) in zip(checked, suites, strict=True)
    ]
    with RunFolder(out).held():
        _refuse_frontier(out)  # another process may have been at work while models and data were opened
        return _sweep(str(base), str(student), ends, sorted({0.0, 1.0, *alphas}), evaluations, out, keep, device)


def _refuse_frontier(out: Path) -> None:
    if (out / "frontier.json").exists():
        raise UserError(f"--out {out}: holds a frontier already; choose another folder")


def _sweep(
    base: str,
    student: str,
    ends: tuple[Any, Any],
    alphas: Sequence[float],
    evaluations: Sequence[Evaluation],
    out: Path,
    keep: float,
    device: torch.device,
) -> dict[str, Any]:
    points: list[Point] = []
    measured = []
    axes: tuple[str, str] | None = None
    for alpha in alphas:
        model = mix(*ends, alpha)
        results: list[Result] = []
        for evaluation in evaluations:
            results += run_suite(model, evaluation, device, 128, 0, f"alpha {alpha:.2f}")
        axes = axes or (_first(results, RETRIEVAL), _first(results, ZERO_SHOT))
        retrieval, zero_shot = _value(results, axes[0], RETRIEVAL), _value(results, axes[1], ZERO_SHOT)
        kept = retention(zero_shot, points[0].zero_shot if points else zero_shot)
        points.append(Point(alpha, retrieval, zero_shot, kept))
        measured.append([result.to_dict() | {"artifacts": {}} for result in results])
    assert axes is not None
    chosen = choose(points, keep)
    best = mix(*ends, chosen.alpha)
    best.name = f"{Path(student).name} at alpha {chosen.alpha:g}"
    save_student(best.eval(), out / "student")
    titles = f"{axes[0]} text -> image R@1", f"{axes[1]} top-1"
    write_text(out / "frontier.md", frontier_table(points, chosen, *titles))
    (out / "frontier.svg").write_bytes(frontier_picture(points, chosen, *titles))
    found = {
        "base": base, "student": student, "keep": keep, "chosen": chosen.to_dict(), "axes": list(titles),
        "points": [point.to_dict() | {"results": each} for point, each in zip(points, measured, strict=True)],
    }  # fmt: skip
    write_json(out / "frontier.json", found)
    return found


def _first(results: Sequence[Result], metric: str) -> str:
    return next(result.data for result in results if metric in result.metrics)


def _value(results: Sequence[Result], data: str, metric: str) -> float:
    return next(r.metrics[metric] for r in results if r.data == data and metric in r.metrics)
