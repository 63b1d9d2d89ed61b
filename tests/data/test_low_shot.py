"""Low-shot draws: exact per class, the same on every machine, nested, and the rest as the unlabelled part."""

from __future__ import annotations

import json
from typing import Any

import pytest
from question_files import pair, question, vcr_item, write_easy_vqa, write_lines, write_snli_ve, write_vcr, write_vqa

from clipdistill.data import Mixture, open_source
from clipdistill.data.low_shot import SIZES, draw_low_shot, read_low_shot, write_low_shot
from clipdistill.errors import UserError

LABELS = ("entailment", "neutral", "contradiction")


def pairs(folder: Any, count: int = 30) -> str:
    return write_snli_ve(folder, [pair(k, LABELS[k % 3]) for k in range(count)])


def test_the_papers_sizes_divide_by_their_classes() -> None:
    assert SIZES == {"vcr": (700, 7000), "snli_ve": (3000, 30000), "vqa_v2": (100, 1000)}
    assert all(size % 7 == 0 for size in SIZES["vcr"]) and all(size % 3 == 0 for size in SIZES["snli_ve"])


def test_a_draw_is_exact_per_class_and_the_same_everywhere(tmp_path) -> None:
    source: Any = open_source(pairs(tmp_path))
    drawn = draw_low_shot(source, 6, seed=1)
    assert drawn.classes == dict.fromkeys(LABELS, 2) and drawn.shortfalls == {}
    # Written down from one machine: a pure function of seed and ids.
    assert [one.partition(".")[0] for one in drawn.ids] == ["0", "5", "9", "14", "22", "25"]
    assert set(drawn.ids) < set(draw_low_shot(source, 12, seed=1).ids)  # the smaller is a part of the larger
    assert draw_low_shot(source, 6, seed=2).ids != drawn.ids
    backwards: Any = open_source(write_snli_ve(tmp_path / "b", [pair(k, LABELS[k % 3]) for k in reversed(range(30))]))
    assert set(draw_low_shot(backwards, 6, seed=1).ids) == set(drawn.ids)


def test_what_a_class_lacks_is_named(tmp_path) -> None:
    lines = [pair(k, "neutral" if k < 2 else LABELS[2 * (k % 2)]) for k in range(20)]
    source: Any = open_source(write_snli_ve(tmp_path, lines))
    drawn = draw_low_shot(source, 15)
    assert drawn.classes == {"entailment": 5, "neutral": 2, "contradiction": 5} and drawn.shortfalls == {"neutral": 3}
    assert len(drawn.ids) == 12
    with pytest.raises(UserError, match="10 samples can't be drawn evenly from the 3 classes.*ask for a multiple of 3"):
        draw_low_shot(source, 10)


def test_vcr_is_drawn_by_first_question_type(tmp_path) -> None:
    starts = ["Why", "Where", "Who", "If", "What happened", "Married", "Doing what", "Thinking what"]
    items = [vcr_item(k, question=[*starts[k % 8].split(), [0], "?"]) for k in range(40)]
    source: Any = open_source({"format": "vcr", "path": write_vcr(tmp_path, items)})
    drawn = draw_low_shot(source, 21)
    assert set(drawn.classes.values()) == {3} and len(drawn.classes) == 7 and len(drawn.ids) == 21
    chosen = {one: kind for one, kind in zip(source.ids, source.strata, strict=True) if one in drawn.ids}
    assert "other" not in chosen.values()  # "Who" is of no type


def test_vqa_is_drawn_as_a_whole(tmp_path) -> None:
    source: Any = open_source(str(write_easy_vqa(tmp_path, [["?", "red", k % 2] for k in range(20)])))
    drawn = draw_low_shot(source, 5)
    assert len(drawn.ids) == 5 and drawn.classes == {}
    with pytest.raises(UserError, match="100 samples asked of 'easy_vqa_train', which has 20"):
        draw_low_shot(source, 100)


