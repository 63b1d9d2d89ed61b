"""Teachers two by two: whether students of one are better than those of the next best, block by block.

A rank correlation of a few teachers can't be sure of anything; the same students of two teachers can.
"""

from __future__ import annotations

from clipdistill.report.content import NO_MODEL, Table
from clipdistill.report.grids.results import GridResults
from clipdistill.report.grids.teachers import Answer, numbering
from clipdistill.report.tables import Summary
from clipdistill.report.words import MINUS, points

SAID = (
    "Students of the first less students of the second, which by the first measure's own score is the next best: in "
    "points, the mean over blocks (student, objective) that both have, ± the standard deviation over the seeds; in "
    "brackets in how many pairs of runs the first is ahead."
)


def neighbour_table(results: GridResults, found: list[Answer]) -> Table | None:
    """A row a pair of neighbours by their own score, a column a measure; None with fewer than two teachers."""
    shown = [one for one in found if one.blocks]
    order = [level for level in numbering(results, found) if any(level in one.teachers for one in shown)]
    rows = []
    for better, worse in zip(order, order[1:], strict=False):
        cells = [_difference(one, better, worse) for one in shown]
        if set(cells) != {NO_MODEL}:
            rows.append([f"{better} {MINUS} {worse}", *cells])
    return Table([f"{results.guide}s", *(one.spec.label for one in shown)], rows) if rows else None


def _difference(one: Answer, better: str, worse: str) -> str:
    pairs = [
        (seed, block[better][seed] - block[worse][seed])
        for block in one.blocks.values() if better in block and worse in block
        for seed in block[better] if seed in block[worse]
    ]  # fmt: skip
    if not pairs:
        return NO_MODEL
    by_seed = [[value for at, value in pairs if at == seed] for seed in sorted({seed for seed, _ in pairs})]
    means = Summary(tuple(sum(each) / len(each) for each in by_seed))
    ahead = sum(value > 0 for _, value in pairs)
    return f"{points(means)} ({ahead} of {len(pairs)})"
