from __future__ import annotations

import io
import json
import re
from html.parser import HTMLParser

import pytest
from rich.console import Console

from clipdistill.errors import UserError
from clipdistill.report import build_report
from clipdistill.report.confusion import confusion_counts, confusion_figure, most_confused
from clipdistill.report.content import Table
from clipdistill.report.figures import loss_figure, to_svg
from clipdistill.report.markdown import escape
from clipdistill.report.records import read_run
from clipdistill.report.tables import build_groups
from clipdistill.report.terminal import print_table, print_tables

VOID = {"meta", "img", "br", "input", "link", "hr", "col", "path", "use", "image", "rect", "line"}


class Page(HTMLParser):
    """Collects tags, attributes and visible text, and checks that tags close in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.attributes, self.words = [], [], []
        self.feed(text)
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag, attributes):
        self.attributes += [(tag, name, value or "") for name, value in attributes]
        if tag not in VOID:
            self.open.append(tag)
        self.attributes.append((tag, "", ""))

    def handle_startendtag(self, tag, attributes):
        self.attributes += [(tag, name, value or "") for name, value in attributes] + [(tag, "", "")]

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture
def report(make_run, tmp_path):
    out = tmp_path / "out"
    markdown, page = build_report([make_run(seed=seed) for seed in (0, 1)], out)
    return markdown, page


def test_page_needs_nothing_from_outside_and_runs_no_captions(report):
    page = Page(report[1].read_text())
    for tag, name, value in page.attributes:
        assert tag not in ("script", "link", "iframe")
        if name in ("src", "href", "xlink:href"):
            assert value.startswith(("data:image/", "#")), value
    text = report[1].read_text()
    assert "@import" not in text and not re.search(r"url\((?!#)", text)
    assert any("<script>alert('x')</script> a | cat" in word for word in page.words)  # shown as text


def test_page_has_every_part(report):
    words = " ".join(Page(report[1].read_text()).words)
    for part in (
        "Results",
        "What each model costs",
        "Training",
        "Confusion",
        "Retrieval examples",
        "Where this comes from",
    ):
        assert part in words
    assert "2 seeds (0, 1)" in words and "cat taken for <b>dog</b>" in words
    assert "Bad samples: 2 in training" in words and "1 left out of evaluation" in words
    assert "rank 1" in words and "rank 7" in words  # the teacher's, and the control's from its own folder
    assert words.count("fd: 2000") == 2  # the recipes


def test_the_right_picture_is_framed_in_each_strip_and_nowhere_else(report):
    pictures = [a for a in Page(report[1].read_text()).attributes if a[0] == "img"]
    assert sum(a[1:] == ("class", "right") for a in pictures) == 2  # teacher and control found it
    assert sum(a[1] == "src" for a in pictures) == 5


def test_markdown_escapes_and_its_pictures_exist(report):
    text = report[0].read_text()
    assert "<script>" not in text and "a \\| cat" in text
    linked = re.findall(r"\]\((report_files/[^)]+)\)|src=\"(report_files/[^\"]+)\"", text)
    assert len(linked) >= 5
    for one, other in linked:
        assert (report[0].parent / (one or other)).stat().st_size > 100
    rows = [line for line in text.splitlines() if line.startswith("| petri/test")]
    assert rows and all(len(re.split(r"(?<!\\)\|", row)) == 12 for row in rows)
    assert escape("a*b_[x](y)\n<i>") == r"a\*b\_\[x\](y) &lt;i&gt;"


def test_what_questions_are_measured_by_is_said_first(make_run):
    run = make_run(evaluated=False)

    def measured(share: float) -> dict:
        numbers = {"q2a": share, "qa2r": 0.3, "q2ar": 0.12, "q2a/colour": 0.9}
        result = {"evaluator": "vcr", "data": "petri/vcr", "n": 300, "metrics": numbers, "artifacts": {}}
        return {"name": "x", "parameters": 10, "results": [result]}

    models = {"base": measured(0.25), "student": measured(0.5)}
    (run / "evaluation.json").write_text(json.dumps({"models": models}), encoding="utf-8")
    text = build_report(run)[0].read_text(encoding="utf-8")
    assert "The student reaches 50.0 % Q \u2192 A on petri/vcr and gains 25.0 points over the base (25.0 %)." in text
    assert "not been evaluated" not in text and "Q \u2192 A, colour" in text


def test_a_run_in_training_and_a_bare_one_still_give_a_report(make_run):
    run = make_run(evaluated=False)
    for name in ("examples.json", "environment.json", "bad_samples.jsonl"):
        (run / name).unlink()
    (run / "control" / "examples.json").unlink()
    markdown, page = build_report(run)
    assert "has not been evaluated yet" in markdown.read_text() and "<h3>Training</h3>" in page.read_text()
    (run / "metrics.jsonl").unlink()
    (run / "control" / "metrics.jsonl").unlink()
    markdown, page = build_report(run)
    assert page.parent == run and "<h3>Training</h3>" not in page.read_text()


def test_several_recipes_are_compared_in_one_report(make_run, tmp_path):
    runs = [make_run("one"), make_run("two", student=0.5)]
    markdown, page = build_report(runs, tmp_path / "both")
    assert "Runs compared" in markdown.read_text()
    words = Page(page.read_text()).words
    assert "50.0 (+40.0)" in words and "20.0 (+10.0)" in words


def test_figures_follow_the_page_and_show_student_and_control(make_run):
    run = make_run()
    (run / "control" / "metrics.jsonl").write_text(json.dumps({"step": 1, "loss": 2.0, "loss/fd": 1.5}) + "\n")
    (group,) = build_groups([read_run(run)])
    figure = loss_figure(group)
    titles = [axis.get_title(loc="left") for axis in figure.axes if axis.get_title(loc="left")]
    assert titles == ["fd"]  # and no weighted sums, of different terms, beside each other
    svg = to_svg(figure)
    assert svg.startswith("<svg") and "var(--student)" in svg and "var(--control)" in svg
    assert "#1c2128" not in svg
    assert "<metadata" not in svg


def test_terms_of_earlier_steps_are_drawn_even_if_the_last_line_lacks_them(make_run):
    (group,) = build_groups([read_run(make_run())])
    figure = loss_figure(group)
    assert any(axis.get_title(loc="left") == "fd" for axis in figure.axes)
    to_svg(figure)


def test_a_run_without_terms_shows_its_own_sum_alone(make_run):
    run = make_run()
    (run / "metrics.jsonl").write_text(json.dumps({"step": 1, "loss": 3.0}) + "\n")
    figure = loss_figure(build_groups([read_run(run)])[0])
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["loss"]
    svg = to_svg(figure)
    assert "var(--student)" in svg and "var(--control)" not in svg


def test_confusion_is_summed_over_seeds_and_its_mistakes_are_named(make_run):
    (group,) = build_groups([read_run(make_run(seed=seed)) for seed in (0, 1)])
    classes, counts = confusion_counts(group, "pets", "student")
    assert counts == [[6, 2], [4, 4]]
    assert most_confused(classes, counts) == [("<b>dog</b>", "cat", 4), ("cat", "<b>dog</b>", 2)]
    figure = confusion_figure(group, "pets")
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["teacher", "control", "student"]
    to_svg(figure)
    assert confusion_figure(group, "elsewhere") is None


def test_a_hundred_classes_are_named_and_no_name_covers_another(make_run):
    run = make_run(control=None)
    path = run / "evaluation.json"
    found = json.loads(path.read_text())
    names = [f"class_number_{k}" for k in range(100)]
    counts = [[3 * (i == j) + (j == (i + 7) % 100) for j in range(100)] for i in range(100)]
    for one in found["models"].values():
        one["results"][1]["artifacts"] |= {"classes": names, "confusion": counts}
    path.write_text(json.dumps(found))
    (group,) = build_groups([read_run(run)])
    figure = confusion_figure(group, "pets")
    figure.canvas.draw()
    teacher, student = (axis for axis in figure.axes if axis.get_title(loc="left") in ("teacher", "student"))
    assert teacher.get_window_extent().y0 > student.get_window_extent().y1  # one under the other
    for labels, low, high in ((student.get_yticklabels(), "y0", "y1"), (student.get_xticklabels(), "x0", "x1")):
        assert [label.get_text() for label in labels] == names
        boxes = sorted((label.get_window_extent() for label in labels), key=lambda box: getattr(box, low))
        overlap = [getattr(a, high) - getattr(b, low) for a, b in zip(boxes, boxes[1:], strict=False)]
        assert max(overlap) <= 1  # pixel
    assert figure.get_size_inches()[0] < 11.5
    to_svg(figure)
    markdown, page = build_report(run)
    text = page.read_text()
    assert "<summary>pets: matrices</summary>" in text and "<details open><summary>pets" not in text
    assert "class_number_0 taken for class_number_7 (1×)" in text[: text.index("<summary>pets: matrices")]
    text = markdown.read_text()
    assert "[The matrices of all classes](report_files/confusion-0-0.png)" in text and "![pets]" not in text
    assert "The student's commonest mistakes: class\\_number\\_0 taken for" in text


def test_few_classes_are_shown_at_once(make_run):
    markdown, page = build_report(make_run())
    assert "<details open><summary>pets</summary>" in page.read_text()
    assert "![pets](report_files/confusion-0-0.png)" in markdown.read_text()


def test_titles_are_words(make_run, tmp_path):
    def title(*runs):
        return build_report(runs, tmp_path / "titled")[0].read_text().splitlines()[0]

    one, two = make_run("one"), make_run("two")
    assert title(one) == "# one" and title(one, make_run("one", seed=1)) == "# one: 2 seeds (0, 1)"
    assert title(one, two) == "# one and two compared, one run each"
    assert title(one, two, make_run("three"), make_run("four")) == "# 4 recipes compared, one run each"
    other = make_run("b", recipe={"name": "one", "task": {"weights": {"fd": 0}}})
    assert title(one, other) == "# one: 2 variants by task.weights.fd, one run each"


def test_a_terminal_table_says_what_a_row_is_of_where_it_changes() -> None:
    rows = [
        ["rn", "kd", "weak", "1"],
        ["rn", "kd", "large", "2"],
        ["rn", "fd", "large", "3"],
        ["vit", "fd", "large", "4"],
    ]
    console = Console(width=80, record=True, file=io.StringIO())
    print_tables([("t", Table(["student", "terms", "teacher", "top-1"], rows, numbers=3), [])], console)
    lines = [line.split() for line in console.export_text().splitlines()[2:]]
    assert lines == [
        ["rn", "kd", "weak", "1"], ["large", "2"], ["fd", "large", "3"], ["vit", "fd", "large", "4"],
    ]  # fmt: skip


def test_terminal_table_holds_the_numbers(make_run):
    console = Console(file=io.StringIO(), width=160)
    print_table(make_run(), console)
    text = console.file.getvalue()
    assert re.search(r"text → image R@1 +80\.0 +10\.0 +20\.0 +\+10\.0 +25 %", text)
    assert "The student keeps 25 %" in text


def test_no_runs_and_an_unwritable_folder_are_user_errors(make_run, tmp_path):
    with pytest.raises(UserError, match="at least one run"):
        build_report([])
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="can't be written"):
        build_report(make_run(), tmp_path / "file")
