"""Files of answers: LLaVA's JSON lines and what leaderboards take, read; LLaVA's and lmms-eval's shape, written."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from clipdistill.errors import UserError
from clipdistill.evaluate.rows import Row, json_rows, jsonl_rows, kind, read_json
from clipdistill.evaluate.vlm.base import Answers, Benchmark, Question
from clipdistill.files import write_json, write_text

HOW = 'give a line {"question_id": ..., "text": ...} an answer, as LLaVA writes them, or a leaderboard\'s JSON'
IDS = ("question_id", "questionId", "id")
TEXTS = ("text", "answer", "prediction", "response")
"""Names of the fields in LLaVA's, VQA's, GQA's and MMMU's files."""


def read_answers(path: str | Path, benchmark: Benchmark, questions: Sequence[Question]) -> dict[str, str]:
    """Read answers to a benchmark's questions: id -> what the model said.

    A file is JSON lines or a JSON list of objects with an id and a text, or one JSON object of id -> text. Where
    LLaVA's ids don't name a question (TextVQA's and MME's are of pictures), `prompt` tells which it is. An answer that
    is there twice, word for word, counts once.

    Raises:
        UserError: the file or a field is missing or wrong, an answer is to a question that the benchmark hasn't, or two
            answers to one question differ.
    """
    file = Path(path)
    place = benchmark.place(questions) if benchmark.place is not None else None
    ids = {question.id for question in questions}
    found: dict[str, str] = {}
    for row, number, said in _rows(file, benchmark.name):
        prompt = row.values.get("prompt")
        fits = [number] if place is None else place(number, prompt if isinstance(prompt, str) else "")
        fits = [one for one in fits if one in ids]
        if not fits:
            asked = " with this prompt" if place is not None and prompt else ""
            raise row.bad("question_id", f"'{number}'{asked} is no question of {benchmark.name}")
        # Where several questions are asked in the same words, answers belong to them in their order.
        name = next((one for one in fits if one not in found), fits[-1])
        if found.get(name, said) != said:
            raise row.bad("text", f"is another answer to '{name}' than an earlier row's")
        found[name] = said
    return found


def _rows(file: Path, who: str) -> Iterator[tuple[Row, str, str]]:
    """(row, id, text) of each answer."""
    if file.suffix == ".json" and isinstance(content := read_json(file, HOW, who), dict):
        whole = Row(file, "the object", content, HOW, who)
        for number, said in content.items():
            if not isinstance(said, str):
                raise whole.bad(number, f"is {kind(said)}, not a text")
            yield whole, number, said
        return
    for row in json_rows(file, HOW, who) if file.suffix == ".json" else jsonl_rows(file, HOW, who):
        number = row.get(next((one for one in IDS if one in row.values), IDS[0]))
        if isinstance(number, bool) or not isinstance(number, int | str):
            raise row.bad("question_id", f"is {kind(number)}, neither a number nor a text")
        field = next((one for one in TEXTS if one in row.values), TEXTS[0])
        said = row.get(field)
        if not isinstance(said, str):
            raise row.bad(field, f"is {kind(said)}, not a text")
        yield row, str(number), said


def write_llava_answers(path: str | Path, questions: Sequence[Question], answers: Answers, model: str = "") -> None:
    """Write LLaVA's answers file, a line `{"question_id", "prompt", "text", "model_id", "metadata"}` an answer.

    Ids are ours (they are LLaVA's but for TextVQA and MME); `read_answers` takes both. An id of digits is a number, as
    in LLaVA's files of VQA and POPE.
    """
    lines = [
        json.dumps(
            {"question_id": int(one.id) if one.id.isdigit() else one.id, "prompt": one.prompt,
             "text": answers[one.id], "model_id": model, "metadata": {}},
            ensure_ascii=False,
        ) + "\n"
        for one in questions if one.id in answers
    ]  # fmt: skip
    write_text(path, "".join(lines))


def lmms_eval_results(benchmark: Benchmark, rule: str, metrics: Mapping[str, float], n: int) -> dict[str, Any]:
    """What lmms-eval's results file holds of these metrics: tasks' values under "METRIC,none", and what goes with them.

    Its standard errors are "N/A", as where it computes none.

    Raises:
        UserError: metrics of another rule, which would pass for lmms-eval's.
    """
    if rule != "lmms_eval":
        raise UserError(f"{benchmark.name}: scored by rule '{rule}'; lmms-eval's results are of rule 'lmms_eval'")
    results: dict[str, dict[str, Any]] = {}
    better: dict[str, dict[str, bool]] = {}
    for name, (task, metric) in benchmark.lmms.items():
        if name in metrics:
            results.setdefault(task, {"alias": task})[f"{metric},none"] = metrics[name]
            results[task][f"{metric}_stderr,none"] = "N/A"
            better.setdefault(task, {})[metric] = True
    return {
        "results": results,
        "group_subtasks": {task: [] for task in results},
        "configs": {task: {"task": task} for task in results},
        "versions": dict.fromkeys(results, "Yaml"),
        "n-shot": dict.fromkeys(results, 0),
        "higher_is_better": better,
        "n-samples": {task: {"original": n, "effective": n} for task in results},
    }


def write_lmms_eval_results(
    path: str | Path, benchmark: Benchmark, rule: str, metrics: Mapping[str, float], n: int
) -> None:
    """Write `lmms_eval_results` as JSON."""
    write_json(path, lmms_eval_results(benchmark, rule, metrics, n))
