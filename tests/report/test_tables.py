from __future__ import annotations

import json
import re

import pytest

from clipdistill.errors import UserError
from clipdistill.report.by_epoch import epoch_figure, epoch_table
from clipdistill.report.content import NO_MODEL, overview_table, training_table
from clipdistill.report.html_page import html_report
from clipdistill.report.markdown import markdown_report
from clipdistill.report.metric_table import gain_text, metric_notes, metric_table
from clipdistill.report.records import read_run
from clipdistill.report.tables import Summary, build_groups, metric_label
from clipdistill.report.words import amount, headline, percent, points, uncertain


def groups_of(*paths):
    return build_groups([read_run(path) for path in paths])


def test_gain_and_retention_of_one_run(make_run):
    (group,) = groups_of(make_run())
    assert group.roles == ["teacher", "control", "student"] and group.reference == "control"
    row = group.rows[0]
    assert (row.data, row.label, row.items) == ("petri/test", "text → image R@1", "1,000")
    assert row.gain.mean == pytest.approx(0.1) and row.kept["teacher"].mean == pytest.approx(0.25)
    assert metric_table(group).header[:3] == ["data set", "items", "metric"]  # of questions they aren't pictures
    assert metric_table(group).rows[0] == [
        "petri/test", "1,000", "text → image R@1", "80.0", "10.0", "20.0", "17.6–22.6", NO_MODEL, "+10.0", "25 %"
    ]  # fmt: skip
    assert metric_table(group, wide=False).rows[0][3:6] == ["80.0", "10.0", "20.0"]  # a terminal has no room


def test_guessing_and_the_interval_stand_beside_the_numbers(make_run):
    (group,) = groups_of(make_run())
    table = metric_table(group)
    assert table.header == [
        "data set", "items", "metric", "teacher", "control", "student", "student, 95 %", "chance",
        "gain over control", "kept of teacher",
    ]  # fmt: skip
    top1 = next(cells for cells in table.rows if cells[2] == "top-1")
    assert top1[5:8] == ["60.0", "28.7–84.8", "50.0"]  # 2 classes, 8 pictures
    assert "It says nothing of other seeds." in metric_notes(group)[1]


def test_a_share_above_one_or_of_few_items_stands_in_brackets(make_run):
    (group,) = groups_of(make_run(student=0.9))
    rows = {cells[2]: cells for cells in metric_table(group).rows}
    assert rows["text → image R@1"][-1] == "(112 %)" and rows["top-1"][-1] == "(67 %)"
    assert "Kept in brackets: above 100 % the student is the better one" in metric_notes(group)[-1]
    assert headline(group)[0] == (
        "The student reaches 90.0 % text → image R@1 on petri/test, where the teacher has 80.0 %, "
        "and gains 80.0 points over the control (10.0 %)."
    )
    assert headline(group)[1].startswith("The student reaches 60.0 % top-1 on pets, where the teacher has 90.0 %,")


def test_a_suite_that_measures_the_same_data_twice_has_two_rows(make_run):
    path = make_run()
    found = json.loads((path / "evaluation.json").read_text())
    for one in found["models"].values():
        first = one["results"][0]
        one["results"].append({**first, "metrics": {name: value / 2 for name, value in first["metrics"].items()}})
    (path / "evaluation.json").write_text(json.dumps(found))
    rows = [row for row in groups_of(path)[0].rows if row.metric == "text_to_image/recall@1"]
    assert [(row.data, row.values["student"].mean) for row in rows] == [("petri/test", 0.2), ("petri/test (2)", 0.1)]


def test_the_student_of_each_epoch(make_run):
    paths = [make_run(seed=seed) for seed in (0, 1)]
    for path, last in zip(paths, (0.4, 0.6), strict=True):
        found = json.loads((path / "evaluation.json").read_text())
        student = found["models"]["student"]
        found["epochs"] = {}
        for number, recall in ((1, 0.1), (2, 0.2), (10, last)):
            first = {**student["results"][0], "metrics": {"text_to_image/recall@1": recall}}
            found["epochs"][str(number)] = {**student, "results": [first, student["results"][1]]}
        (path / "evaluation.json").write_text(json.dumps(found))
    (group,) = groups_of(*paths)
    table = epoch_table(group)
    assert table.header[:2] == ["epoch", "petri/test, text → image R@1"]
    assert [row[:2] for row in table.rows] == [["1", "10.0"], ["2", "20.0"], ["10", "50.0 ± 14.1"]]
    assert epoch_figure(group) is not None
    (name,) = re.findall(r"report_files/(epochs-\d+\.png)", markdown_report("r", [group], paths[0]))
    assert (paths[0] / "report_files" / name).is_file()
    assert "Epoch by epoch" in html_report("r", [group])
    (plain,) = groups_of(make_run("b"))
    assert epoch_table(plain) is None and epoch_figure(plain) is None


