"""Official layouts of the compositional benchmarks are read, and whatever is wrong in one gives one line."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from clipdistill.errors import UserError
from clipdistill.evaluate.compositional import Group, evaluate_compositional, read_benchmarks
from clipdistill.evaluate.compositional.order import clean, trigram_shuffles
from clipdistill.evaluate.compositional.winoground import read_winoground
from tests.evaluate import official_files

ALL: dict[str, Callable[[Path], Path]] = {
    "winoground": official_files.winoground,
    "aro": official_files.aro,
    "sugarcrepe": official_files.sugarcrepe,
    "clevr": official_files.clevr,
}


class Lengths:
    """Scores by the captions' lengths alone."""

    name, calls = "lengths", 0

    def scores(self, groups: Sequence[Group], progress: Any = None) -> list[torch.Tensor]:
        self.calls += 1
        return [torch.tensor([[float(len(c)) for c in g.captions]] * len(g.images)) for g in groups]


def test_every_benchmark_by_folder_by_mapping_and_alone(tmp_path: Path) -> None:
    for name, make in ALL.items():
        make(tmp_path / name)
    official_files.order(tmp_path / "aro")
    results = evaluate_compositional(Lengths(), tmp_path)
    assert {result.data: result.n for result in results} == {
        "winoground": 2, "aro/relation": 1, "aro/attribution": 1, "aro/coco_order_trigrams": 2,
        "aro/flickr30k_order": 1, "sugarcrepe": 14, "clevr": 2,
    }  # fmt: skip
    by_name = {name: {"path": str(tmp_path / name)} for name in ALL}
    assert evaluate_compositional(Lengths(), by_name) == results
    assert evaluate_compositional(Lengths(), {"path": str(tmp_path)}) == results
    for name in ALL:
        alone = evaluate_compositional(Lengths(), str(tmp_path / name))
        assert alone == [result for result in results if result.evaluator == name]


def test_crops_are_the_box_and_the_true_caption_comes_first(tmp_path: Path) -> None:
    official_files.aro(tmp_path)
    group = read_benchmarks(tmp_path)[0].groups[0]
    assert group.images[0].box == (2, 3, 12, 11) and group.images[0].open().size == (10, 8)
    assert group.captions[0] == "the cup is on the table" and group.tags == ("on",)


def test_a_box_over_the_edge_is_cut_as_the_official_code_does_and_counted(tmp_path: Path) -> None:
    file = official_files.aro(tmp_path) / "visual_genome_relation.json"
    official_files.write(file, [row | {"bbox_w": 40} for row in json.loads(file.read_text())])
    relation, attribution = evaluate_compositional(Lengths(), tmp_path)
    assert relation.artifacts["boxes_past_the_edge"] == 1 and "boxes_past_the_edge" not in attribution.artifacts
    assert read_benchmarks(tmp_path)[0].groups[0].images[0].open().size == (40, 8)


def test_winoground_of_the_hub_and_the_tags_of_why_winoground_is_hard(tmp_path: Path) -> None:
    official_files.winoground(tmp_path / "data", 3)
    tags = {"0": [], "1": ["Unusual Image", "Visually Difficult"], "2": ["Non Minimal"]}
    official_files.write(tmp_path / "data" / "new_tag_assignments.json", tags)
    groups = read_winoground(tmp_path)
    assert [group.tags for group in groups] == [
        ("Object", "1 main pred", "hard: none"),
        ("Relation", "2 main preds", "hard: Unusual Image", "hard: Visually Difficult"),
        ("Object", "3 main preds", "hard: Non Minimal"),
    ]


def test_trigram_shuffles_keep_the_words_and_are_a_pure_function() -> None:
    text = "A man in a red shirt is climbing a wall."
    within, among = trigram_shuffles(text, "k")
    assert (within, among) == trigram_shuffles(text, "k")
    assert len({trigram_shuffles(text, str(n)) for n in range(9)}) > 1
    words = "A man in a red shirt is climbing a wall .".split()
    assert sorted(within.split()) == sorted(among.split()) == sorted(words)
    assert sorted(within.split()[:3]) == ["A", "in", "man"], "within: the first three stay the first three"
    assert any(" ".join(words[i : i + 3]) in among for i in (0, 3, 6))
    assert clean('A "big"  dog: (#1) runs!; ' + "on " * 40) == "a big dog 1 runs " + " ".join(["on"] * 25)


