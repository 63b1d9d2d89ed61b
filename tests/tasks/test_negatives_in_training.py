"""Hard negatives: made by the loader, encoded with the captions, and choices for the pictures in the task loss."""

from __future__ import annotations

import pytest
import torch

from clipdistill.data import AugmentPlan, Loader, Mixture, open_source
from clipdistill.data.hard_negatives import hard_negatives
from clipdistill.engine.distributed import Ranks
from clipdistill.engine.gradient_cache import backward
from clipdistill.errors import UserError
from clipdistill.recipe import Recipe
from clipdistill.runs.checks import check_recipe
from clipdistill.tasks import Contrastive
from tests.data.data_files import picture
from tests.models.tiny_models import encoder, pixels_of

ALONE = Ranks(0, 1, torch.device("cpu"))
TEXTS = ["a red circle left of a blue square", "a star", "a green star above a pink moon", "a blue heart"]


@pytest.fixture
def loader(tmp_path) -> Loader:
    rows = []
    for number, text in enumerate(TEXTS):
        picture(number).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,{text}\n")
    (tmp_path / "pairs.csv").write_text("image,caption\n" + "".join(rows), encoding="utf-8")
    source = open_source({"format": "csv", "path": str(tmp_path / "pairs.csv")})
    model = encoder("clip")
    return Loader(
        Mixture([(source, None)], seed=0), Contrastive(model, options={"hard_negatives": 2}).student_fields(),
        batch_size=4, plan=AugmentPlan(), seed=3,
    )  # fmt: skip


def test_the_loader_gives_each_caption_its_own_swaps_and_says_which_are_there(loader) -> None:
    batch = next(iter(loader.epoch(0)))
    again = next(iter(loader.epoch(0)))
    tokenizer, mixture = encoder("clip").tokenizer, loader.mixture
    assert batch["negative/student"].shape[:2] == (4, 2) and torch.equal(
        batch["negative/student"], again["negative/student"]
    )
    for place, row in enumerate(batch["sample"].tolist()):
        caption = mixture[row].captions[0]
        possible = {tuple(tokenizer([text])[0].tolist()) for text in hard_negatives(caption, count=99)}
        there = batch["has_negative"][place].tolist()
        assert sum(there) == min(2, len(possible))  # "a star" has nothing to swap
        for tokens, real in zip(batch["negative/student"][place], there, strict=True):
            assert (tuple(tokens.tolist()) in possible) == real


def batch_of(task: Contrastive, there: torch.Tensor) -> dict[str, torch.Tensor]:
    false = ["a blue circle left of a red square", "a star", "a pink star above a green moon", ""]
    tokenizer = task.student.tokenizer
    return {
        "image/student": pixels_of(task.student, 4), "text/student": tokenizer(TEXTS),
        "negative/student": tokenizer(false)[:, None], "has_negative": there[:, None],
    }  # fmt: skip


def loss(task: Contrastive, batch: dict, micro: int | None = None) -> tuple[float, dict]:
    task.zero_grad(set_to_none=True)
    terms = backward(task, batch, ALONE, micro)
    return float(terms["task"]), {n: p.grad.clone() for n, p in task.named_parameters() if p.grad is not None}


def test_absent_negatives_count_for_nothing_and_present_ones_make_the_choice_harder() -> None:
    task = Contrastive(encoder("clip", double=True)).double().train()
    none, some = torch.zeros(4, dtype=torch.bool), torch.tensor([True, False, True, False])
    batch = batch_of(task, none)
    plain = {k: v for k, v in batch.items() if k in ("image/student", "text/student")}
    assert loss(task, batch)[0] == pytest.approx(loss(task, plain)[0], abs=1e-12)
    assert loss(task, batch_of(task, some))[0] > loss(task, plain)[0]


def test_micro_batches_give_the_gradient_of_the_whole_batch() -> None:
    task = Contrastive(encoder("clip", double=True)).double().train()
    batch = batch_of(task, torch.tensor([True, False, True, False]))
    (whole, expected), (cut, found) = loss(task, batch), loss(task, batch, 2)
    assert cut == pytest.approx(whole, abs=1e-10)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("task", [{"method": "dclip"}, {"method": "contrastive", "loss": "sigmoid"}, {"method": "lit"}])
def test_a_task_that_would_ignore_them_says_so(task) -> None:
    recipe = Recipe.model_validate(
        {
            "name": "x", "student": "petri-student", "task": task,
            "data": {"train": [{"format": "csv", "path": "x.csv"}], "hard_negatives": 1},
        }
    )  # fmt: skip
    with pytest.raises(UserError, match="data.hard_negatives"):
        check_recipe(recipe)


@pytest.mark.parametrize("method", ["clip_kd", "contrastive"])
def test_a_task_that_reads_them_takes_them(method: str) -> None:
    teachers = [{"model": "petri-teacher"}] if method == "clip_kd" else []
    data = {"train": [{"format": "csv", "path": "x.csv"}], "hard_negatives": 1}
    values = {"name": "x", "student": "petri-student", "task": {"method": method}, "teachers": teachers, "data": data}
    check_recipe(Recipe.model_validate(values))
