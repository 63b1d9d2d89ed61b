"""Each suite takes its own options and no others, and finds out what is wrong before a model has run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from clipdistill.errors import UserError
from clipdistill.evaluate import evaluate_suite
from clipdistill.evaluate.suites import SUITES, open_suite
from tests.evaluate import official_files
from tests.models.tiny_diffusion import tiny_diffusion


@pytest.mark.parametrize(
    ("suite", "option", "known"),
    [
        ("zero_shot", "folds", "class_names, name, seen_classes, templates"),
        ("zero_shot", "t_range", "class_names, name, seen_classes, templates"),
        ("zero_shot", "chunk", "class_names, name, seen_classes, templates"),
        ("retrieval", "templates", "chunk, folds, name"),
        ("retrieval", "t_range", "chunk, folds, name"),
        ("petri", "class_names", "chunk, folds, templates"),
        ("petri", "name", "chunk, folds, templates"),
        ("compositional", "class_names", "Did you mean"),
        ("compositional", "folds", "samples, t_range"),
        ("downstream", "chunk", "class_names, name, seen_classes, templates"),
        ("downstream", "template", "Did you mean 'templates'"),
    ],
)
def test_an_option_of_another_suite_is_refused(suite: str, option: str, known: str) -> None:
    with pytest.raises(UserError, match=f"^here: {suite}: unknown key `{option}`.*{known}") as caught:
        SUITES[suite].read_options({option: 3}, "here")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("suite", "options", "says"),
    [
        ("retrieval", {"folds": 1}, "retrieval: `folds`: .* 2"),
        ("retrieval", {"folds": "all"}, r"`folds`: .*\(got 'all'\)"),
        ("retrieval", {"chunk": 0}, "`chunk`: .* 1"),
        ("zero_shot", {"templates": "opena1"}, "templates: 'opena1' .*Did you mean 'openai'"),
        ("zero_shot", {"templates": 3}, "templates: 3 is neither a name, a file nor a list"),
        ("zero_shot", {"templates": ["a photo"]}, "templates: template 'a photo' must hold {}"),
        ("petri", {"templates": []}, "templates: holds no templates"),
        ("zero_shot", {"class_names": "gone.txt"}, "class_names: gone.txt can't be read"),
        ("downstream", {"seen_classes": "gone.txt"}, "seen_classes: gone.txt can't be read"),
        ("zero_shot", {"class_names": [0, 1]}, "class_names: 0 isn't a text; put it in quotes"),
        ("zero_shot", {"seen_classes": 7}, "seen_classes: 7 is neither a list of names nor a file"),
        ("compositional", {"samples": 0}, "`samples`: .* 1"),
        ("compositional", {"t_range": 0.5}, "`t_range`: .*tuple"),
        ("compositional", {"t_range": [0.9, 0.1]}, r"`t_range`: \[0.9, 0.1\] isn't two shares of the noise levels"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_the_option(suite: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=f"^here: .*{says}") as caught:
        SUITES[suite].read_options(options, "here")
    assert "\n" not in str(caught.value)


def test_every_option_says_what_it_means() -> None:
    for suite in SUITES.values():
        for name, field in suite.Options.model_fields.items():
            assert field.description, f"{suite.NAME}: {name}"


@pytest.mark.parametrize(
    ("suite", "data", "options", "says"),
    [
        ("zero_shot", "zero_shot/seen", {"class_names": ["red", "green", "blue"]}, "has 2 classes, 3 names were given"),
        ("downstream", "zero_shot/seen", {"class_names": ["red"]}, "has 2 classes, 1 names were given"),
        ("zero_shot", "zero_shot/seen", {"seen_classes": ["redd"]}, "'redd' is not a class .*Did you mean 'red'"),
        ("zero_shot", "zero_shot/seen", {"seen_classes": ["red", "green"]}, "leaves no unseen classes"),
        ("downstream", "dataset_petri.json", {}, "has no classes"),
        ("retrieval", "dataset_petri.json", {"folds": 5}, "`folds` is 5; give a number from 2 to 4"),
        ("petri", ".", {"folds": 5}, "`folds` is 5; give a number from 2 to 4"),
    ],
)
def test_data_that_the_options_do_not_fit_is_found_when_it_is_opened(
    world: Path, suite: str, data: str, options: dict[str, Any], says: str
) -> None:
    found = SUITES[suite]
    with pytest.raises(UserError, match=says):
        found.open(str(world / data), found.read_options(options))


def test_options_that_would_be_ignored_are_refused(model: nn.Module, world: Path) -> None:
    seen = {"format": "imagefolder", "path": str(world / "zero_shot" / "seen")}
    unseen = {**seen, "path": str(world / "zero_shot" / "unseen")}
    for suite, data, options, says in (
        ("zero_shot", {"a": seen, "b": unseen}, {"name": "walls"}, "name: 'walls' is for one source.* here a, b"),
        ("zero_shot", {"a": seen, "b": unseen}, {"seen_classes": ["red"]}, "seen_classes: works on one source"),
        ("petri", {"path": str(world), "split": "val", "count": 2}, {}, "nothing else; remove count, split"),
        ("compositional", world, {"samples": 3}, "`samples` is for a denoiser, and this is a dual_encoder; remove it"),
    ):
        with pytest.raises(UserError, match=says):
            evaluate_suite(model, suite, data, options=options)  # type: ignore[arg-type]
    for folder in (world / "zero_shot").iterdir():
        folder.rename(world / folder.name)
    with pytest.raises(UserError, match="has no zero_shot/ with classes"):
        evaluate_suite(model, "petri", world, options={"templates": "plain"})  # type: ignore[arg-type]
    assert [result.data for result in evaluate_suite(model, "petri", world)] == ["petri/test"]  # type: ignore[arg-type]


@pytest.mark.parametrize("suite", [name for name in SUITES if name != "compositional"])
def test_a_suite_says_which_kinds_of_models_it_takes(suite: str) -> None:
    kinds = "vlm" if suite == "vlm" else "dual_encoder( or fusion)?"
    with pytest.raises(UserError, match=f"{suite} takes a model of kind {kinds}, .* put through compositional"):
        evaluate_suite(tiny_diffusion(), suite, "gone")  # type: ignore[arg-type]


def sugarcrepe(folder: Path) -> Path:
    official_files.sugarcrepe(folder)
    Image.new("RGB", (20, 20), (255, 0, 0)).save(folder / "val2017" / "000000000139.jpg")
    return folder


def test_pictures_of_benchmarks_are_looked_at_once_for_all_models(model: nn.Module, tmp_path: Path) -> None:
    suite = SUITES["compositional"]
    evaluation = open_suite(suite, sugarcrepe(tmp_path), suite.read_options({}))
    told: list[str] = []
    first, second = (evaluation.run(model, progress=lambda what, *_: told.append(what)) for _ in range(2))
    assert first == second and told.count("checking pictures") == 1


def test_a_dual_encoder_that_gives_nan_is_no_model_of_0_percent(model: Any, tmp_path: Path) -> None:
    model.weight.data.fill_(float("nan"))
    says = "compositional: sugarcrepe: colours: item 'add_att/0' is scored NaN or infinity; the model has diverged"
    with pytest.raises(UserError, match=says):
        evaluate_suite(model, "compositional", sugarcrepe(tmp_path))


def test_a_diffusion_model_that_gives_nan_is_refused_at_its_first_item(tmp_path: Path) -> None:
    model = tiny_diffusion()
    model.unet.conv_out.weight.data.fill_(float("nan"))
    told: list[str] = []
    with pytest.raises(UserError, match=f"compositional: sugarcrepe: {model.name}: item 'add_att/0' is scored NaN"):
        evaluate_suite(
            model, "compositional", sugarcrepe(tmp_path), batch_size=4, options={"samples": 2},
            progress=lambda what, *_: told.append(what),
        )  # fmt: skip
    assert told.count("denoisings") == 0  # of 14 items


def test_infinite_scores_of_any_matcher_are_refused(tmp_path: Path) -> None:
    from clipdistill.evaluate.compositional import evaluate_compositional

    class Endless:
        name = "endless"

        def scores(self, groups: Any, progress: Any = None) -> list[torch.Tensor]:
            return [torch.full((1, 2), float("inf")) for _ in groups]

    with pytest.raises(UserError, match="sugarcrepe: endless: item"):
        evaluate_compositional(Endless(), sugarcrepe(tmp_path))
