"""Adversarial sets: which tokens are masked, how they are written, and that the source of VCR reads them back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from clipdistill.data import open_source
from clipdistill.errors import UserError
from clipdistill.mitigate import mitigate_vcr
from clipdistill.mitigate.masking import (
    adversarial,
    flattened,
    masked_places,
    read_scores,
    score_line,
    with_masked,
)
from clipdistill.mitigate.shortcut_rules import singular
from tests.mitigate.vcr_records import answers, record, text, tokens, write_vcr

OPTION = tokens("[0,2] and [1] run .")  # six tokens: 0, 2, and, 1, run, the stop


def test_tags_of_a_group_are_tokens_of_their_own() -> None:
    assert flattened(OPTION) == [0, 2, "and", 1, "run", "."]
    assert with_masked(OPTION, {1, 4}) == [[0, 10002], "and", [1], "[MASK]", "."]
    assert with_masked(OPTION, {0, 3, 5}) == [[10000, 2], "and", [10001], "run", "[MASK]"]
    assert with_masked(OPTION, set()) == OPTION
    assert with_masked(with_masked(OPTION, {1}), {1, 2}) == [[0, 10002], "[MASK]", [1], "run", "."]  # masked once


def test_the_highest_losses_decide_and_among_equals_the_first() -> None:
    losses = [0.1, 0.9, 0.3, 0.9, 0.2, 0.0]
    assert masked_places(losses, "adv-1") == {1}
    assert masked_places(losses, "keep-1") == {0, 2, 3, 4, 5}
    assert masked_places(losses, "keep-3") == {0, 4, 5}
    assert masked_places(losses, "keep-5") == {5}
    assert masked_places([0.5], "keep-3") == set()


def scored(item: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Losses that fall from the first token on, but for answer 3, where they rise."""
    losses = {
        name: [[-float(place) for place in range(len(flattened(option)))] for option in item[name]]
        for name in ("answer_choices", "rationale_choices")
    }
    losses["answer_choices"][3].reverse()
    return {**score_line(item["annot_id"], item, losses), **changes}


def four() -> dict[str, Any]:
    return record("Why ?", ["[0,2] run .", "he runs .", "so .", "it is [1]"], 1)


def test_every_option_is_masked_or_wrong_ones_only() -> None:
    item = four()
    scores = {"val-0": scored(item)}
    made = adversarial("val-0", item, scores=scores, masks="adv-1").record
    assert made is not None
    assert answers(made) == ["[10000,2] run .", "[MASK] runs .", "[MASK] .", "it is [10001]"]
    assert [text(one) for one in made["rationale_choices"]] == ["[MASK] it is ."] * 4
    outcome = adversarial("val-0", item, scores=scores, masks="keep-1", wrong_only=True)
    assert outcome.record is not None
    assert answers(outcome.record) == ["[0,10002] [MASK] [MASK]", "he runs .", "so [MASK]", "[MASK] [MASK] [1]"]
    first = outcome.changes[0]
    assert (first.position, first.before, first.after, first.why) == (0, [[0, 2]], [[0, 10002]], "wrong: keep-1")
    assert adversarial("val-1", item, scores=scores, masks="adv-1").why == "it has no scores"


def test_the_layout_of_a_score_file() -> None:
    line = scored(four())
    assert list(line) == [
        "annot_id", "answer_label", "answer_tokens", "answer_losses", "rationale_label", "rationale_tokens",
        "rationale_losses",
    ]  # fmt: skip
    assert line["answer_tokens"][0] == [0, 2, "run", "."] and line["answer_losses"][0] == [0, -1, -2, -3]
    assert line["answer_label"] == 1


def test_a_masked_file_is_read_back(tmp_path: Path) -> None:
    item = four()
    file = write_vcr(tmp_path, [item])
    (tmp_path / "scores.jsonl").write_text(json.dumps(scored(item)) + "\n")
    summary = mitigate_vcr(file, "sm-adversarial", tmp_path, scores=tmp_path / "scores.jsonl", mask="adv-1")
    assert summary["file"] == str(tmp_path / "val-sm-adversarial-adv-1.jsonl") and summary["changes"] == 8
    sample = open_source({"format": "vcr", "path": summary["file"]})[0]
    assert sample.fields["choices"] == ("[MASK] Jessie run.", "[MASK] runs.", "[MASK].", "it is [MASK]")
    assert [[tag.region for tag in tags] for tags in sample.fields["choice_tags"]] == [[2], [], [], []]


def test_a_masked_tag_is_no_person() -> None:
    item = record("Why is [1] here ?", ["[10000] and he run .", "so .", "so .", "so ."], 1)
    made = singular("val-0", item).record
    assert made is not None and answers(made)[0] == "[10000] and [1] run ."


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answer_label": 2}, r"line 1 \('val-0'\): answer_label is 2 there and 1 here"),
        ({"answer_losses": [[1.0]] * 4}, "1 answer_losses for option 0, which has 4 tokens"),
        ({"answer_losses": [[1.0]] * 3}, "'answer_losses' isn't four lists"),
        ({"rationale_losses": None}, "'rationale_losses' isn't four lists"),
        ({"rationale_losses": [[1.0, float("nan"), 1.0, 1.0]] * 4}, "'rationale_losses' of option 0 aren't numbers"),
        ({"annot_id": "val-9"}, "has no scores of these questions"),
    ],
)
def test_scores_of_something_else_are_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    item = four()
    file = tmp_path / "scores.jsonl"
    file.write_text(json.dumps(scored(item, **changes)) + "\n")
    with pytest.raises(UserError, match=message):
        read_scores(file, {"val-0": item})


def test_files_that_are_no_scores(tmp_path: Path) -> None:
    (tmp_path / "broken.jsonl").write_text("{}\nnot json\n")
    for name, message in (("broken.jsonl", "line 2: not JSON"), ("none", "no such score file"), (".", "is a folder")):
        with pytest.raises(UserError, match=message):
            read_scores(tmp_path / name, {"val-0": four()})
