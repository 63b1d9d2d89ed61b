from __future__ import annotations

import base64
import io
import json

import pytest
import torch
from PIL import Image

from clipdistill.errors import UserError
from clipdistill.evaluate import Result, evaluate_suite, retrieval_examples
from clipdistill.evaluate.embed import embed_texts
from clipdistill.evaluate.sources import open_sources
from clipdistill.evaluate.templates import DOWNSTREAM, downstream_templates, load_templates
from tests.evaluate import official_files


def karpathy(world):
    return {"format": "karpathy", "path": str(world / "dataset_petri.json"), "split": "test"}


def test_petri_suite_measures_retrieval_and_seen_and_unseen_classes(model, world):
    model.train()
    results = {result.data: result for result in evaluate_suite(model, "petri", world)}
    assert list(results) == [
        "petri/test",
        "petri/seen",
        "petri/unseen",
        "petri/seen among all 4",
        "petri/unseen among all 4",
    ]
    retrieval = results["petri/test"]
    assert retrieval.n == 3 and retrieval.artifacts["texts"] == 6  # the broken picture's captions are gone with it
    assert [item["reason"] != "" for item in retrieval.artifacts["bad"]] == [True]
    # Both captions of a picture have equal embeddings, which is a tie between positives and costs nothing.
    assert retrieval.metrics["text_to_image/recall@1"] == retrieval.metrics["image_to_text/map"] == 1
    assert results["petri/unseen among all 4"].metrics["top1"] == 1
    assert results["petri/unseen"].artifacts["classes"] == ["blue", "yellow"]
    assert model.training  # given back as it came


def test_results_survive_json(model, world):
    results = evaluate_suite(model, "petri", {"path": str(world)})
    assert [Result.from_dict(json.loads(json.dumps(result.to_dict()))) for result in results] == results


def test_several_named_sources_and_a_count(model, world):
    data = {"first": karpathy(world), "second": {**karpathy(world), "count": 2}}
    results = evaluate_suite(model, "retrieval", data)
    assert [result.data for result in results] == ["first", "second"]
    assert len(open_sources(data)["second"]) == 2
    with pytest.raises(UserError, match="count is 9, but .* has 4"):
        open_sources({**karpathy(world), "count": 9})


def test_folds_are_measured_beside_the_whole_and_averaged(model, world):
    whole, folded = evaluate_suite(model, "retrieval", karpathy(world), options={"folds": 3, "name": "coco"})
    assert [whole.data, folded.data] == ["coco", "coco, 3 folds"] and whole.n == folded.n == 3
    parts = folded.artifacts["folds"]
    assert len(parts) == 3 and folded.metrics["image_to_text/map"] == sum(p["image_to_text/map"] for p in parts) / 3
    assert len(whole.artifacts["bad"]) == 1 and not folded.artifacts["bad"]  # counted once
    assert model.texts_seen.count("a red wall") == 1  # embedded once
    with pytest.raises(UserError, match="`folds` is 9; give a number from 2 to 4"):
        evaluate_suite(model, "retrieval", karpathy(world), options={"folds": 9})


def test_class_names_and_templates_change_the_prompts(model, world):
    data = {"format": "imagefolder", "path": str(world / "zero_shot" / "seen")}
    right = evaluate_suite(model, "zero_shot", data, options={"name": "walls", "templates": "openai"})
    assert right[0].data == "walls" and right[0].metrics["top1"] == 1 and right[0].artifacts["templates"] == 80
    model.texts_seen.clear()
    swapped = evaluate_suite(model, "zero_shot", data, options={"class_names": ["red", "green"]})
    assert swapped[0].artifacts["classes"] == ["red", "green"]  # the folders are sorted: green is label 0
    assert swapped[0].metrics["top1"] == 0
    assert model.texts_seen == ["a photo of a red.", "a photo of a green."]


def test_seen_classes_option_splits_one_source(model, world):
    data = {"format": "imagefolder", "path": str(world / "zero_shot" / "seen")}
    results = evaluate_suite(model, "zero_shot", data, options={"seen_classes": ["red"], "name": "walls"})
    assert [result.data for result in results][:3] == ["walls", "walls/seen", "walls/unseen"]


@pytest.mark.parametrize(
    ("suite", "options", "message"),
    [
        ("retreival", {}, "suite: no suite 'retreival'.*Did you mean 'retrieval'"),
        ("retrieval", {"chunks": 3}, "options: retrieval: unknown key `chunks`.*Did you mean 'chunk'"),
        ("zero_shot", {}, "has no classes"),
    ],
)
def test_mistakes_get_one_line(model, world, suite, options, message):
    with pytest.raises(UserError, match=message) as caught:
        evaluate_suite(model, suite, karpathy(world), options=options)
    assert "\n" not in str(caught.value)


def test_a_missing_world_says_how_to_make_one(model, tmp_path):
    with pytest.raises(UserError, match="clipdistill petri"):
        evaluate_suite(model, "petri", tmp_path / "nowhere")


def test_retrieval_without_captions_is_an_error(model, world):
    with pytest.raises(UserError, match="no captions"):
        evaluate_suite(model, "retrieval", {"format": "imagefolder", "path": str(world / "zero_shot" / "seen")})


