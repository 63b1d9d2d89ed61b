"""EM with a hand-made WordNet: which words change, into what, and in which form."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipdistill.data.wordnet import WordNet
from clipdistill.mitigate.explicit import Explicit
from tests.mitigate.vcr_records import answers, record


@pytest.fixture
def em(wordnet_folder: Path) -> Explicit:
    return Explicit(WordNet(wordnet_folder))


def rewritten(em: Explicit, question: str, option: str, **more: object) -> str:
    made = em("a", record(question, [option, "so .", "so .", "so ."], objects=["person"] * 3, **more)).record
    assert made is not None
    return answers(made)[0]


@pytest.mark.parametrize(
    ("question", "option", "becomes"),
    [
        ("Is a dog here ?", "the dog .", "the canine ."),  # no synonym, so what it is a kind of
        ("Is a dog here ?", "two dogs .", "two canines ."),  # number stays
        ("Are dogs here ?", "a dog .", "a canine ."),  # lemmas are compared
        ("Is a canine here ?", "a canine .", "a canid ."),  # a synonym goes first
        ("Is a canine or canid here ?", "a canine .", "an animal ."),  # none that the question has; and the article
        ("Is a goose here ?", "geese .", "birds ."),
        ("Who jumps ?", "[0] jumped .", "[0] leapt ."),  # tense stays, by the exceptions
        ("Who jumps ?", "[0] is jumping .", "[0] is leaping ."),
        ("Who jumps ?", "[0] jumps .", "[0] leaps ."),
        ("Who will move ?", "[0] moved .", "[0] went ."),
        ("Who will move ?", "[0] has moved .", "[0] has gone ."),
        ("Is it bad ?", "it was worse .", "it was more awful ."),
        ("Is a red car here ?", "Red dogs .", "Reddish dogs ."),  # capitals stay
        ("Is a traffic light here ?", "the traffic lights .", "the stoplights ."),  # a unit of WordNet's
        ("Is traffic or light here ?", "traffic light .", "entity entity ."),  # not as an n-gram of the question
        ("Who picks up a dog ?", "[0] picked up [1] .", "[0] lifted out [1] ."),
        ("Is a red dog here ?", "a red dog .", "a reddish canine ."),  # red_dog is in WordNet, and in no tagged text
        ("Does it run ?", "a run .", "an entity ."),  # behind an article it is the noun
        ("Is a dog here ?", "to dogs .", "to canines ."),  # seen more often as a noun
        ("Is a dog here ?", "it will dog [0] .", "it will take [0] ."),
        ("Is a dog here ?", "he dogs [0] .", "he takes [0] ."),
        ("Is he quickly here ?", "quickly .", "rapidly ."),
    ],
)
def test_shared_words_are_said_otherwise(em: Explicit, question: str, option: str, becomes: str) -> None:
    assert rewritten(em, question, option) == becomes
    assert not em.unreplaced


@pytest.mark.parametrize(
    ("question", "option"),
    [
        ("Is he here with a fox ?", "he is here with [0] ."),  # stop words, however often they overlap
        ("Is [0] a dog ?", "[0] is happy ."),  # tags, and what isn't shared
        ("Is [0] in Paris ?", "in Paris ."),  # a name
        ("Are 2 here ?", "2 .", ),
    ],
)  # fmt: skip
def test_what_stays(em: Explicit, question: str, option: str) -> None:
    assert rewritten(em, question, option) == option
    assert not em.unreplaced


def test_what_has_no_other_word_stays_and_is_counted(em: Explicit) -> None:
    assert rewritten(em, "Is a fox or travel here ?", "a fox , travel .") == "a fox , travel ."
    assert (
        rewritten(em, "Is a dog , canine , canid or animal here ?", "the dog .") == "the dog ."
    )  # two steps up, no more
    assert dict(em.unreplaced) == {"fox": 1, "travel": 1, "dog": 1}
    assert rewritten(em, "Is it a hand ?", "a hand .") == "a fist ."  # words that name each other end


def test_labels_of_the_picture_count_too_and_all_answers_are_treated_alike(em: Explicit) -> None:
    item = record("Why ?", ["a dog .", "the dog runs .", "dogs .", "traffic lights ."], 2, ["a dog ."] * 4)
    outcome = em("val-7", item)
    assert outcome.record is not None
    assert answers(outcome.record) == ["a canine .", "the canine runs .", "canines .", "stoplights ."]
    assert outcome.record["rationale_choices"] == item["rationale_choices"]
    assert {k: v for k, v in outcome.record.items() if k != "answer_choices"} == {
        k: v for k, v in item.items() if k != "answer_choices"
    }
    assert [(c.annot_id, c.choices, c.option, c.position, c.before, c.after, c.why) for c in outcome.changes] == [
        ("val-7", "answer_choices", 0, 1, ["dog"], ["canine"], "hypernym of 'dog'"),
        ("val-7", "answer_choices", 1, 1, ["dog"], ["canine"], "hypernym of 'dog'"),
        ("val-7", "answer_choices", 2, 0, ["dogs"], ["canines"], "hypernym of 'dog'"),
        ("val-7", "answer_choices", 3, 0, ["traffic", "lights"], ["stoplights"], "synonym of 'traffic light'"),
    ]


def test_an_article_that_changes_is_part_of_the_change(em: Explicit) -> None:
    (change, _) = em("a", record("Is a canine or canid here ?", ["A canine .", "canine .", "so .", "so ."])).changes
    assert (change.position, change.before, change.after) == (0, ["A", "canine"], ["An", "animal"])
