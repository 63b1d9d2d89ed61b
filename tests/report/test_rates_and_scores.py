"""Rates in per cent, and what is none as it is: MME's score of 1,234 points isn't 123,400 per cent."""

from __future__ import annotations

import pytest

from clipdistill.report.tables import Summary, is_plain
from clipdistill.report.words import change, shown
from clipdistill.runs.evaluation import show_results


@pytest.mark.parametrize(
    ("metric", "value", "words", "difference"),
    [
        ("accuracy", 0.0423, "4.2", "+4.2"), ("accuracy/yes_no", 0.5, "50.0", "+50.0"),
        ("perception", 1234.5, "1234.500", "+1234.500"), ("score/count", 120.0, "120.000", "+120.000"),
        ("cka", 0.25, "0.250", "+0.250"), ("text_to_image/recall@1", 1.0, "100.0", "+100.0"),
    ],
)  # fmt: skip
def test_a_value_is_shown_as_what_it_is(metric: str, value: float, words: str, difference: str) -> None:
    assert is_plain(metric) == (words not in ("4.2", "50.0", "100.0"))
    assert shown(Summary((value,)), metric) == words and change(Summary((value,)), metric) == difference


def test_the_command_shows_per_cent(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = {"accuracy": 0.0423, "perception": 1234.5, "categories": 14}
    result = {"evaluator": "vlm", "data": "mme", "n": 2374, "metrics": metrics}
    show_results({"name": "x", "parameters": 5, "results": [result]})
    said = capsys.readouterr().out
    assert "4.23 %" in said and "1,234.5 " in said and " 14 " in said and "123450" not in said
