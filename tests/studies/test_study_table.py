"""Tables of a study: how they expand, what is one run, the part that is asked for, and wrong names in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from clipdistill.errors import UserError
from clipdistill.recipe import SourceSpec
from clipdistill.recipe_files import load_recipe
from clipdistill.report.study_tables import Filled, difference_note, difference_table, empty, notes, value_table
from clipdistill.studies.table import (
    Cell,
    StudyTable,
    cells,
    chosen,
    is_table,
    load_table,
    require_fitting,
    table_names,
)

DASH = "\N{EN DASH}"


def made(**changes: Any) -> StudyTable:
    values: dict[str, Any] = {
        "title": "t",
        "paper": "clip_td/table1",
        "set": ["train.epochs=2", "train.lr=1"],
        "rows": {
            "vl_bert": {"label": "VL-BERT", "recipe": "a", "paper": "vl_bert"},
            "uniter": {
                "label": "UNITER",
                "recipe": "b",
                "set": ["train.lr=3"],
                "paper": "uniter_base",
                "against": "vl_bert",
            },
            "clip": {"label": "CLIP", "recipe": "a", "model": "petri-teacher", "paper": "clip_b16_ia"},
        },
        "regimes": {
            "0": {"label": "none", "paper": "0", "trains": False},
            "low": {"label": "700", "set": ["train.lr=2", "data.train.0.low_shot=700"], "paper": "700"},
            "full": {"label": "all"},
        },
        "measures": {
            "std": {"label": "std", "suite": "vcr", "data": "d", "metric": "q2a", "paper": "vcr"},
            "sm": {"label": "SM", "suite": "vcr", "data": "e", "metric": "q2a", "paper": "vcr_sm", "regimes": ["full"]},
        },
    }
    return StudyTable.model_validate(values | changes)


def test_a_table_is_rows_by_regimes_and_the_last_word_counts() -> None:
    found = {(row, regime): cell for row, regime, cell in cells(made(), ["seed=9"])}
    assert list(found) == [
        ("vl_bert", "low"),
        ("vl_bert", "full"),
        ("uniter", "low"),
        ("uniter", "full"),
        ("clip", "0"),
    ]
    low = ("data.train.0.low_shot=700", "seed=9", "train.epochs=2", "train.lr=2")
    assert found["vl_bert", "low"] == Cell("a", low)
    assert found["vl_bert", "full"] == Cell("a", ("seed=9", "train.epochs=2", "train.lr=1"))
    assert found["uniter", "low"].overrides == (*low[:3], "train.lr=3")  # the row's, over the regime's and the table's
    assert found["clip", "0"] == Cell("a", ("seed=9", "train.epochs=2", "train.lr=1"), "petri-teacher")


def test_what_is_said_in_another_order_is_the_same_run() -> None:
    (_, _, one), (_, _, other) = (
        next(cells(made(set=said, rows={"r": {"label": "R", "recipe": "a"}}, regimes={"all": {"label": "all"}},
                        measures={"m": {"label": "m", "suite": "vcr", "data": "d", "metric": "q2a"}})))
        for said in (["train.lr=1", "train.epochs=2"], ["train.epochs=2", "train.lr=5", "train.lr=1"])
    )  # fmt: skip
    assert one == other and one.variant() == other.variant() == "epochs=2+lr=1-ef0a6128"
    assert Cell("a", ()).variant() == "" and Cell("a", (), "m").variant().startswith("model=m-")
    assert Cell("a", ("data.train.0.path=/x/y",)).variant() != Cell("a", ("data.train.0.path=/x:y",)).variant()


def test_columns_are_measures_by_regimes_with_their_printed_names() -> None:
    table = made()
    assert table.columns() == [("std", "0"), ("std", "low"), ("std", "full"), ("sm", "full")]
    assert [table.printed_as(*column) for column in table.columns()] == [
        ("vcr@0", "q2a"), ("vcr@700", "q2a"), ("vcr", "q2a"), ("vcr_sm", "q2a")
    ]  # fmt: skip


def filled() -> Filled:
    found = empty("t", made())
    found.values = {
        ("vl_bert", "std", "low"): {0: 0.30, 1: 0.32, 2: 0.34},
        ("uniter", "std", "low"): {0: 0.31, 1: 0.34, 2: 0.37},
        ("uniter", "std", "full"): {0: 0.5},
        ("clip", "std", "0"): {0: 0.6},
    }
    return found


def test_measured_and_printed_stand_side_by_side() -> None:
    shown = value_table(filled())
    assert shown.header == ["row", "std, none", "std, 700", "std, all", "SM, all"] and shown.numbers == 1
    assert shown.rows == [
        ["VL-BERT", f"{DASH} / 28.37", "32.0 ± 2.0 / 30.85", f"{DASH} / 76.02", f"{DASH} / 72.21"],
        ["UNITER", f"{DASH} / 29.42", "34.0 ± 3.0 / 31.31", "50.0 / 74.23", f"{DASH} / 71.31"],
        ["CLIP", "60.0 / 54.82", DASH, DASH, DASH],
    ]


def test_differences_are_paired_by_seed() -> None:
    """0.01, 0.02 and 0.03: their deviation is 1 point, far below that of either row."""
    less = difference_table(filled())
    assert less is not None
    assert less.rows == [
        ["UNITER \N{MINUS SIGN} VL-BERT", f"{DASH} / +1.05", "+2.0 ± 1.0 / +0.46", f"{DASH} / \N{MINUS SIGN}1.79",
         f"{DASH} / \N{MINUS SIGN}0.90"]
    ]  # fmt: skip
    assert difference_table(empty("t", chosen(made(), ["uniter"]))) is None  # without the row that it is against


def test_a_table_of_no_paper_has_nothing_beside_its_numbers() -> None:
    found = filled()
    found.table.paper, found.printed, found.source = None, {}, ""
    assert value_table(found).rows[1] == ["UNITER", DASH, "34.0 ± 3.0", "50.0", DASH]
    less = difference_table(found)
    assert less is not None and less.rows[0][1:] == [DASH, "+2.0 ± 1.0", DASH, DASH]
    assert notes(found, 3)[0] == "Per cent: mean ± standard deviation over the seeds. 3 seeds."
    assert difference_note(found) == "Differences in points, paired by seed: mean ± standard deviation."
    assert difference_note(filled()).endswith("standard deviation / printed in the paper.")


def test_what_failed_and_what_was_never_measured_is_said() -> None:
    found = filled()
    found.failed = {("uniter", "low"): "it diverged", ("vl_bert", "full"): "no data"}
    rows = value_table(found).rows
    assert rows[1][2] == "34.0 ± 3.0 (failed) / 31.31" and rows[0][3] == "failed / 76.02"
    said = notes(found, 3)
    assert "UNITER, 700: it diverged" in said and "No run has a number q2a of e by the suite vcr yet." in said
    assert not any("of d by" in one for one in said) and "3 seeds" in said[0] and "table 1" in said[1]


def test_a_part_of_a_table() -> None:
    part = chosen(made(), ["u*", "clip"], ["low"])
    assert list(part.rows) == ["uniter", "clip"] and list(part.regimes) == ["low"] and list(part.measures) == ["std"]
    assert [(row, regime) for row, regime, _ in cells(part)] == [("uniter", "low")]
    require_fitting("rows", ["u*"], ["uniter"])
    with pytest.raises(UserError, match="--rows x: none of the tables has it; they have uniter, clip"):
        require_fitting("rows", ["x"], ["uniter", "clip"])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"rows": {"a": {"label": "A"}}}, "`rows.a.recipe` is missing"),
        (
            {"rows": {"a": {"label": "A", "recipe": "a", "regimes": ["ful"]}}},
            "a: no regime 'ful'; there are 0,",
        ),
        ({"rows": {"a": {"label": "A", "recipe": "a", "against": "b"}}}, "a: `against`: no row 'b'"),
        ({"mesures": {}}, "unknown key `mesures`. Did you mean 'measures'"),
    ],
)
def test_wrong_tables_in_one_line(tmp_path: Path, wrong: dict[str, Any], said: str) -> None:
    file = tmp_path / "t.yaml"
    file.write_text(yaml.safe_dump(made().model_dump() | wrong, sort_keys=False))
    with pytest.raises(UserError) as error:
        load_table(str(file))
    assert said in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"paper": "clip_td/tabel1"}, "'clip_td' has no table 'tabel1'"),
        ({"rows": {"a": {"label": "A", "recipe": "a", "paper": "vlbert"}}}, "`rows.a.paper`: clip_td/table1 has no"),
        ({"rows": {"a": {"label": "A", "recipe": "a", "paper": "table2/vl"}}}, "clip_td/table2 has no row 'vl'"),
        ({"rows": {"a": {"label": "A", "recipe": "a", "paper": "table0/vl"}}}, "'clip_td' has no table 'table0'"),
        ({"measures": {"m": {"label": "m", "suite": "vcr", "data": "d", "metric": "q2a", "paper": "vcr_im"}}},
         "`measures.m.paper`: clip_td/table1 has no data set 'vcr_im"),
    ],
)  # fmt: skip
def test_printed_numbers_that_are_not_there(part: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as error:
        empty("t", made(**part))
    assert said in str(error.value) and "\n" not in str(error.value)


PETRI = {("zero_shot", "petri/seen"), ("retrieval", "petri/test")}


def measured_on(spec: Any) -> set[tuple[str, str]]:
    """(suite, data set): as the recipe calls it, or by its file, or by format and split; the petri world's."""
    options = spec.options()
    if spec.suite == "petri":
        return PETRI
    name = options.get("name", f"petri/{spec.suite}")
    if isinstance(spec.data, SourceSpec) and "name" not in options:
        name = f"{spec.data.format}_{spec.data.options().get('split')}"
        if spec.data.format == "karpathy":
            name = Path(str(spec.data.path)).stem.removeprefix("dataset_")
    return {(spec.suite, name)}