def test_runs_that_differ_by_seed_are_summed_up(make_run):
    (group,) = groups_of(
        *(make_run(seed=s, student=v, control=0.1 + s / 100) for s, v in ((2, 0.3), (0, 0.2), (1, 0.22)))
    )
    row = group.rows[0]
    assert group.seeds == "3 seeds (0, 1, 2)"
    assert row.values["student"].values == (0.2, 0.22, 0.3)
    assert row.values["student"].mean == pytest.approx(0.24)
    assert row.values["student"].sd == pytest.approx(0.0529150262)  # sample standard deviation, n - 1
    assert row.gain.values == pytest.approx((0.1, 0.11, 0.18))  # paired by seed
    cells = metric_table(group).rows[0]
    assert cells[3] == "80.0" and cells[5] == "24.0 ± 5.3" and cells[8] == "+13.0 ± 4.4"


def test_runs_of_other_recipes_are_not_mixed_and_are_told_apart(make_run):
    one = make_run("a", 0)
    other = make_run("b", 1, recipe={"name": "a", "task": {"weights": {"fd": 0}}})
    cached = make_run("c", 2, recipe={"name": "a", "teachers": [{"store": "/elsewhere"}]})
    groups = groups_of(one, other, make_run("a", 3), cached)
    assert [len(group.runs) for group in groups] == [2, 1, 1]
    assert len({group.title for group in groups}) == 3 and "task.weights.fd=0" in groups[1].title
    assert [row[1] for row in overview_table(groups).rows] == ["0, 3", "1", "2"]


def test_one_seed_twice_is_not_called_two_seeds(make_run):
    (group,) = groups_of(make_run("a", 0), make_run("b", 0, recipe={"name": "a"}))
    assert group.seeds == "2 runs (seeds 0, 0)"


def test_sentences_say_what_was_kept_and_gained(make_run):
    (group,) = groups_of(make_run())
    sentences = headline(group)
    assert sentences[0] == (
        "The student keeps 25 % of the teacher's text → image R@1 on petri/test (20.0 of 80.0 %) "
        "and gains 10.0 points over the control (10.0 %)."
    )
    assert "has 1M parameters (25 % of the teacher's), needs 25 % of its FLOPs and embeds 4.0 times" in sentences[2]
    assert sentences[2].endswith("as many pictures a second (4.0 to 4.0, timed in turn).")
    assert "the spread over seeds is not known" in sentences[3]


def test_a_speed_that_was_timed_alone_is_left_out(make_run):
    run = make_run()
    content = json.loads((run / "evaluation.json").read_text())
    del content["models"]["student"]["speed"]
    (run / "evaluation.json").write_text(json.dumps(content))
    (group,) = groups_of(run)
    assert group.faster is None and headline(group)[2].endswith("and needs 25 % of its FLOPs.")
    assert "images_per_second" not in group.costs["student"] and "images_per_second" in group.costs["teacher"]


def test_sentences_are_honest_about_loss_chance_and_missing_controls(make_run):
    losing, chance, alone, level = (
        groups_of(make_run(name, student=student, control=control))[0]
        for name, student, control in (("l", 0.1, 0.2), ("c", 0.11, 0.1), ("a", 0.2, None), ("e", 0.2, 0.2))
    )
    assert "but loses 10.0 points against the control (20.0 %)." in headline(losing)[0]
    assert (
        "gains 1.0 points over the control (10.0 %), a difference that chance alone could make." in headline(chance)[0]
    )
    assert "There is no control" in headline(alone)[-1] and alone.rows[0].gain is None
    assert "level with the control" in headline(level)[0]


def test_doubt_over_seeds_looks_at_the_paired_differences(make_run):
    steady = groups_of(*(make_run("s", s, student=0.11 + s / 10, control=0.1 + s / 10 + s / 1000) for s in range(3)))
    mixed = groups_of(*(make_run("m", s, student=0.2 + s / 10, control=0.3) for s in range(3)))
    assert not uncertain(steady[0].rows[0])  # seeds differ widely, yet the student wins in each
    assert uncertain(mixed[0].rows[0])


def test_a_zero_teacher_has_no_retention(make_run):
    (group,) = groups_of(make_run(teacher=0.0))
    assert group.rows[0].kept == {} and metric_table(group).rows[0][-1] == NO_MODEL


