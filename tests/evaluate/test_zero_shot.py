from __future__ import annotations

import pytest
import torch

from clipdistill.errors import UserError
from clipdistill.evaluate.apart import Labelled, measure
from clipdistill.evaluate.templates import load_class_names, load_templates
from clipdistill.evaluate.zero_shot import class_embeddings, class_prompts, classify
from clipdistill.recipe_files import load_recipe, recipe_names


def test_openai_ensemble_has_80_templates_each_with_one_hole():
    templates = load_templates("openai")
    assert len(templates) == len(set(templates)) == 80
    assert all(template.count("{}") == 1 for template in templates)
    assert "a bad photo of a {}." in templates and "a tattoo of the {}." in templates


def test_dclips_prompts_are_the_papers():
    assert load_templates("dclip") == ("This is a photo of a {}",)
    assert load_templates("dclip_cifar10") == ("a photo of a {}",)
    assert load_templates("dclip_cifar100") == ("a photo of a {}, a type or organism",)


def test_recipes_take_dclips_prompts_from_here():
    suites = load_recipe("dclip/vit_b16").evaluate
    given = {str(spec.options().get("name")): spec.options().get("templates") for spec in suites}
    assert given["cifar100"] == "dclip_cifar100" and given["cifar10"] == "dclip_cifar10"
    for recipe in recipe_names():
        if recipe.startswith("dclip/"):
            texts = [spec.options().get("templates", "plain") for spec in load_recipe(recipe).evaluate]
            assert set(texts) <= {"plain", "dclip", "dclip_cifar10", "dclip_cifar100"}, recipe


def test_templates_from_a_file_with_byte_order_mark_and_windows_line_ends(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_bytes(b"\xef\xbb\xbfa sketch of {}\r\n\r\nmy {}\r\n")
    assert load_templates(str(path)) == ("a sketch of {}", "my {}")


def test_wrong_templates_name_the_fix(tmp_path):
    with pytest.raises(UserError, match="Did you mean 'openai'"):
        load_templates("opena1")
    path = tmp_path / "prompts.txt"
    path.write_text("a photo\n")
    with pytest.raises(UserError, match="exactly once"):
        load_templates(path)
    path.write_text("\n")
    with pytest.raises(UserError, match="holds no templates"):
        load_templates(path)


def test_class_names_must_fit_the_data(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("cat\ndog\n")
    assert load_class_names(path, 2) == ("cat", "dog")
    with pytest.raises(UserError, match="has 3 classes, 2 names"):
        load_class_names(path, 3)


def test_prompts_are_class_by_class_and_braces_in_names_survive():
    prompts = class_prompts(["red_circle", "{x}"], ["a {}", "the {}"])
    assert prompts == ["a red circle", "the red circle", "a {x}", "the {x}"]


def test_class_embedding_is_the_normalised_mean_of_normalised_prompts():
    prompts = torch.tensor([[10.0, 0.0], [0.0, 1.0], [3.0, 0.0], [5.0, 0.0]])  # un-normalised mean would lean to x
    vectors = class_embeddings(prompts, 2)
    assert torch.allclose(vectors, torch.tensor([[0.5**0.5, 0.5**0.5], [1.0, 0.0]], dtype=torch.float64))


def test_top1_top5_mean_per_class_and_confusion_of_hand_made_embeddings():
    classes = torch.eye(6)
    image = torch.tensor(
        [
            [9.0, 5, 4, 3, 2, 1],  # class 0, right
            [5.0, 9, 4, 3, 2, 1],  # class 0, taken for 1, second
            [1.0, 2, 3, 4, 5, 9],  # class 0, taken for 5, last: not in the first five
            [1.0, 9, 2, 3, 4, 5],  # class 1, right
        ]
    )
    outcome = classify(image, classes, torch.tensor([0, 0, 0, 1]))
    assert outcome.metrics == pytest.approx({"top1": 0.5, "top5": 0.75, "mean_per_class": (1 / 3 + 1) / 2})
    assert outcome.predicted.tolist() == [0, 1, 5, 1]
    expected = torch.zeros(6, 6, dtype=torch.int64)
    expected[0, 0] = expected[0, 1] = expected[0, 5] = expected[1, 1] = 1
    assert torch.equal(outcome.confusion, expected)


def test_top5_is_left_out_where_it_says_nothing():
    assert "top5" not in classify(torch.eye(5), torch.eye(5), torch.arange(5)).metrics


def test_a_tie_with_a_wrong_class_is_a_wrong_answer():
    classes = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    outcome = classify(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), classes, torch.tensor([0, 2]))
    assert outcome.metrics["top1"] == 0.5
    assert outcome.predicted.tolist() == [1, 2]


def test_chunks_do_not_change_the_outcome():
    generator = torch.Generator().manual_seed(0)
    image, classes = torch.randn(50, 8, generator=generator), torch.randn(7, 8, generator=generator)
    label = torch.randint(0, 7, (50,), generator=generator)
    small, large = classify(image, classes, label, chunk=3), classify(image, classes, label)
    assert small.metrics == large.metrics and torch.equal(small.confusion, large.confusion)


def test_labels_outside_the_classes_and_nan_are_errors():
    with pytest.raises(UserError, match="labels"):
        classify(torch.eye(3), torch.eye(3), torch.tensor([0, 1, 3]))
    with pytest.raises(UserError, match="NaN"):
        classify(torch.full((1, 3), float("nan")), torch.eye(3), torch.tensor([0]))


def two_parts():
    """Pictures of seen classes a, b and unseen c, d; the picture of c is nearest to a among all, to c among c and d."""
    seen = Labelled("seen", ("a", "b"), torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0]]), torch.tensor([0, 1]), [])
    unseen = Labelled("unseen", ("c", "d"), torch.tensor([[1.0, 0, 0.9, 0], [0, 0, 0, 1]]), torch.tensor([0, 1]), [])
    return [seen, unseen]