def test_the_file_says_how_it_was_drawn_and_is_read_by_a_source(tmp_path) -> None:
    path = pairs(tmp_path)
    drawn = draw_low_shot(open_source(path), 6, seed=1)
    file = tmp_path / "low.json"
    write_low_shot(file, drawn)
    assert read_low_shot(file) == drawn and json.loads(file.read_text())["ids"] == list(drawn.ids)
    assert str(tmp_path) not in file.read_text()
    few: Any = open_source({"path": path, "format": "snli_ve", "subset": str(file)})
    assert few.ids == list(drawn.ids) and sorted(few.strata) == sorted(LABELS * 2) and few[0].label is not None
    rest: Any = open_source({"path": path, "format": "snli_ve", "subset": str(file), "unlabelled": True})
    assert len(rest) == 24 and not set(rest.ids) & set(few.ids)
    assert all(rest[k].label is None for k in range(24)) and rest.classes == few.classes
    assert rest.name == "snli_ve_train_unlabelled"  # so both fit into one mixture
    assert len(Mixture([(few, None), (rest, None)])) == 30
    assert rest.fingerprint() != few.fingerprint()


def test_a_part_of_a_source_and_its_rest(tmp_path) -> None:
    source: Any = open_source(pairs(tmp_path))
    drawn = draw_low_shot(source, 6, seed=1)
    few, rest = source.part(drawn), source.part(drawn, rest=True)
    assert few.ids == list(drawn.ids) and [few[k].id for k in range(6)] == few.ids
    assert sorted(few.strata) == sorted(LABELS * 2) and few.name == source.name and len(source) == 30
    assert few.pictures == [source.pictures[source.ids.index(one)] for one in few.ids] and len(few.pictures) == 6
    assert sorted([*few.ids, *rest.ids]) == sorted(source.ids) and few.fingerprint() != source.fingerprint()
    assert [one.id for one in (rest[k] for k in range(24))] == rest.ids
    with pytest.raises(UserError, match="its 6 ids aren't in the data"):
        few.part(draw_low_shot(rest, 6))


def test_unlabelled_drops_the_labels_of_every_format(tmp_path) -> None:
    vcr = open_source({"format": "vcr", "path": write_vcr(tmp_path, [vcr_item()]), "unlabelled": True})
    assert "answer_label" not in vcr[0].fields and "rationale_label" not in vcr[0].fields and "choices" in vcr[0].fields
    easy = open_source({"path": str(write_easy_vqa(tmp_path / "easy", [["?", "red", 0]])), "unlabelled": True})
    assert set(easy[0].fields) == {"question", "question_tags", "question_id"}
    lines = [pair(1, "-"), pair(2, gold_label=None)]  # no labels are needed
    assert len(open_source({"path": write_snli_ve(tmp_path / "ve", lines), "unlabelled": True})) == 2
    write_vqa(tmp_path / "vqa", [question(1)], None)
    assert len(open_source({"format": "vqa_v2", "path": str(tmp_path / "vqa"), "unlabelled": True})) == 1


def test_lists_of_ids_of_others_and_bad_ones(tmp_path) -> None:
    path, file = pairs(tmp_path), tmp_path / "ids.json"
    spec = {"path": path, "format": "snli_ve", "subset": str(file)}
    file.write_text('["3.jpg#0r1e", "1.jpg#0r1e"]')
    assert list(open_source(spec).ids) == ["1.jpg#0r1e", "3.jpg#0r1e"]  # type: ignore[attr-defined]
    for content, message in (
        ('["3.jpg#0r1e", "99"]', "1 of its 2 ids aren't in the data, such as '99'; it was drawn from other data"),
        ('["a", "a"]', "id 'a' stands in it twice"),
        ('{"id": []}', "no list 'ids' of sample ids in it"),
        ("{", "not valid JSON"),
    ):
        file.write_text(content)
        with pytest.raises(UserError, match=message):
            open_source(spec)
    write_lines(file, [json.dumps([f"{k}.jpg#0r1e" for k in range(30)])])
    with pytest.raises(UserError, match="names all of the data, so no unlabelled rest is left"):
        open_source({**spec, "unlabelled": True})
