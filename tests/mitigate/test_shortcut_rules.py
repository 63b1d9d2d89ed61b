"""The rules of shortcut-mitigated VCR, record by record."""

from __future__ import annotations

import pytest

from clipdistill.mitigate.shortcut_rules import either, gender, plural, singular
from tests.mitigate.vcr_records import answers, record, text, tokens


def singular_of(option: str, *, right: bool, question: str = "Why is [1] here ?") -> str:
    """What an option becomes; the other three are of the other kind and have nothing to change."""
    plain = "it rains ."
    item = record(question, [option, plain, plain, plain], right=0 if right else 1)
    made = singular("a", item).record
    assert made is not None and answers(made)[1:] == [plain] * 3
    assert item["answer_choices"][0] == tokens(option), "the record that was read changed"
    return answers(made)[0]


@pytest.mark.parametrize(
    ("option", "becomes"),
    [
        ("[0] runs to [3] .", "[1] runs to [3] ."),
        ("he knows he won .", "[1] knows [1] won ."),
        ("She runs .", "[1] runs ."),
        ("[0] runs , [0] wins .", "[1] runs , [1] wins ."),
        ("[1] runs .", "[1] runs ."),  # has it already
        ("[0] runs and he wins .", "[0] runs and he wins ."),  # a person and a pronoun are two
        ("he and she run .", "he and she run ."),
        ("[0] sees [2] .", "[0] sees [2] ."),
        ("[0,1] run .", "[0,1] run ."),
        ("[0,3] run .", "[0,3] run ."),  # one person, but the list isn't that person's
        ("[0] runs to [0,3] .", "[1] runs to [0,3] ."),
        ("his dog runs .", "his dog runs ."),  # no person and no he or she
        ("HE runs .", "HE runs ."),  # counts as a pronoun, and isn't one of the four spellings
        ("[0] takes his hat .", "[1] takes his hat ."),  # possessives stay
        ("[3] runs .", "[3] runs ."),
    ],
)
def test_wrong_options_get_the_questions_person(option: str, becomes: str) -> None:
    assert singular_of(option, right=False) == becomes


@pytest.mark.parametrize(
    ("option", "becomes"),
    [
        ("[1] runs .", "He runs ."),
        ("now [1] runs .", "now he runs ."),
        ("[0] takes her hat to [0] .", "She takes her hat to she ."),
        ("[1] takes his hat for her and him .", "He takes his hat for her and him ."),
        ("he runs .", "he runs ."),  # has a pronoun already
        ("[1] says he runs .", "[1] says he runs ."),
        ("[1,2] run .", "[1,2] run ."),
        ("[1,3] run .", "[1,3] run ."),
        ("it rains .", "it rains ."),
    ],
)
def test_right_options_lose_their_person(option: str, becomes: str) -> None:
    assert singular_of(option, right=True) == becomes


def test_gender_is_counted_in_the_option_then_with_the_question_then_he() -> None:
    assert singular_of("[1] runs .", right=True, question="Why is [1] with her dog ?") == "She runs ."
    assert singular_of("[1] gives his hat to her .", right=True, question="Is [1] in her room ?").startswith(
        "She gives"
    )
    assert gender(["his", "her"], ["hers"]) == "she"
    assert gender(["Her"], ["his", "him"]) == "she"  # the option alone decides where it can
    assert gender(["his", "hers"], ["what"]) == "he"


def test_singular_keeps_questions_about_one_person_alone() -> None:
    four = ["he runs ."] * 4
    for question in ("Why is [1] with [3] ?", "Is [1] where [1] was ?", "Is [1] in [1,3] ?"):
        assert singular("a", record(question, four)).record is not None, question
    for question, many in (("Why ?", "no"), ("Why are [0] and [1] here ?", 2), ("Why are [0,2] here ?", 2)):
        outcome = singular("a", record(question, four))
        assert outcome.record is None and outcome.why == f"its question mentions {many} persons, not one"


def test_rationales_go_by_the_questions_person_too() -> None:
    item = record("Is [1] sad ?", ["yes ."] * 4, 2, ["[0] cries .", "he cries .", "[0] cries .", "[0] and [2] cry ."])
    outcome = singular("a", item)
    assert outcome.record is not None
    assert [text(one) for one in outcome.record["rationale_choices"]] == [
        "[1] cries .", "[1] cries .", "He cries .", "[0] and [2] cry .",
    ]  # fmt: skip
    assert outcome.record["answer_choices"] == item["answer_choices"]
    assert [(c.choices, c.option, c.position, c.before, c.after, c.why) for c in outcome.changes] == [
        ("rationale_choices", 0, 0, [[0]], [[1]], "wrong: the question's person"),
        ("rationale_choices", 1, 0, ["he"], [[1]], "wrong: the question's person"),
        ("rationale_choices", 2, 0, [[0]], ["He"], "right: pronoun"),
    ]
    assert {k: v for k, v in outcome.record.items() if not k.endswith("choices")} == {
        k: v for k, v in item.items() if not k.endswith("choices")
    }


@pytest.mark.parametrize(
    ("option", "right", "becomes"),
    [
        ("[1,2] run .", False, "[0,1] run ."),
        ("They run and they win .", False, "[0,1] run and [0,1] win ."),
        ("[1,2] know they run .", False, "[0,1] know [0,1] run ."),
        ("[2,1] run .", False, "[2,1] run ."),  # sorted before it is compared, so the token isn't met
        ("[1,2] see [0] .", False, "[1,2] see [0] ."),  # two tag lists are no one group
        ("[1,3] run .", False, "[1,3] run ."),
        ("[0] runs .", False, "[0] runs ."),
        ("he runs to them .", False, "he runs to them ."),
        ("[0,1] run .", True, "They run ."),
        ("now [1,2] run .", True, "now they run ."),
        ("they run .", True, "they run ."),
        ("[0] runs .", True, "[0] runs ."),
    ],
)
def test_plural(option: str, right: bool, becomes: str) -> None:
    item = record("Why are [1,0] here ?", [option, "so .", "so .", "so ."], right=0 if right else 1)
    made = plural("a", item).record
    assert made is not None and answers(made)[0] == becomes


def test_plural_keeps_questions_about_one_group_of_persons() -> None:
    four = ["they run ."] * 4
    for question in ("Why are [1,0] here with [2] ?", "Why is [1] here ?", "Why are [0,3] here ?", "Why ?"):
        outcome = plural("a", record(question, four))
        assert outcome.record is None and outcome.why == "its question isn't about one group of persons", question


def test_the_union_takes_each_question_by_its_own_rule() -> None:
    one = either("a", record("Why is [1] here ?", ["he runs .", "so .", "so .", "so ."], right=1)).record
    group = either("a", record("Why are [0,1] here ?", ["they run .", "so .", "so .", "so ."], right=1)).record
    assert one is not None and group is not None
    assert (answers(one)[0], answers(group)[0]) == ("[1] runs .", "[0,1] run .")
    neither = either("a", record("Why are [0] and [1] here ?", ["he runs ."] * 4))
    assert neither.record is None and "neither one person nor one group" in neither.why


def test_without_labels_a_question_is_left_out() -> None:
    for rule in (singular, either):
        outcome = rule("a", record("Why is [1] here ?", ["so ."] * 4, answer_label=None))
        assert outcome.record is None and outcome.why == "it has no labels"