def test_a_base_model_gets_its_own_share_and_is_the_reference_without_a_control(make_run):
    run = make_run(control=None)
    content = json.loads((run / "evaluation.json").read_text())
    content["models"]["base"] = content["models"].pop("teacher") | {"name": "before"}
    (run / "evaluation.json").write_text(json.dumps(content))
    (group,) = groups_of(run)
    table = metric_table(group)
    assert table.header[3:] == ["base", "student", "student, 95 %", "chance", "gain over base", "kept of base"]
    assert table.rows[0][3:] == ["80.0", "20.0", "17.6–22.6", NO_MODEL, "−60.0", "25 %"]
    assert headline(group)[0].endswith("but loses 60.0 points against the base (80.0 %).")


def test_training_table_counts_a_repeated_step_once_and_ignores_a_cut_line(make_run):
    (group,) = groups_of(make_run())
    student, control = training_table(group).rows
    assert student[:4] == ["student, seed 0", "3", "1 min 15 s", "100"] and student[-1] == "0.5"
    assert control[0] == "control, seed 0" and control[2] == NO_MODEL


def test_losses_are_told_term_by_term_and_not_as_sums_of_different_ones(make_run):
    run = make_run()
    (run / "metrics.jsonl").write_text(
        json.dumps({"step": 9, "loss": 55.1, "loss/task": 5.2, "loss/fd": 0.0201}) + "\n"
    )
    (run / "control" / "metrics.jsonl").write_text(json.dumps({"step": 9, "loss": 5.0, "loss/task": 5.0}) + "\n")
    student, control = training_table(groups_of(run)[0]).rows
    assert student[-1] == "task 5.2, fd 0.0201" and control[-1] == "task 5"


def test_numbers_as_text():
    assert percent(Summary((0.5,))) == "50.0" and percent(Summary((0.5, 0.5))) == "50.0"
    assert points(Summary((-0.012,))) == "−1.2" and points(Summary((0.0001,))) == "0.0"
    assert [amount(v) for v in (12, 3.71e6, 151277313, 5.2e8)] == ["12", "3.71M", "151M", "520M"]


def test_mistakes_get_one_line(tmp_path, make_run):
    with pytest.raises(UserError, match="no such run folder"):
        read_run(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="not a run"):
        read_run(tmp_path / "empty")
    run = make_run()
    (run / "evaluation.json").write_text("{")
    with pytest.raises(UserError, match="evaluation.json: can't be read as JSON"):
        read_run(run)
    (run / "evaluation.json").write_text(json.dumps({"models": {"student": {"results": [{"evaluator": "x"}]}}}))
    with pytest.raises(UserError, match="models.student can't be understood"):
        read_run(run)


def test_a_gain_that_chance_could_make_stands_in_brackets() -> None:
    from clipdistill.report.tables import Row, Summary

    def row(*gains: float) -> Row:
        student = Summary(tuple(0.5 + gain for gain in gains))
        return Row("retrieval", "d", "1000", 1000, "text_to_image/map", {"student": student}, Summary(gains), {})

    assert gain_text(row(0.12, 0.13, 0.14)) == "+13.0 ± 1.0"
    assert gain_text(row(0.12, -0.13, 0.14)).startswith("(+4.3")
    assert gain_text(row(0.02)) == "(+2.0)" and gain_text(row(0.2)) == "+20.0"


def test_compositional_scores_are_said_first_and_count_as_an_evaluation(make_run):
    path = make_run()
    for folder, value in ((path, 0.75), (path / "control", 0.25)):
        file = folder / "evaluation.json"
        content = json.loads(file.read_text())
        scores = {"evaluator": "winoground", "data": "winoground", "n": 400, "metrics": {"text": value}}
        content["models"]["student"]["results"].append(scores | {"artifacts": {}})
        file.write_text(json.dumps(content))
    first = headline(groups_of(path)[0])[0]
    assert first == (
        "The student reaches 75.0 % text score on winoground and gains 50.0 points over the control (25.0 %)."
    )
    content = json.loads((path / "evaluation.json").read_text())  # a diffusion model has nothing else
    content["models"] = {"student": content["models"]["student"] | {"results": [scores | {"artifacts": {}}]}}
    (path / "evaluation.json").write_text(json.dumps(content))
    assert "text score on winoground" in headline(groups_of(path)[0])[0]


def test_parts_of_a_score_are_named_after_it():
    assert metric_label("text/1 main pred") == "text score, 1 main pred" and metric_label("text") == "text score"
    assert metric_label("text_to_image/recall@1") == "text → image R@1"
    assert metric_label("something/else") == "something/else"
