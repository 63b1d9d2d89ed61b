"""Synthetic questions about pictures in the files of VCR, SNLI-VE, VQA v2 and LLaVA; options as in pair_files.py."""

from __future__ import annotations

import json
from pathlib import Path

from clipdistill.petri.choices import SHORTCUT
from clipdistill.petri.dialogues import balanced_questions, write_llava
from clipdistill.petri.question_writers import write_snli_ve, write_vcr, write_vqa
from clipdistill.petri.questions import answer_words, questions
from clipdistill.rehearsal.handful import Handful
from clipdistill.rehearsal.pair_files import Options, without

ASKED_ABOUT = 6
"""Pictures with questions, at most: each has several."""


def vcr(handful: Handful, path: Path, options: Options) -> Options:
    """A split's jsonl (`val_sm` and its like too) with metadata; pictures in images/ beside the folder."""
    folder, titles = (path.parent, [path.stem]) if path.suffix == ".jsonl" else (path, _splits(options))
    for title in titles:
        pictures = handful.of(title, ASKED_ABOUT)
        write_vcr(folder, handful.rules, title, pictures, handful.side, SHORTCUT)
        handful.save(folder.parent / "images", pictures)
    return without(options, "root", "subset")


def snli_ve(handful: Handful, path: Path, options: Options) -> Options:
    """A split's jsonl; pictures in images/ beside the folder."""
    folder = path.parent if path.suffix == ".jsonl" else path
    for title in [path.stem] if path.suffix == ".jsonl" else _splits(options):
        world = "val" if "dev" in title else "test" if "test" in title else "train"
        pictures = handful.of(world, ASKED_ABOUT)
        write_snli_ve(folder, handful.rules, world, pictures)
        written = folder / f"snli_ve_{'dev' if world == 'val' else world}.jsonl"
        wanted = path if path.suffix == ".jsonl" else folder / f"snli_ve_{title}.jsonl"
        if written != wanted:
            written.rename(wanted)
        handful.save(folder.parent / "images", pictures)
    return without(options, "root", "subset")


def vqa_v2(handful: Handful, path: Path, options: Options, answers: int = 0) -> Options:
    """A split's questions and annotations; pictures in images/ beside the folder.

    Args:
        answers: size of the vocabulary that the recipe's model answers with; 0 = the synthetic answers alone.
    """
    folder = path.parent if path.suffix == ".json" else path
    for title in _splits(options):
        pictures = handful.of(title, ASKED_ABOUT)
        write_vqa(folder, handful.rules, title, [(each, questions(handful.rules, each.scene)) for each in pictures])
        handful.save(folder.parent / "images", pictures)
    words = list(answer_words(handful.rules))
    words += [f"answer {number}" for number in range(answers - len(words))]
    file = folder / f"answers_{len(words)}.txt"
    file.write_text("".join(f"{word}\n" for word in words), encoding="utf-8")
    found = without(options, "root", "subset", "min_count") | {"answers": str(file)}
    if path.suffix != ".json":
        return found
    title = _splits(options)[0]
    (folder / f"v2_OpenEnded_petri_{title}_questions.json").rename(path)
    return found | ({"annotations": str(folder / f"v2_petri_{title}_annotations.json")} if "annotations" in options
                    else {})  # fmt: skip


def llava(handful: Handful, path: Path, options: Options) -> Options:
    """Conversations of both of LLaVA's stages: captions, and questions turn by turn; pictures beside the file."""
    pictures = handful.of("train", ASKED_ABOUT)
    write_llava(path.parent, "train", balanced_questions(handful.rules, pictures))
    parts = [path.parent / f"{name}_train.json" for name in ("captions", "questions")]
    content = [one for part in parts for one in json.loads(part.read_text(encoding="utf-8"))]
    for part in parts:
        part.unlink()
    path.write_text(json.dumps(content), encoding="utf-8")
    handful.save(path.parent / "images", pictures)
    return without(options, "root", "subset")


def _splits(options: Options) -> list[str]:
    return [part.strip() for part in str(options.get("split") or "train").split("+")]
