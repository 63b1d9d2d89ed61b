"""The models of a rehearsal: random weights of the true architectures, as small as the memory demands."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from clipdistill.errors import UserError
from clipdistill.recipe import Recipe
from clipdistill.rehearsal.clip_drafts import clip_draft
from clipdistill.rehearsal.drafts import Draft, memory_of
from clipdistill.rehearsal.other_drafts import denoiser_draft, fusion_draft, vlm_draft
from clipdistill.runs.derived import trainings
from clipdistill.tasks import find_task

DRAFTS: dict[str, Callable[[str, int, bool], list[Draft]]] = {
    "dual_encoder": clip_draft, "denoiser": denoiser_draft, "fusion": fusion_draft, "vlm": vlm_draft,
}  # fmt: skip
"""Kind of model -> what stands for one of a name."""
SMALLER = (1, 2, 4, 8)


def write_models(recipe: Recipe, limit: float, field: str = "--rehearse-memory") -> list[str]:
    """Write every model that a rehearsed recipe names and that isn't there, below the current folder.

    Args:
        limit: bytes of memory that the run may take. field: what the user calls it.

    Returns:
        What isn't as published, a sentence each.

    Raises:
        UserError: a model of unknown shape, or too little memory for the smallest that can be made.
    """
    drafts: list[Draft] = []
    for divide in SMALLER:
        drafts = list({each.name: each for each in _drafts(recipe, divide)}.values())
        if memory_of(drafts) <= limit:
            break
    else:
        raise UserError(
            f"`{field}`: even the smallest models that stand for this recipe's take about "
            f"{memory_of(drafts) / 1e9:.1f} GB of memory, and it may take {limit / 1e9:.1f} GB; raise it"
        )
    for draft in drafts:
        if draft.write is not None:
            draft.write()
    return list(dict.fromkeys(each.note for each in drafts if each.note))


def _drafts(recipe: Recipe, divide: int) -> Iterator[Draft]:
    for each in trainings(recipe):
        task = find_task(each.task.method)
        if each.student.model is not None:
            yield from DRAFTS[task.KIND](each.student.model, divide, True)
        teacher = DRAFTS.get(task.KIND if task.OWN_TEACHER else task.TEACHER_KIND)
        for spec in each.teachers:
            if spec.model is not None and spec.model != each.student.model and teacher is not None:
                yield from teacher(spec.model, divide, False)
    if recipe.regions is not None and recipe.regions.model is not None and recipe.regions.model.model is not None:
        yield from DRAFTS["dual_encoder"](recipe.regions.model.model, divide, False)
