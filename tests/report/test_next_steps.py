"""What next: lines that are real, and sentences that say no more than the run holds."""

from __future__ import annotations

import ast
import json
import random
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clipdistill.report import build_report
from clipdistill.report.next_steps import longer, next_steps
from clipdistill.report.records import read_run
from clipdistill.report.tables import Group, build_groups


def group_of(*runs: Path) -> Group:
    (group,) = build_groups([read_run(run) for run in runs])
    return group


def logged(run: Path, loss: Callable[[int], float], steps: int = 200) -> Group:
    draw = random.Random(0)
    rows = [{"step": n, "loss": 9, "loss/crd": loss(n) + draw.gauss(0, 0.02), "loss/fd": 1 + draw.gauss(0, 0.02)}
            for n in range(1, steps + 1)]  # fmt: skip
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return group_of(run)


def test_a_loss_that_still_falls_is_named_and_a_level_one_promises_nothing(make_run: Any) -> None:
    falling = longer(logged(make_run("f"), lambda n: 5 - n / 100))
    assert falling == "Still falling over the last tenth: crd from 3.3 to 3.1. More epochs may help."
    level = longer(logged(make_run("l"), lambda n: 3 + 2 / n))
    assert level.startswith("The loss was level over the last tenth.") and "doesn't say" in level
    assert longer(logged(make_run("s"), lambda n: 5 - n / 10, steps=20)).startswith("Too few steps were logged")


def test_a_training_that_never_left_its_warm_up_is_told(make_run: Any) -> None:
    run = make_run(recipe={"train": {"warmup_steps": 500}})
    assert longer(logged(run, lambda n: 5)) == (
        "All 200 steps lay in the warm-up of 500: train longer, or lower `train.warmup_steps`."
    )


def test_epochs_that_were_measured_say_more_than_a_loss(make_run: Any) -> None:
    def with_epochs(name: str, *recalls: float) -> str:
        run = make_run(name)
        found = json.loads((run / "evaluation.json").read_text())
        first = found["models"]["student"]["results"][0]
        found["epochs"] = {
            str(number): {"name": "x", "results": [{**first, "metrics": {"text_to_image/recall@1": recall}}]}
            for number, recall in enumerate(recalls, 1)
        }
        (run / "evaluation.json").write_text(json.dumps(found))
        return longer(group_of(run))

    assert "still rose by 10.0 points in the last epoch" in with_epochs("r", 0.1, 0.2, 0.3)
    assert with_epochs("b", 0.1, 0.4, 0.3).startswith("Epoch 2 was better than the last by 10.0 points")
    assert "was level over the last epochs" in with_epochs("l", 0.1, 0.3, 0.301)


def test_the_student_is_opened_by_lines_that_parse(make_run: Any) -> None:
    run = make_run(recipe={"evaluate": [{"suite": "petri"}]})
    assert not any(step.code for step in next_steps(group_of(run)))  # no student yet
    (run / "student").mkdir()
    (run / "student" / "open_clip_config.json").touch()
    steps = next_steps(group_of(run))
    for step in steps:
        if step.language == "python":
            ast.parse(step.code)
    commands = [line for step in steps if step.language == "bash" and step.code for line in step.code.splitlines()]
    assert [shlex.split(line)[1] for line in commands] == ["evaluate", "train", "report"]
    assert f"clipdistill evaluate {run} --suite retrieval --data DATA" in commands
    assert f"clipdistill train {run}/recipe.yaml seed=1 --out {run}-seed1" in commands
    both = next_steps(group_of(run, make_run(seed=1, recipe={"evaluate": [{"suite": "petri"}]})))
    assert not any("One seed" in step.said for step in both)
    text, page = build_report(run)
    assert "### What next" in text.read_text() and f'model = load_model("{run}")' in text.read_text()
    assert "<h3>What next</h3>" in page.read_text()


def test_another_seed_keeps_the_views_that_the_store_has(make_run: Any) -> None:
    run = make_run(recipe={"teachers": [{"model": "big", "store": "stores/big"}]})
    (run / "student").mkdir()
    assert "seed=1 data.augment.seed=0 --out" in next_steps(group_of(run))[-1].code
    fixed = {"teachers": [{"model": "big", "store": "stores/big"}], "data": {"augment": {"seed": 7}}}
    other = make_run("b", recipe=fixed)
    (other / "student").mkdir()
    assert "data.augment.seed" not in next_steps(group_of(other))[-1].code


def test_other_kinds_are_opened_by_their_own_line(make_run: Any) -> None:
    run = make_run()
    (run / "student").mkdir()
    (run / "student" / "config.json").touch()
    assert any("open_trained" in step.code for step in next_steps(group_of(run)))


def test_a_joined_student_is_not_said_to_open_in_open_clip(make_run: Any) -> None:
    """It does from inside its own folder alone, where its text tower's configuration is found by its path."""
    run = make_run()
    student = run / "student"
    student.mkdir(exist_ok=True)
    (student / "open_clip_config.json").write_text("{}")
    assert any("create_model_and_transforms" in step.code for step in next_steps(group_of(run)))
    (student / "text_tower").mkdir()
    steps = next_steps(group_of(run))
    assert any("load_model" in step.code for step in steps)
    assert not any("create_model_and_transforms" in step.code for step in steps)
