#!/usr/bin/env python3
"""Turn easy-VQA and SmolLM2-135M into what the recipes `real/easy_vqa/vlm*` read, beside what prepare.py wrote.

usage: vlm_data.py DATA OUT

DATA holds smollm/*.gguf (README.md says where it comes from; `pip install gguf` reads it). OUT is prepare.py's folder,
and gets

    smollm/                            the language model as a transformers folder, float32, 0.6 GB
    captions.json                      LLaVA's JSON: a caption a picture of caltech101/train.csv and tuxpaint/train.csv
    easy_vqa/llava/train.json          LLaVA's JSON: easy-VQA's training questions, a picture's in one conversation
    easy_vqa/llava/*_val2014_*.json    VQA v2's JSON: 1,000 questions of its test split
    easy_vqa/llava/val2014/            the pictures under these names (links where the disk can)
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from prepare import link

SHORT = "Answer the question using a single word or phrase."
COUNT = 1000
PICTURE = "COCO_val2014_{:012d}.jpg"  # VQA v2's questions name pictures by number alone; what is in the file is seen


def order(text: str) -> str:
    """A place in an order that is the same on every machine."""
    return hashlib.sha256(text.encode()).hexdigest()


def conversation(name: str, picture: str, turns: list[tuple[str, str]]) -> dict[str, Any]:
    """LLaVA's record; the picture stands before the first question."""
    said: list[dict[str, str]] = []
    for question, answer in turns:
        said += [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    said[0]["value"] = f"<image>\n{said[0]['value']}".strip()
    return {"id": name, "image": picture, "conversations": said}


def captions(out: Path) -> int:
    """One caption a picture, the first of its table."""
    records = []
    for folder in ("caltech101", "tuxpaint"):
        seen: set[str] = set()
        with open(out / folder / "train.csv", encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                if row["filepath"] not in seen:
                    seen.add(row["filepath"])
                    place = f"{folder}/{row['filepath']}"
                    records.append(conversation(place, place, [("", row["caption"])]))
    (out / "captions.json").write_text(json.dumps(records) + "\n", encoding="utf-8")
    return len(records)


def training(out: Path) -> int:
    """All questions of a picture as one conversation."""
    questions = json.loads((out / "easy_vqa/train/questions.json").read_text(encoding="utf-8"))
    turns: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for question, answer, picture in questions:
        turns[int(picture)].append((f"{question}\n{SHORT}" if not turns[int(picture)] else question, answer))
    records = [conversation(f"train-{one}", f"train/images/{one}.png", said) for one, said in sorted(turns.items())]
    (out / "easy_vqa/llava/train.json").write_text(json.dumps(records) + "\n", encoding="utf-8")
    return len(records)


def test(out: Path) -> int:
    """Questions with ten times the same answer, as VQA v2 has ten people's."""
    questions = json.loads((out / "easy_vqa/test/questions.json").read_text(encoding="utf-8"))
    chosen = sorted(sorted(range(len(questions)), key=lambda number: order(f"test-{number}"))[:COUNT])
    asked, annotated = [], []
    for number in chosen:
        question, answer, picture = questions[number]
        asked.append({"question_id": number, "image_id": int(picture), "question": question})
        given = [{"answer_id": one, "answer": answer, "answer_confidence": "yes"} for one in range(1, 11)]
        kind = "yes/no" if answer in ("yes", "no") else "other"
        annotated.append(
            {"question_id": number, "image_id": int(picture), "question_type": question.split()[0], "answer_type": kind,
             "multiple_choice_answer": answer, "answers": given}
        )  # fmt: skip
        link(
            out / "easy_vqa/test/images" / f"{picture}.png",
            out / "easy_vqa/llava/val2014" / PICTURE.format(int(picture)),
        )
    for name, key, content in (
        ("v2_OpenEnded_mscoco_val2014_questions", "questions", asked),
        ("v2_mscoco_val2014_annotations", "annotations", annotated),
    ):
        whole = {"data_subtype": "val2014", key: content}
        (out / "easy_vqa/llava" / f"{name}.json").write_text(json.dumps(whole) + "\n", encoding="utf-8")
    return len(chosen)


def language_model(data: Path, out: Path) -> None:
    """GGUF's numbers of four bits as floats, once, in a model that doesn't call itself quantised any more."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    (file,) = sorted((data / "smollm").glob("*.gguf"))
    read = AutoModelForCausalLM.from_pretrained(str(file.parent), gguf_file=file.name)
    del read.config.quantization_config
    plain = AutoModelForCausalLM.from_config(read.config)
    plain.load_state_dict(read.state_dict())
    plain.float().save_pretrained(str(out / "smollm"))
    AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name).save_pretrained(str(out / "smollm"))


def main() -> None:
    """Parse, write, say what was written."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("data", type=Path, help="folder with smollm")
    parser.add_argument("out", type=Path, help="prepare.py's folder, such as real-data")
    options = parser.parse_args()
    for needed in (options.data / "smollm", options.out / "easy_vqa/train/questions.json"):
        if not needed.exists():
            parser.error(f"{needed} isn't there; see README.md beside this script")
    (options.out / "easy_vqa/llava").mkdir(parents=True, exist_ok=True)
    counts = {"captions": captions(options.out), "conversations": training(options.out), "questions": test(options.out)}
    if not (options.out / "smollm").is_dir():
        language_model(options.data, options.out)
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
