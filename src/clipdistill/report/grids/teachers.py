"""Whether better teachers make better students: the question of the study's title, answered for a grid by a number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from clipdistill.evaluate.ranks_in_blocks import LEAST, BlockedRanks, Interval, ranks_in_blocks
from clipdistill.report.content import NO_MODEL, Table
from clipdistill.report.figures import INK, MUTED
from clipdistill.report.grids.drawing import Figure, Panel, labels_of_axes, legend, legend_height, series_style
from clipdistill.report.grids.results import GridResults, level_of, others_of
from clipdistill.report.tables import Summary, is_plain
from clipdistill.report.words import MINUS
from clipdistill.studies.figures import student_axis, teacher_axis
from clipdistill.studies.table import MeasureSpec

LEVEL = "Intervals: 95 % of bootstrap draws of the {}s (the same for all pairs) and of each cell's seeds."


def question(results: GridResults) -> str:
    """What the correlations answer."""
    return f"Do better {results.guide}s make better students?"


@dataclass(frozen=True)
class Answer:
    """What a grid says of one measure.

    Attributes:
        teachers: level -> its own score, best first. blocks: name of what else is varied -> teacher -> seed -> score of
            its student. found: None where there are too few teachers. guide: what a teacher is called.
    """

    key: str
    spec: MeasureSpec
    teachers: dict[str, float]
    blocks: dict[str, dict[str, dict[int, float]]]
    found: BlockedRanks | None
    guide: str = "teacher"

    @property
    def said(self) -> str:
        """In a sentence."""
        if self.found is None or self.found.spearman is None:
            return f"{self.spec.label}: {self.why}"
        low, high = self.found.spearman_interval or (-1.0, 1.0)
        verdict = (
            f"yes, better {self.guide}s made better students" if low > 0
            else f"no, better {self.guide}s made worse students" if high < 0
            else "not shown, since the interval holds 0"
        )  # fmt: skip
        blocks = _pairs(self.found.blocks, self.guide)
        return (
            f"{self.spec.label}: {verdict}. Spearman's rank correlation between {self.found.teachers} {self.guide}s' "
            f"own scores and their students' is {_cell(self.found.spearman, self.found.spearman_interval)}, Kendall's "
            f"{_cell(self.found.kendall, self.found.kendall_interval)}; the mean over {blocks}."
        )

    @property
    def why(self) -> str:
        """Why there is no correlation."""
        if not self.teachers:
            return f"no {self.guide} was measured by it; `compare: [{self.guide}]` measures them."
        if len(self.teachers) < LEAST:
            some = len(self.teachers)
            count = f"1 {self.guide} was" if some == 1 else f"{some} {self.guide}s were"
            return f"{count} measured by it; a rank correlation takes {LEAST}."
        if self.found is None or not self.found.blocks:
            return f"no student was trained from {LEAST} of the {len(self.teachers)} {self.guide}s yet."
        return f"all students, or all {self.guide}s, have the same score."


def answers(results: GridResults) -> list[Answer]:
    """One a measure that is a rate; none where no teacher is varied."""
    axis = teacher_axis(results.grid)
    if axis is None:
        return []
    found = []
    for key, spec in results.drawn().items():
        if is_plain(spec.metric):
            continue
        scores = {level: results.teacher_quality(level, spec) for level in results.teachers()}
        known = sorted(((level, value) for level, value in scores.items() if value is not None), key=lambda e: -e[1])
        quality = dict(known)
        blocks: dict[str, dict[str, dict[int, float]]] = {}
        for cell in results.found:
            level = level_of(cell, axis)
            if level in quality and (values := results.values(cell, spec)):
                name = ", ".join(one for _, one in others_of(cell, axis)) or "students"
                blocks.setdefault(name, {})[level] = values
        ranked = None
        if len(quality) >= LEAST:
            outcome = [[list(block.get(level, {}).values()) for level in quality] for block in blocks.values()]
            ranked = ranks_in_blocks(list(quality.values()), outcome)
        found.append(Answer(key, spec, quality, blocks, ranked, results.guide))
    return found


def answer_table(found: list[Answer]) -> Table:
    """A row a measure."""
    rows = []
    for one in found:
        ranked = one.found
        cells = [NO_MODEL] * 2
        if ranked is not None and ranked.spearman is not None:
            cells = [_cell(ranked.spearman, ranked.spearman_interval), _cell(ranked.kendall, ranked.kendall_interval)]
        rows.append([one.spec.label, str(len(one.teachers)), str(ranked.blocks if ranked else len(one.blocks)), *cells])
    guides = f"{found[0].guide}s"
    return Table(["measured by", guides, "students and objectives", "Spearman", "Kendall"], rows)


def teacher_figure(results: GridResults, found: list[Answer]) -> Figure | None:
    """A chart a measure: a point a cell, its teacher's own score to the right, its student's upwards."""
    series = _series(results)
    shown = [one for one in found if one.teachers and one.blocks]
    if not shown or len(results.teachers()) < 2:
        return None
    axis = str(teacher_axis(results.grid))
    numbers = numbering(results, found)
    rows: list[list[Any]] = [
        [one.key, level, one.teachers[level], block, Summary(tuple(seeds.values())).mean,
         Summary(tuple(seeds.values())).sd, len(seeds)]
        for one in shown for block, cells in one.blocks.items() for level, seeds in cells.items()
    ]  # fmt: skip
    notes = ["A point is a cell: the mean over its seeds, with their standard deviation. "
             + key_of(numbers, results.guide)]  # fmt: skip
    columns = ["measure", axis, "teacher", "of", "student", "standard deviation", "seeds"]
    return Figure(
        "teachers",
        f"Students beside their {results.guide}s",
        notes,
        [_panel(one, numbers, series) for one in shown],
        columns,
        rows,
    )


def numbering(results: GridResults, found: list[Answer]) -> dict[str, int]:
    """Teacher -> its number in the charts, the best of the first measure first."""
    order = [level for one in found for level in one.teachers] + results.teachers()
    return {level: number for number, level in enumerate(dict.fromkeys(order), 1)}


def key_of(numbers: dict[str, int], guide: str) -> str:
    """What the numbers stand for."""
    return f"{guide.capitalize()}s: " + "; ".join(f"{number} {level}" for level, number in numbers.items()) + "."


def _series(results: GridResults) -> dict[str, str]:
    """Block -> the level by which its points are coloured: the student, or of the first other axis."""
    teacher, student = str(teacher_axis(results.grid)), student_axis(results.grid)
    others = [name for name in results.grid.axes if name != teacher]
    by = student or (others[0] if others else None)
    return {
        ", ".join(one for _, one in others_of(cell, teacher)) or "students": level_of(cell, by) if by else "students"
        for cell in results.found
    }


def _panel(one: Answer, numbers: dict[str, int], series: dict[str, str]) -> Panel:
    names = list(dict.fromkeys(series[block] for block in one.blocks))

    def draw(axis: Any) -> None:
        handles: dict[str, Any] = {}
        for block, cells in one.blocks.items():
            colour, marker = series_style(names.index(series[block]))
            for level, seeds in cells.items():
                summary = Summary(tuple(seeds.values()))
                handles[series[block]] = axis.errorbar(
                    100 * one.teachers[level], 100 * summary.mean, yerr=100 * summary.sd if summary.spread else None,
                    fmt=marker, ms=5.5, color=colour, alpha=0.85, mew=0, elinewidth=1, capsize=2,
                )  # fmt: skip
        axis.margins(x=0.1, y=0.1)
        low, high = axis.get_ylim()
        axis.set_ylim(low, high + 0.2 * (high - low))  # room for the teachers' numbers
        _number_teachers(axis, {numbers[level]: 100 * value for level, value in one.teachers.items()})
        labels_of_axes(axis, f"the {one.guide}'s own score, per cent", "its student's, per cent")
        if names != ["students"]:
            legend(axis, [handles[name] for name in names], names)

    return Panel(one.spec.label, draw, 2.9 + legend_height([] if names == ["students"] else names))


def _number_teachers(axis: Any, places: dict[int, float]) -> None:
    """Numbers along the top, on two lines where they would touch."""
    left, right = axis.get_xlim()
    last = {0: -1.0, 1: -1.0}
    for number, x in sorted(places.items(), key=lambda each: each[1]):
        share = (x - left) / (right - left)
        line = 0 if share - last[0] >= 0.06 else 1 if share - last[1] >= 0.06 else 0
        at = share if share - last[line] >= 0.06 else last[line] + 0.06
        last[line] = at
        axis.axvline(x, ymax=0.86, color=MUTED, lw=0.6, alpha=0.5, zorder=0)
        axis.text(at, 0.95 - 0.08 * line, str(number), transform=axis.transAxes, ha="center", va="center", fontsize=8.5,
                  color=INK)  # fmt: skip


def _cell(value: float | None, interval: Interval | None) -> str:
    if value is None:
        return NO_MODEL
    behind = "" if interval is None else f" ({_signed(interval[0])} to {_signed(interval[1])})"
    return _signed(value) + behind


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", MINUS)


def _pairs(count: int, guide: str) -> str:
    return f"{'one block' if count == 1 else f'{count} blocks'} of cells that differ in {guide} alone"