def test_a_row_s_printed_numbers_may_stand_in_another_table_of_the_paper() -> None:
    printed = empty("clip_kd/students", load_table("clip_kd/students")).printed
    assert printed["swin_t_rn101", "imagenet", "full"] == pytest.approx(0.3951)
    assert printed["vit_t16_vit_b16", "imagenet", "full"] == pytest.approx(0.3490)


@pytest.mark.parametrize("name", table_names())
def test_every_table_of_the_package_loads_with_its_recipes_and_printed_numbers(name: str) -> None:
    table = load_table(name)
    assert is_table(name) and table.about and bool(empty(name, table).printed) == (table.paper is not None)
    for cell in {cell for _, _, cell in cells(table)}:
        recipe = load_recipe(cell.recipe, cell.overrides)
        asked = set().union(*(measured_on(spec) for spec in recipe.evaluate))
        assert {(one.suite, one.data) for one in table.measures.values()} <= asked, cell


def test_the_recipe_of_what_carried_is_the_row_that_was_measured() -> None:
    (cell,) = [
        cell
        for row, regime, cell in cells(load_table("petri/clip_td/table3"))
        if (row, regime) == ("choices_gated", "70")
    ]
    pair = [load_recipe(cell.recipe, cell.overrides), load_recipe("petri/vl/vl_bert_vcr_choices")]
    row, own = (one.model_dump(exclude={"name", "about"}) for one in pair)
    for one in (row, own):
        one["train"] = {key: value for key, value in one["train"].items() if not key.endswith("_every")}
    assert row == own


def test_a_name_that_is_no_table() -> None:
    assert is_table("petri/clip_td/*") and not is_table("petri/vl/*") and not is_table("petri/vl/uniter_vcr")
    with pytest.raises(UserError, match="Did you mean 'petri/clip_td/table1'"):
        load_table("petri/clip_td/tabel1")
