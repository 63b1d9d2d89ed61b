"""A study's links to its runs: a line a row, a link a seed, and only to reports that are there."""

from __future__ import annotations

from pathlib import Path

from clipdistill.report.run_links import run_links


def test_what_differs_by_seed_alone_is_one_line(tmp_path: Path) -> None:
    called = {"a & b, 70: recipe": [0, 1, 2], "b, 70: recipe": [0]}
    runs: dict[Path, str] = {}
    for name, seeds in called.items():
        for seed in seeds:
            folder = tmp_path / name[0] / f"seed-{seed}"
            folder.mkdir(parents=True)
            (folder / "report.html").touch()
            runs[folder] = f"{name}, seed {seed}"
    (tmp_path / "a" / "seed-1" / "report.html").unlink()
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "report.html").touch()
    runs[tmp_path / "m"] = "teacher, 0: m as it is, on what recipe evaluates"

    found = run_links(tmp_path, runs)

    assert found is not None
    (heading, lines), page = found
    assert heading == "## Runs" and lines.splitlines() == [
        "- a &amp; b, 70: recipe: [seed 0](<a/seed-0/report.md>), [seed 2](<a/seed-2/report.md>)",
        "- b, 70: recipe: [seed 0](<b/seed-0/report.md>)",
        "- teacher, 0: m as it is, on what recipe evaluates: [report](<m/report.md>)",
    ]
    assert '<li>a &amp; b, 70: recipe: <a href="a/seed-0/report.html">seed 0</a>, <a href="a/seed-2/' in page
    assert run_links(tmp_path, {tmp_path / "none": "x, seed 0"}) is None
