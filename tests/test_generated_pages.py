"""What in the pages follows from the code is today's, and a method, an objective or a stage appears by itself."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from clipdistill import objectives
from clipdistill.tasks import TASKS
from clipdistill.tasks.contrastive import Contrastive

ROOT = Path(__file__).parent.parent


def load_pages() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_pages", ROOT / "docs" / "make_pages.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MAKE = load_pages()


@pytest.mark.parametrize("page", MAKE.PAGES)
def test_blocks_are_todays(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert text.count("<!-- generated: ") == text.count("<!-- end -->") == len(MAKE.BLOCK.findall(text)) > 0
    assert MAKE.rewritten(text) == text, f"{page} is stale: write it again with `make pages`"


def test_every_block_is_on_a_page_and_no_other_page_has_one() -> None:
    pages = {page: (ROOT / page).read_text(encoding="utf-8") for page in MAKE.PAGES}
    used = {name for text in pages.values() for name in re.findall(r"<!-- generated: ([^\n]+?) -->", text)}
    assert {*MAKE.BLOCKS, *(f"file {path}" for path in MAKE.NEW_FILES)} == used
    others = {str(path.relative_to(ROOT)) for path in ROOT.glob("docs/*.md") if "<!-- generated" in path.read_text()}
    assert others <= set(MAKE.PAGES)


def test_a_method_describes_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mine(Contrastive):
        """Do | something.

        Source: Somebody (2030),
            and others
        Status: never tried

        More words.
        """

        METHOD = "mine"
        TEACHERS = (1, 2)
        TERMS = {"task": 1.0, "mine": 0.25}

    monkeypatch.setitem(TASKS, "mine", Mine)
    cells = [
        "`mine`",
        "Do \\| something",
        "Somebody (2030), and others",
        "`task` 1, `mine` 0.25",
        "1 to 2 dual encoders",
    ]
    assert f"| {' | '.join(cells)} |  | never tried |" in MAKE.methods().splitlines()
    for name, task in TASKS.items():
        assert MAKE.first_line(task) and MAKE.said(task, "Source"), f"{name}: give its docstring a line `Source:`"


def test_an_objective_is_listed_with_its_tests_and_has_some(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = MAKE.objectives_table().splitlines()[2:]
    assert all("`tests/" in row for row in rows), "an objective that no test and no tested task imports"
    assert {*objectives.__all__} <= {re.findall(r":(\w+)`", row)[0] for row in rows}

    def unseen(x: object) -> object:
        """Wait and see."""
        return x

    unseen.__module__ = "clipdistill.objectives.cosine"
    monkeypatch.setattr("clipdistill.objectives.cosine.unseen", unseen, raising=False)
    (row,) = (row for row in MAKE.objectives_table().splitlines() if "Wait and see" in row)
    assert row.startswith("| `objectives/cosine.py:unseen` | Wait and see | Cosine distillation")


def test_the_method_of_the_guide_took_under_120_lines() -> None:
    files = [ROOT / MAKE.place(path) for path in MAKE.NEW_FILES]
    assert sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files) < 120