def test_no_readable_picture_is_an_error_with_the_first_reason(model, world):
    for path in (world / "images").iterdir():
        path.write_bytes(b"")
    with pytest.raises(UserError, match="none of the 4 pictures"):
        evaluate_suite(model, "retrieval", karpathy(world))


def test_equal_texts_are_encoded_once_and_share_their_bits(model):
    features = embed_texts(model, ["red", "blue", "red", "green"], batch_size=2)
    assert model.texts_seen == ["red", "blue", "green"]
    assert torch.equal(features[0], features[2]) and not torch.equal(features[0], features[1])
    assert not features.is_inference()


def test_progress_counts_every_picture(model, world):
    calls = []
    evaluate_suite(model, "retrieval", karpathy(world), batch_size=3, progress=lambda *call: calls.append(call))
    assert [call for call in calls if call[0] == "pictures"][-1] == ("pictures", 4, 4)


def test_examples_ask_every_model_the_same_seeded_questions(model, world):
    source = next(iter(open_sources(karpathy(world)).values()))
    blind = type(model)()
    blind.encode_text = lambda tokens: torch.ones(len(tokens), 3)
    first = retrieval_examples({"teacher": model, "student": blind}, source, count=10)
    again = retrieval_examples({"teacher": model}, source, count=10)
    for one, other in zip(first["queries"], again["queries"], strict=True):
        assert (one["caption"], one["answer"]) == (other["caption"], other["answer"])
    assert len(first["queries"]) == 3  # the fourth answer can't be read
    for query in first["queries"]:
        assert query["models"]["teacher"]["rank"] == 1
        assert query["models"]["teacher"]["found"][0] == query["answer"]
        # Every one-coloured picture is equally far from white: a three-fold tie, in which the answer comes last.
        assert query["models"]["student"]["rank"] == 3
        assert query["models"]["student"]["found"][2] == query["answer"]
        for key in query["models"]["student"]["found"]:
            assert Image.open(io.BytesIO(base64.b64decode(first["pictures"][key]))).size == (20, 20)
    json.dumps(first)


def test_another_seed_asks_other_questions(model, world):
    source = next(iter(open_sources(karpathy(world)).values()))
    asked = {
        tuple(q["caption"] for q in retrieval_examples({"m": model}, source, count=2, seed=seed)["queries"])
        for seed in range(6)
    }
    assert len(asked) > 1


def test_a_karpathy_file_without_a_split_means_its_test_split(tmp_path) -> None:
    from clipdistill.evaluate.sources import open_sources
    from clipdistill.petri import write_world

    world = tmp_path / "world"
    write_world(world, images=5, val=1, test=3, formats=("karpathy",))
    path = str(world / "dataset_petri.json")
    for data in (path, f"karpathy:{path}", {"format": "karpathy", "path": path}):
        assert [len(source) for source in open_sources(data).values()] == [3]
    assert [len(source) for source in open_sources(f"{path}@train").values()] == [5]


def test_downstream_takes_each_data_set_with_its_own_prompt(model, world):
    data = {
        "pets": {"format": "imagefolder", "path": str(world / "zero_shot" / "seen")},
        "petri": {"format": "imagefolder", "path": str(world / "zero_shot" / "unseen")},
    }
    results = evaluate_suite(model, "downstream", data)
    assert [result.data for result in results] == ["pets", "petri"]
    assert model.texts_seen[0] == "a photo of a green, a type of pet." and model.texts_seen[2] == "a photo of a blue."
    assert results[0].artifacts["prompts"] == ["a photo of a {}, a type of pet."]
    given = evaluate_suite(model, "downstream", data["pets"], options={"templates": ["the {}"], "name": "mnist"})
    assert given[0].artifacts["prompts"] == ["the {}"] and model.texts_seen[-1] == "the red"


def test_downstream_templates_are_found_by_the_name():
    assert downstream_templates("imagenet-val") == "openai"
    assert downstream_templates("Oxford-IIIT Pet") == ("a photo of a {}, a type of pet.",)
    assert downstream_templates("mnist-test") == ('a photo of the number: "{}".',)
    assert downstream_templates("fashion_mnist") == ("a photo of a {}, a type of clothing.",)
    assert downstream_templates("cifar10-test") == downstream_templates("petri/unseen") == "plain"
    for template in DOWNSTREAM.values():
        assert len(load_templates(template if template == "openai" else (template,))) in (1, 80)


def test_compositional_suite_through_evaluate_suite(model, world):
    folder = world / "pairs" / "sugarcrepe"
    official_files.sugarcrepe(folder)
    Image.new("RGB", (20, 20), (255, 0, 0)).save(folder / "val2017" / "000000000139.jpg")
    calls = []
    results = evaluate_suite(model, "compositional", world / "pairs", progress=lambda *call: calls.append(call))
    assert [(result.evaluator, result.n, result.metrics["accuracy"]) for result in results] == [("sugarcrepe", 14, 1)]
    assert calls[0] == ("checking pictures", 1, 1) and ("pictures", 1, 1) in calls
    assert [Result.from_dict(json.loads(json.dumps(result.to_dict()))) for result in results] == results