def edit(row: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {key: value for key, value in (row | changes).items() if value is not ...}


def spoil(path: Path, benchmark: str, **changes: Any) -> None:
    """Change fields (or drop them, by ...) of the second row, or of the only one."""
    if benchmark == "winoground":
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        rows[1] = edit(rows[1], **changes)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return
    content = json.loads(path.read_text())
    rows = content["scenes"] if benchmark == "clevr" else content
    key = "1" if benchmark == "sugarcrepe" else 0
    rows[key] = edit(rows[key], **changes)
    path.write_text(json.dumps(content))


FILES = {
    "winoground": "examples.jsonl",
    "aro": "visual_genome_attribution.json",
    "sugarcrepe": "replace_att.json",
    "clevr": "scenes/CLEVR_val_scenes.json",
}


@pytest.mark.parametrize(
    ("benchmark", "changes", "says"),
    [
        ("winoground", {"caption_1": ...}, "line 2, `caption_1`: is missing; the row has id, image_0"),
        ("winoground", {"caption_0": 7}, "line 2, `caption_0`: is 7, not a text"),
        ("winoground", {"num_main_preds": "two"}, 'line 2, `num_main_preds`: is "two", not a whole number'),
        (
            "winoground",
            {"image_1": "ex_9_img_1"},
            "line 2, `image_1`: .*ex_9_img_1.png: no such file .1 bad, 4 ",
        ),
        ("aro", {"bbox_w": None}, "row 0, `bbox_w`: is null, not a whole number"),
        (
            "aro",
            {"bbox_x": 24},
            r"row 0, `image_path`: .*7.jpg: the box \(24, 3, 34, 11\) holds nothing of",
        ),
        ("aro", {"bbox_h": 0}, "holds nothing of its 24 x 16"),
        ("aro", {"attributes": "white"}, 'row 0, `attributes`: is "white", not a list of 2 or more'),
        ("aro", {"attributes": [1, 2]}, "row 0, `attributes`: holds 1 among its texts"),
        ("aro", {"true_caption": "  "}, "row 0, `true_caption`: is .*, not a text"),
        ("sugarcrepe", {"negative_caption": ...}, "row '1', `negative_caption`: is missing"),
        ("sugarcrepe", {"filename": "no.jpg"}, "row '1', `filename`: .*no.jpg: no such file"),
        ("clevr", {"relationships": ...}, "scenes 0, `relationships`: is missing"),
        ("clevr", {"relationships": {"left": []}}, "relationships, `left`: is a list of 0, not a list of 2 or more"),
        ("clevr", {"relationships": dict.fromkeys(("left", "right", "front", "behind"), [0, 1])}, "isn't one list for"),
        ("clevr", {"objects": {}}, "scenes 0, `objects`: is a JSON object, not a list"),
        ("clevr", {"objects": [{"color": "red"}]}, "scenes 0, objects 0, `shape`: is missing"),
        ("clevr", {"objects": []}, "gives no pair of captions"),
    ],
)
def test_a_malformed_row_gives_one_line(tmp_path: Path, benchmark: str, changes: dict[str, Any], says: str) -> None:
    path = ALL[benchmark](tmp_path) / FILES[benchmark]
    if changes.get("objects") == []:
        changes["relationships"] = dict.fromkeys(("left", "right", "front", "behind"), [])
    spoil(path, benchmark, **changes)
    matcher = Lengths()
    with pytest.raises(UserError, match=says) as caught:
        evaluate_compositional(matcher, tmp_path)
    text = str(caught.value)
    assert "\n" not in text and str(path) in text and matcher.calls == 0
    assert "put" in text, "says how to get it right"


@pytest.mark.parametrize("benchmark", list(ALL))
@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is empty"),
        ("[", "isn't valid JSON"),
        ('"text"', "JSON list of cases|not a JSON object"),
        ("[7]", "not a JSON object"),
        ("{}", "is missing|JSON list of cases|holds no cases"),
        (None, "is missing"),
    ],
)
def test_a_malformed_file_gives_one_line(tmp_path: Path, benchmark: str, content: str | None, says: str) -> None:
    path = ALL[benchmark](tmp_path) / FILES[benchmark]
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=says) as caught:
        evaluate_compositional(Lengths(), {benchmark: tmp_path})
    assert "\n" not in str(caught.value) and str(path) in str(caught.value) and "put" in str(caught.value)


@pytest.mark.parametrize("benchmark", list(ALL))
def test_a_broken_picture_refuses_the_benchmark_before_anything_is_scored(tmp_path: Path, benchmark: str) -> None:
    folder = ALL[benchmark](tmp_path / benchmark)
    file = next(path for path in sorted(folder.rglob("*")) if path.suffix in (".png", ".jpg"))
    Image.effect_noise((64, 48), 90).save(file)
    file.write_bytes(file.read_bytes()[:-400])
    matcher = Lengths()
    with pytest.raises(UserError, match=rf"`\w+`: .*{file.name}: .*1 bad, \d picture files in all") as caught:
        evaluate_compositional(matcher, tmp_path)
    assert "\n" not in str(caught.value) and matcher.calls == 0


def test_checking_pictures_tells_how_far_it_is(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    evaluate_compositional(Lengths(), official_files.winoground(tmp_path), lambda *call: told.append(call))
    assert told == [("checking pictures", n, 4) for n in (1, 2, 3, 4)]


def test_winoground_without_pictures_says_how_to_get_them(tmp_path: Path) -> None:
    official_files.winoground(tmp_path)
    for file in (tmp_path / "images").iterdir():
        file.unlink()
    for _ in range(2):
        with pytest.raises(UserError, match="has no pictures; accept the terms .* unpack its data/images.zip"):
            evaluate_compositional(Lengths(), {"winoground": tmp_path})
        if (tmp_path / "images").exists():
            (tmp_path / "images").rmdir()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"winoground": None}, "winoground: is None; give the benchmark's folder"),
        ({"winogrond": "x"}, "Did you mean 'winoground'"),
        ({}, "names no benchmark"),
        ("no/such/folder", "no such folder; it should hold winoground/"),
        (".", "holds no benchmark; make one of winoground/, aro/"),
        ({"aro": "."}, "visual_genome_relation.json is missing; put"),
    ],
)
def test_data_that_names_no_benchmark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: dict[str, Any] | str, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=says) as caught:
        evaluate_compositional(Lengths(), data)
    assert "\n" not in str(caught.value)
