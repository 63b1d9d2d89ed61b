"""Petri conversations in LLaVA's JSON: true, balanced, the same from the same world, and read back by the readers."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from clipdistill.data import open_source
from clipdistill.evaluate.vlm import read_questions, score
from clipdistill.models.vlm.language import petri_words
from clipdistill.petri import world_pictures, write_world
from clipdistill.petri.dialogues import ANSWERS, SHORT, SLACK, TURNS, balanced_questions, sort_of
from clipdistill.petri.questions import more_questions
from clipdistill.petri.scenes import SceneRules, region
from clipdistill.petri.settings import make_settings, world_settings
from clipdistill.petri.writers import Picture


def pictures(count: int) -> tuple[list[Picture], SceneRules]:
    settings = make_settings(
        images=count, val=0, test=0, seed=3, formats=["llava"], image_size=64, skew="even", domain="plain", held_out=12,
        zero_shot=1,
    )  # fmt: skip
    return list(world_pictures(settings)), settings.rules()


def test_no_answer_is_said_much_more_often_than_another() -> None:
    found, rules = pictures(400)
    asked = balanced_questions(rules, found)
    said = Counter((sort_of(one), one.answers[0]) for _, its in asked for one in its)
    for kind, answers in ANSWERS.items():
        counts = [said[kind, one] for one in answers]
        assert max(counts) - min(counts) <= SLACK and min(counts) > 0, (kind, counts)
    assert sum(said.values()) > 5 * 400 and all(len(its) <= TURNS for _, its in asked)
    assert {kind for kind, _ in said} == {*ANSWERS, "relation"}
    assert balanced_questions(rules, found[:50]) == asked[:50]  # more pictures change nothing of the earlier ones


def test_answers_are_true_and_the_only_ones() -> None:
    found, rules = pictures(60)
    for picture in found:
        things = picture.scene.things
        for one in more_questions(rules, picture.scene, 3):
            (answer,) = one.answers
            words = one.text.rstrip("?").split()
            if one.kind == "presence":
                assert (answer == "yes") == any(thing.name == " ".join(words[-2:]) for thing in things)
            elif one.kind == "colour":
                assert {thing.colour for thing in things if thing.shape == words[-1]} == {answer}
            elif one.kind == "place":
                assert {region(thing) for thing in things if thing.name == " ".join(words[-2:])} >= {answer}
            elif one.text == "how many things are there?":
                assert int(answer) == len(things)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("petri") / "world"
    write_world(folder, images=12, val=2, test=5, seed=3, formats=["llava"], image_size=32)
    return folder


def test_the_source_reads_both_files(world: Path) -> None:
    captions, questions = (open_source(f"llava:{world}/llava/{name}_train.json") for name in ("captions", "questions"))
    assert (len(captions), len(questions), captions.skipped, questions.skipped) == (60, 12, [], [])
    settings = world_settings(world)
    first = next(iter(world_pictures(settings)))
    assert [captions[row].fields["conversation"][1] for row in range(5)] == list(first.captions)
    assert all(captions[row].image.open().size == (32, 32) for row in (0, 59))
    turns = questions[0].fields["conversation"]
    assert turns[0].endswith(f"?\n{SHORT}") and not any(SHORT in text for text in turns[1:])
    words = petri_words()
    texts = [text for source in (captions, questions) for sample in source for text in sample.fields["conversation"]]
    assert not any(words.unk_token_id in words(text)["input_ids"] for text in texts)


def test_the_test_split_is_a_benchmark_of_vqas_form(world: Path) -> None:
    asked = read_questions("vqa_v2", world / "llava", "test")
    right = {one.id: one.gold[0] for one in asked}
    assert score("vqa_v2", asked, right).metrics["accuracy"] == 1.0
    turns = json.loads((world / "llava" / "questions_test.json").read_text(encoding="utf-8"))
    assert len(asked) == sum(len(one["conversations"]) // 2 for one in turns)
    assert {one.prompt.partition("\n")[2] for one in asked} == {SHORT}
    assert not (world / "llava" / "v2_OpenEnded_petri_train_questions.json").exists()
