"""Printed numbers: the files parse, hold what the papers print, and stand beside what was measured on the same data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from clipdistill.errors import UserError
from clipdistill.evaluate.compositional import evaluate_compositional
from clipdistill.recipe_files import load_recipe, recipe_names
from clipdistill.report import build_report
from clipdistill.report.beside_paper import paper_caution, paper_note, paper_numbers
from clipdistill.report.content import NO_MODEL
from clipdistill.report.paper import ROLES, PaperRow, paper_facts, paper_names, paper_table, table_names
from clipdistill.report.records import read_run
from clipdistill.report.tables import build_groups
from clipdistill.studies.table import load_table
from clipdistill.studies.table import table_names as study_names

TABLES = [f"{paper}/{table}" for paper in paper_names() for table in table_names(paper)]
RETRIEVAL = {
    f"{a}/{metric}" for a in ("text_to_image", "image_to_text") for metric in ("recall@1", "recall@5", "recall@10")
} | {"text_to_image/map", "image_to_text/mrr"}
KNOWN = {
    "flickr30k": RETRIEVAL, "coco": RETRIEVAL, "flickr30k_1k": RETRIEVAL, "coco_1k": RETRIEVAL,
    "imagenet": {"top1", "top5"}, "cifar10": {"top1", "top5"}, "cifar100": {"top1", "top5"},
    "winoground": {"text"} | {f"text/{tag}" for tag in ("Object", "Relation", "Both", "1 main pred", "2 main preds")},
    "aro": {"macro"}, "aro/relation": {"macro"}, "aro/attribution": {"macro"},
    "aro/coco_order": {"accuracy"}, "aro/flickr30k_order": {"accuracy"}, "clevr": {"accuracy"},
    "vcr": {"q2a", "qa2r", "q2ar"}, "vcr_sm": {"q2a"}, "vcr_im": {"q2a"}, "vcr_em": {"q2a"},
    "snli_ve": {"accuracy"}, "snli_ve_test": {"accuracy"},
    "vqa": {"accuracy"}, "vqa_test_dev": {"accuracy"}, "vqa_test_std": {"accuracy"},
}  # fmt: skip
REGIMES = {"vcr": (0, 700, 7000), "vcr_sm": (0, 700, 7000), "snli_ve": (0, 3000, 30000), "vqa": (100, 1000)}
KNOWN |= {f"{data}@{size}": KNOWN[data] for data, sizes in REGIMES.items() for size in sizes}


def any_row(key: str) -> str:
    """A key that names one row, whatever the table."""
    try:
        paper_table(key)
    except UserError as error:
        return f"{key}/{str(error).rsplit('/', 1)[1]}"
    return key


def rows_of(key: str) -> dict[str, PaperRow]:
    return {row.key: row for row in paper_table(any_row(key)).rows}


@pytest.mark.parametrize("key", TABLES)
def test_a_table_parses_and_says_what_the_evaluators_say(key: str) -> None:
    table = paper_table(any_row(key))
    assert table.title and table.source and table.printed and table.trained_on and table.rows
    assert set(table.columns) <= {(data, metric) for data, metrics in KNOWN.items() for metric in metrics}
    roles = [row.role for row in table.rows]
    assert set(roles) <= set(ROLES) and all(roles.count(role) <= 1 for role in ("teacher", "base", "control"))
    for row in table.rows:
        assert row.model and row.values and all(0.01 < value < 1 for value in row.values.values()), row.key


@pytest.mark.parametrize(
    ("table", "row", "data", "metric", "printed"),
    [
        ("clip_kd/vit_t16_from_vit_b16", "clip_kd", "imagenet", "top1", 0.349),
        ("clip_kd/vit_t16_from_vit_b16", "teacher", "imagenet", "top1", 0.3699),
        ("dclip/vit_b32", "dclip", "coco", "text_to_image/recall@1", 0.40),
        ("dclip/vit_b16", "clip", "flickr30k", "image_to_text/mrr", 0.89),
        ("dclip/vit_l14", "dclip", "cifar100", "top5", 0.8802),
        ("dclip/ablations", "no_cross_modal_attention", "flickr30k", "text_to_image/map", 0.89),
        ("dclip/mix_220k", "dclip", "coco", "text_to_image/recall@10", 0.77),
        ("dclip/itm", "itm", "imagenet", "top1", 0.53),
        ("sds_clip/vit_b16", "sds_clip", "aro/relation", "macro", 0.535),
        ("sds_clip/vit_b32", "clip", "winoground", "text/Both", 0.80),
        ("sds_clip/vit_l14", "sds_clip", "clevr", "accuracy", 0.65),
        ("sds_clip/sd21", "rn50", "winoground", "text", 0.28),
        ("sds_clip/diffusion_score", "diffusion", "aro/coco_order", "accuracy", 0.24),
        ("clip_td/table1", "vl_bert", "vcr@700", "q2a", 0.3085),
        ("clip_td/table1", "clip_b16_iqa", "vcr_sm@0", "q2a", 0.583),
        ("clip_td/table1", "villa", "vcr_sm@7000", "q2a", 0.5415),
        ("clip_td/table1", "uniter_base", "vcr_sm", "q2a", 0.7131),
        ("clip_td/table10", "uniter_base", "vcr_sm", "q2a", 0.7054),  # the paper's two numbers of one thing
        ("clip_td/table2", "random_tokens", "vcr_sm", "q2a", 0.7723),
        ("clip_td/table3", "clip_td_b16_semi", "vcr@7000", "q2a", 0.6133),
        ("clip_td/table5", "clip_b16", "snli_ve@0", "accuracy", 0.4723),
        ("clip_td/table5", "uniter_large", "snli_ve_test", "accuracy", 0.7919),
        ("clip_td/table6", "clip_vil", "vqa_test_std", "accuracy", 0.767),
        ("clip_td/table7", "ensemble_clip_td_b16", "vcr", "q2ar", 0.6654),
        ("clip_td/table8", "naive_vl_005", "vcr@700", "q2a", 0.4518),
        ("clip_td/table11", "attention_1_concat", "vcr_sm", "q2a", 0.3548),
    ],
)
def test_some_numbers_by_eye(table: str, row: str, data: str, metric: str, printed: float) -> None:
    assert rows_of(table)[row].values[data, metric] == pytest.approx(printed)


def test_what_the_paper_leaves_out_is_not_a_number() -> None:
    assert ("coco", "text_to_image/map") not in rows_of("dclip/others")["fineclip"].values
    assert paper_table("dclip/others").own is None


@pytest.mark.parametrize(
    ("key", "wanted"),
    [
        ("clipkd/x", "Did you mean 'clip_kd'"),
        ("clip_kd/vit_t16_from_vitb16", "Did you mean 'vit_t16_from_vit_b16'"),
        ("dclip/ablations", "several students; name one: ablations/no_yolo, "),
        ("dclip/ablations/no_yoyo", "Did you mean 'no_yolo'"),
    ],
)
def test_a_wrong_key_gets_one_line(key: str, wanted: str) -> None:
    with pytest.raises(UserError) as error:
        paper_table(key)
    assert wanted in str(error.value) and "\n" not in str(error.value)


def test_every_row_of_a_paper_has_a_recipe_or_says_why_not() -> None:
    named: dict[tuple[str, ...], str] = {}
    for name in recipe_names():
        recipe = load_recipe(name)
        if recipe.paper is not None:
            table = paper_table(recipe.paper)
            assert table.own is not None, f"{name}: {recipe.paper} has no row for a student"
            named[*recipe.paper.split("/")[:2], table.own] = name
    for name in study_names():
        study = load_table(name)
        for row in study.rows.values():
            if study.paper is not None and row.paper is not None:
                named[*study.paper.split("/"), row.paper] = name
    for key in TABLES:
        paper, table = key.split("/")
        for row in rows_of(key).values():
            found = named.get((paper, table, row.key))
            assert not (found and row.without_recipe), (key, row.key, found)
            if not found and not row.without_recipe:  # then a run of the table's recipe measures it beside its student
                assert row.role in ("base", "control", "teacher"), (key, row.key)
                assert any(one[:2] == (paper, table) for one in named), key


COMPOSITIONAL = {
    "winoground",
    "aro",
    "aro/relation",
    "aro/attribution",
    "aro/coco_order",
    "aro/flickr30k_order",
    "clevr",
}


@pytest.mark.parametrize("name", [name for name in recipe_names() if load_recipe(name).paper])
def test_a_recipe_measures_on_the_data_of_its_printed_row(name: str) -> None:
    recipe = load_recipe(name)
    measured = set()
    for spec in recipe.evaluate:
        path = getattr(spec.data, "path", spec.data)
        measured |= COMPOSITIONAL if spec.suite == "compositional" else set()
        measured.add(spec.options().get("name") or Path(str(path)).stem.removeprefix("dataset_"))
    assert {data.partition("@")[0] for data, _ in paper_table(str(recipe.paper)).columns} <= measured


def test_costs_and_sizes_are_kept_and_shown_with_their_tables() -> None:
    facts = {(fact.what, fact.value, fact.unit) for fact in paper_facts("dclip")}
    assert {value for what, value, unit in facts if unit == "million parameters"} == {86, 304}
    assert {value for what, value, unit in facts if unit == "hours"} == {1.5, 2}
    assert {fact.value for fact in paper_table("dclip/itm").facts} == {86, 15, 3, 1.2}
    for fact in paper_facts("dclip"):
        assert fact.tables and set(fact.tables) <= set(table_names("dclip")), fact
    note = paper_note(paper_table("dclip/vit_l14"))
    assert "2 hours (appendix A)" in note and "304 million parameters (appendix E)" in note and "1.5" not in note
    assert "Also printed" not in paper_note(paper_table("sds_clip/vit_b16"))


def test_a_low_shot_run_is_set_beside_the_numbers_of_its_draw(make_run) -> None:
    data = {"train": [{"format": "vcr", "path": "vcr", "low_shot": 700}]}
    run = run_with(make_run, "low", "clip_td/table11/mlp_1_concat", {"student": [("vcr", "vcr", {"q2a": 0.3})]})
    assert cells(run)["vcr", "Q \N{RIGHTWARDS ARROW} A", "student", "MLP, 1 layer, concatenated"] == ["31.86", "30.0"]
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    (run / "recipe.yaml").write_text(yaml.safe_dump({**recipe, "data": data}))
    assert cells(run)["vcr", "Q \N{RIGHTWARDS ARROW} A", "student", "MLP, 1 layer, concatenated"] == ["31.86", NO_MODEL]
    assert cells(run)["vcr@700", "Q \N{RIGHTWARDS ARROW} A", "student", "MLP, 1 layer, concatenated"] == [
        "30.13",
        "30.0",
    ]


def test_clip_tds_facts_are_of_its_analysis_and_the_leaderboards() -> None:
    facts = {fact.what: (fact.value, fact.printed) for fact in paper_facts("clip_td")}
    assert facts["importance of vision, higher after distillation"] == (10.6, "section 5.1")
    assert facts["gap between the importance of text and of vision, smaller after distillation"] == (36, "section 5.1")
    assert facts["leaderboard, VILLA with CLIP-TD: Q2AR"] == (66.2, "section 5.1 and 8.1")


def test_the_study_of_teachers_has_no_table_that_could_be_read() -> None:
    assert table_names("kd_for_vlms") == []
    assert [fact.value for fact in paper_facts("kd_for_vlms")] == [85.8, 5.5, 32, 0.5]
    with pytest.raises(UserError, match="has no table 'main'"):
        paper_table("kd_for_vlms/main")


def run_with(make_run, name: str, paper: str, models: dict[str, list[tuple[str, str, dict[str, float]]]]):
    """A run of hand-made results: role -> (evaluator, data, metrics)."""
    run = make_run(name, recipe={"paper": paper}, control=None)
    content = {
        role: {
            "name": role,
            "results": [
                {"evaluator": evaluator, "data": data, "n": 400, "metrics": metrics, "artifacts": {}}
                for evaluator, data, metrics in results
            ],
        }
        for role, results in models.items()
    }
    (run / "evaluation.json").write_text(json.dumps({"models": content}))
    return run


def cells(run: Path) -> dict[tuple[str, str, str, str], list[str]]:
    """(data, metric, role, method) -> [printed, measured]."""
    found = paper_numbers(build_groups([read_run(run)])[0])
    assert found is not None and not isinstance(found, str)
    return {(row[0], row[1], row[2], row[4]): row[5:] for row in found[1].rows}


def test_each_model_is_set_beside_its_own_row(make_run) -> None:
    def measured(text: float, relation: float):
        return [
            ("winoground", "winoground", {"text": text, "group": 0.1, "text/Both": 0.5}),
            ("aro", "aro/relation", {"macro": relation, "accuracy": 0.9}),
        ]

    models = {"base": measured(0.25, 0.51), "control": measured(0.2, 0.5), "student": measured(0.3, 0.545)}
    found = cells(run_with(make_run, "s", "sds_clip/vit_b16", models))
    assert found["winoground", "text score", "base", "CLIP"] == ["24", "25.0"]
    assert found["winoground", "text score", "control", "L_CLIP"] == ["23", "20.0"]
    assert found["winoground", "text score", "student", "L_CLIP + L_SDS"] == ["31", "30.0"]
    assert found["aro/relation", "mean over kinds", "student", "L_CLIP + L_SDS"] == ["53.5", "54.5"]
    assert found["winoground", "text score, Both", "base", "CLIP"] == ["57", "50.0"]
    assert found["aro", "mean over kinds", "base", "CLIP"] == ["57", NO_MODEL]  # not measured in this run


def test_an_ablation_is_set_beside_its_row_and_no_other_student_is(make_run) -> None:
    def measured(recall: float):
        return [("retrieval", "coco", {"text_to_image/recall@1": recall})]

    models = {"base": measured(0.3), "control": measured(0.35), "student": measured(0.36)}
    key = "text \N{RIGHTWARDS ARROW} image R@1"
    found = cells(run_with(make_run, "y", "dclip/ablations/no_yolo", models))
    assert found["coco", key, "student", "no YOLO"] == ["36", "36.0"]
    assert found["coco", key, "control", "no teacher"] == ["40", "35.0"]
    assert found["coco", key, "student", "full DCLIP"] == ["44", NO_MODEL]
    del models["control"]
    found = cells(run_with(make_run, "n", "dclip/ablations/no_teacher", models))
    assert found["coco", key, "control", "no teacher"] == ["40", "36.0"]
    assert found["coco", key, "student", "no YOLO"] == ["36", NO_MODEL]


def test_numbers_of_other_data_are_not_set_beside(make_run) -> None:
    def measured(data: str):
        return {"student": [("zero_shot", data, {"top1": 0.5})]}

    for name, data, here in (("a", "CIFAR10", "50.0"), ("b", "cifar100/seen", NO_MODEL), ("c", "cifar10-c", NO_MODEL)):
        found = cells(run_with(make_run, name, "dclip/vit_b32", measured(data)))
        assert found["cifar10", "top-1", "student", "DCLIP"] == ["87.85", here]
        assert found["cifar100", "top-1", "student", "DCLIP"] == ["60.95", NO_MODEL]


def test_a_perfect_reproduction_of_dclips_map_looks_like_one(make_run) -> None:
    """Its image-to-text "MAP" is the mean of 1 / rank of the best caption; over all five captions far less is left."""
    metrics = {"image_to_text/map": 0.61, "image_to_text/mrr": 0.88, "text_to_image/map": 0.78}
    found = cells(run_with(make_run, "m", "dclip/vit_b32", {"student": [("retrieval", "flickr30k", metrics)]}))
    assert found["flickr30k", "image \N{RIGHTWARDS ARROW} text MRR", "student", "DCLIP"] == ["88", "88.0"]
    assert found["flickr30k", "text \N{RIGHTWARDS ARROW} image MAP", "student", "DCLIP"] == ["78", "78.0"]
    assert not any(metric == "image \N{RIGHTWARDS ARROW} text MAP" for _, metric, _, _ in found)


def test_an_unknown_table_is_a_sentence_in_the_report(make_run) -> None:
    (group,) = build_groups([read_run(make_run("x", recipe={"paper": "clip_kd/rn50_from_vitb16"}))])
    assert "Did you mean" in str(paper_numbers(group))


def test_both_reports_show_printed_beside_measured(make_run, tmp_path) -> None:
    measured = [("zero_shot", "imagenet", {"top1": 0.5612, "top5": 0.8})]
    run = run_with(make_run, "r", "dclip/vit_b32", {"student": measured})
    build_report([run], tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "| imagenet | top-1 | student | ViT-B/32 | DCLIP | 56.15 | 56.1 |" in text
    assert "tables 2 and 3. Trained on about 67,500 pairs" in text and "can't be compared" not in text
    assert '>56.15</td><td class="number ">56.1</td>' in page and "tables 2 and 3" in page
    other = run_with(make_run, "o", "dclip/vit_b32", {"student": [("zero_shot", "pets", {"top1": 0.5})]})
    build_report([other], tmp_path / "other")
    assert "can't be compared" in (tmp_path / "other" / "report.md").read_text(encoding="utf-8")
    (group,) = build_groups([read_run(run)])
    assert paper_caution(paper_numbers(group)[1]) == ""  # type: ignore[index]


def test_aro_overall_is_the_plain_mean_of_its_two_parts(tmp_path: Path) -> None:
    import torch
    from PIL import Image

    (tmp_path / "images").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "images" / "a.png")
    case = {"image_path": "a.png", "bbox_x": 0, "bbox_y": 0, "bbox_w": 4, "bbox_h": 4}
    case |= {"true_caption": "true", "false_caption": "false"}
    relation = [case | {"relation_name": name} for name in ("wearing", "wearing", "holding", "near")]
    (tmp_path / "visual_genome_relation.json").write_text(json.dumps(relation))
    attribution = [case | {"attributes": ["red", "old"]} for _ in range(25)]
    (tmp_path / "visual_genome_attribution.json").write_text(json.dumps(attribution))

    class Matcher:
        name = "by number"

        def scores(self, groups, progress=None):
            # Right where the case's number is even.
            return [torch.tensor([[1.0, float(int(group.id.split("/")[1]) % 2) * 2]]) for group in groups]

    both, first, second = evaluate_compositional(Matcher(), {"aro": tmp_path})
    assert (both.data, both.n, first.data, second.data) == ("aro", 29, "aro/relation", "aro/attribution")
    assert first.metrics["macro"] == pytest.approx((1 / 2 + 1) / 2)  # "near" is symmetric
    assert second.metrics["macro"] == pytest.approx(13 / 25)
    assert both.metrics == {"macro": pytest.approx((0.75 + 0.52) / 2)}
