"""Types of VCR's questions by their words, and the table of shares."""

from __future__ import annotations

import pytest

from clipdistill.data.question_types import load_question_types, shares_table, type_shares
from clipdistill.errors import UserError


@pytest.mark.parametrize(
    ("question", "first", "all_of_them"),
    [
        ("Why is Casey looking at Riley?", "activity", ("activity", "explanation")),
        ("How is Casey feeling?", "mental", ("mental",)),
        ("How does Riley know?", "explanation", ("explanation",)),
        ("How come it rains?", "explanation", ("explanation",)),
        ("How many are there?", "other", ("other",)),
        ("Where would Casey go next?", "temporal", ("temporal", "hypothetical", "scene")),
        ("Are they MARRIED?", "role", ("role",)),
        ("What is nearby?", "other", ("other",)),  # whole words alone
        ("What is the whyever?", "other", ("other",)),
        ("What is near?", "scene", ("scene",)),
    ],
)
def test_words_decide_and_the_first_type_has_priority(question: str, first: str, all_of_them: tuple[str, ...]) -> None:
    types = load_question_types("vcr")
    assert types.of(question) == (first,)
    every = type(types)(types.words, "all", types.fallback)
    assert every.of(question) == all_of_them


def test_the_papers_shares_are_beside_ours() -> None:
    types = load_question_types("vcr")
    assert types.printed is not None and sum(types.printed.values()) == 100
    assert types.names == ("mental", "role", "temporal", "hypothetical", "scene", "activity", "explanation")
    shares = {one.type: one for one in type_shares(types, ["Why?", "Why not?", "Where?", "Who?"])}
    assert shares["explanation"][1:] == (2, 50.0, pytest.approx(200 / 3), 38.0)
    assert shares["scene"][1:] == (1, 25.0, pytest.approx(100 / 3), 5.0)
    assert shares["other"][1:] == (1, 25.0, 0.0, None) and shares["role"].questions == 0
    table = shares_table(shares.values())
    assert "| explanation | 2 | 50.0 % | 66.7 % | 38 % |" in table
    assert table.endswith("| other | 1 | 25.0 % | 0.0 % |  |")
    assert type_shares(types, []) == []


def test_rules_of_ones_own(tmp_path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "policy: all\nfallback: rest\ntypes:\n  colour: {words: [what colour]}\n  count: {words: [how many]}"
    )
    types = load_question_types(file)
    assert types.of("How  many, and what colour?") == ("colour", "count") and types.of("Who?") == ("rest",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("types: [a]", "no mapping 'types' in it"),
        ("typs: {a: {words: [b]}}\ntypes: {a: {words: [b]}}", "unknown key 'typs'.*Did you mean 'types'"),
        ("policy: last\ntypes: {a: {words: [b]}}", "policy 'last' is not one of first, all"),
        ("types: {a: {words: []}}", "type 'a' needs 'words'"),
        ("types: {a: {words: [yes]}}", "type 'a' needs 'words'"),  # YAML's yes is a truth value
        ("fallback: a\ntypes: {a: {words: [b]}}", "fallback 'a' is a type of its own"),
        ("types: {", "not valid YAML"),
    ],
)
def test_bad_rules_are_one_line(tmp_path, text: str, message: str) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        load_question_types(file)
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(UserError, match="no such file of question types; or write vcr or petri"):
        load_question_types("vrc")
