"""Table 9 of CLIP-TD: how much more the right answer shares with its question, and with its picture's labels.

The paper doesn't say what a token is. Here they are different content words, by their lemmas, and different tags
(`overlap`); a tag counts among the labels as the object that it names. "More" compares the right answer with the mean
of the wrong ones, as the paper averages them; questions with equal numbers count for neither.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from clipdistill.data.wordnet import open_wordnet
from clipdistill.errors import UserError
from clipdistill.files import require_writable, write_json
from clipdistill.mitigate.overlap import Overlap, tag_baseline, word_baseline
from clipdistill.mitigate.vcr_files import Record, VcrFile, read_vcr
from clipdistill.yaml_files import read_yaml

SHOWN = ("question_tokens", "question_more", "labels_tokens", "labels_more")
PAPER = Path(__file__).parent / "paper_table9.yaml"


def vcr_bias(
    file: str | Path, im: str | Path | None = None, *, wordnet: str | Path | None = None, json_path: Path | None = None
) -> dict[str, Any]:
    """Measure a VCR file's text bias, and that of what implicit mitigation left of it.

    Args:
        file: a VCR jsonl with labels.
        im: the file that `mitigate(..., kind="im")` wrote of it; None = it isn't measured.
        wordnet: WordNet's folder; None = where it is found.
        json_path: write what is returned here.

    Returns:
        `data`, `n`, and a dict a group: `all`, and with `im` also `im` (what it kept) and `im_left_out` (the rest).
        Each has `n`, `right` and `wrong` with `SHOWN`: average numbers, and percentages of the questions; and
        `tag_baseline`, `word_baseline`: the accuracy, in per cent, of choosing the answer that shares most
        (`overlap.tag_baseline`). `paper`: the printed table.

    Raises:
        UserError: files that can't be read, have no labels, or aren't of the same questions; no WordNet.
    """
    if json_path is not None:
        require_writable(json_path, "--json")
    overlap = Overlap(open_wordnet(wordnet))
    whole = read_vcr(file)
    groups = {"all": _labelled(whole)}
    if im is not None:
        kept = read_vcr(im)
        strangers = set(kept.records) - set(whole.records)
        if strangers:
            raise UserError(
                f"--im {kept.path}: {len(strangers):,} of its questions aren't in {whole.path}, such as "
                f"'{min(strangers)}'; it was made of another file"
            )
        groups["im"] = [record for one, record in whole.records.items() if one in kept.records and _has_label(record)]
        rest = [record for one, record in whole.records.items() if one not in kept.records and _has_label(record)]
        groups |= {"im_left_out": rest} if rest else {}
    found = {"data": str(whole.path), "n": len(groups["all"])}
    found |= {name: measured(records, overlap) for name, records in groups.items()}
    found["paper"] = paper_table()
    if json_path is not None:
        write_json(json_path, found)
    return found


def measured(records: Iterable[Record], overlap: Overlap) -> dict[str, Any]:
    """Table 9's numbers of labelled records, see `vcr_bias`."""
    counts: dict[str, list[list[int]]] = {"question": [], "labels": []}
    labels: list[int] = []
    tags: list[bool] = []
    words: list[bool] = []
    for record in records:
        labels.append(record["answer_label"])
        for name, keys in (("question", overlap.in_question(record)), ("labels", overlap.in_labels(record))):
            counts[name].append([overlap.count(option, keys) for option in record["answer_choices"]])
        tags.append(tag_baseline(record) == labels[-1])
        words.append(word_baseline(record, overlap) == labels[-1])
    is_right = np.arange(4) == np.array(labels)[:, None]
    rows: dict[str, dict[str, float]] = {"right": {}, "wrong": {}}
    for name, numbers in counts.items():
        shared = np.array(numbers, np.float64)
        right, wrong = shared[is_right], shared[~is_right].reshape(-1, 3).mean(axis=1)
        for row, own, other in (("right", right, wrong), ("wrong", wrong, right)):
            rows[row][f"{name}_tokens"] = round(float(own.mean()), 4)
            rows[row][f"{name}_more"] = round(100 * float((own > other).mean()), 2)
    baselines = {
        name: round(100 * float(np.mean(hits)), 2) for name, hits in (("tag_baseline", tags), ("word_baseline", words))
    }
    return {"n": len(labels), **rows, **baselines}


@cache
def paper_table() -> dict[str, Any]:
    """The numbers printed in table 9, by group, right and wrong."""
    found: dict[str, Any] = read_yaml(PAPER)
    return found


def _has_label(record: Record) -> bool:
    return record.get("answer_label") is not None


def _labelled(file: VcrFile) -> list[Record]:
    found = [record for record in file.records.values() if _has_label(record)]
    if not found:
        raise UserError(f"{file.path}: has no labels, so right and wrong answers can't be told; give val.jsonl")
    return found