def test_seen_and_unseen_are_measured_apart_and_among_all():
    results = {result.data: result for result in measure(two_parts(), "abcd", torch.eye(4), None, 1)}
    assert [results[name].metrics["top1"] for name in ("seen", "unseen")] == [1.0, 1.0]
    assert results["seen among all 4"].metrics["top1"] == 1.0
    assert results["unseen among all 4"].metrics["top1"] == 0.5
    assert results["unseen among all 4"].metrics["harmonic_mean"] == pytest.approx(2 * 1.0 * 0.5 / 1.5)
    assert results["unseen among all 4"].artifacts["confusion"][2] == [1, 0, 0, 0]


def test_one_source_is_split_by_its_seen_classes():
    parts = two_parts()
    features = torch.cat([part.features for part in parts])
    whole = Labelled("objects", tuple("abcd"), features, torch.arange(4), [{"id": "x", "reason": "y"}])
    results = {result.data: result for result in measure([whole], "abcd", torch.eye(4), ["b", "a"], 1)}
    assert set(results) == {
        "objects",
        "objects/seen",
        "objects/unseen",
        "objects/seen among all 4",
        "objects/unseen among all 4",
    }
    assert results["objects"].metrics["top1"] == 0.75 and results["objects"].n == 4
    assert results["objects/unseen"].metrics["top1"] == 1.0 and results["objects/unseen"].n == 2
    assert results["objects/unseen among all 4"].metrics["top1"] == 0.5
    assert sum(len(result.artifacts["bad"]) for result in results.values()) == 1
    with pytest.raises(UserError, match="'aa' is not a class"):
        measure([whole], "abcd", torch.eye(4), ["aa"], 1)
    with pytest.raises(UserError, match="no unseen classes"):
        measure([whole], "abcd", torch.eye(4), list("abcd"), 1)
