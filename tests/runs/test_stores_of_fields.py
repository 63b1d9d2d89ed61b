"""A store whose targets depend on a field of the samples goes stale, by the command's own path, when its values do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clipdistill.data.fields import Field, encoder_fields
from clipdistill.engine.distributed import Ranks
from clipdistill.errors import UserError
from clipdistill.kinds import KINDS
from clipdistill.recipe import Recipe
from clipdistill.recipe_files import validate
from clipdistill.runs import teachers
from clipdistill.runs.caching import cache
from clipdistill.runs.parts import open_parts


class Question(Field):
    """What a teacher of questions would ask a batch for."""

    READS = ("question",)


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """Four pictures with a question each, and a teacher that reads it."""
    for number in range(4):
        Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(tmp_path / f"{number}.png")
    ask(tmp_path, "what colour is it?")
    data = {"format": "csv", "path": str(tmp_path / "t.csv"), "id": "id", "fields": ["question"]}
    values: dict[str, Any] = {
        "name": "asked", "student": "petri-tiny-student", "data": {"train": [data], "workers": 0},
        "teachers": [{"model": "petri-teacher-small", "store": str(tmp_path / "store")}],
        "task": {"method": "clip_kd"}, "train": {"batch_size": 2},
    }  # fmt: skip

    def asking(role: str, model: Any, **which: bool) -> dict[str, Field]:
        return {**encoder_fields(role, model, **which), f"question/{role}": Question()}

    monkeypatch.setattr(teachers, "encoder_fields", asking)
    return validate(values, "asked")


def ask(folder: Path, last: str) -> None:
    lines = [f"{number}.png,words,{number},where is it?" for number in range(3)]
    (folder / "t.csv").write_text("\n".join(["image,caption,id,question", *lines, f"3.png,words,3,{last}"]))


def away(*_: object, **__: object) -> None:
    raise UserError("no weights")


@pytest.mark.parametrize("gone", [False, True])
def test_a_changed_question_makes_the_store_stale(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: bool
) -> None:
    cache(recipe)
    if gone:
        monkeypatch.setattr(KINDS["dual_encoder"], "open", away)
    (state,) = open_parts(recipe, Ranks.current()).teachers
    assert state.reads == ("question",) and state.store is not None and (state.model is None) is gone
    ask(tmp_path, "what shape is it?")
    with pytest.raises(UserError, match="store: the samples' field 'question': its values aren't those of the store"):
        open_parts(recipe, Ranks.current())
    ask(tmp_path, "what colour is it?")
    open_parts(recipe, Ranks.current())


def test_a_store_without_fields_asks_nothing_of_the_samples(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teachers, "encoder_fields", encoder_fields)
    cache(recipe)
    ask(tmp_path, "what shape is it?")
    (state,) = open_parts(recipe, Ranks.current()).teachers
    assert state.reads == () and state.store is not None and state.store.meta["fields"] == {}
