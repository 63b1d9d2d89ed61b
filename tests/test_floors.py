"""The house stands: imports run downwards only, objectives know torch alone, and the picture of it is today's."""

from __future__ import annotations

import ast
import html
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parent.parent


def load_house() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_pictures", ROOT / "docs" / "make_pictures.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


HOUSE = load_house()


def test_every_part_has_its_floor() -> None:
    parts = {HOUSE.part_of(file) for file in HOUSE.SOURCE.rglob("*.py")}
    assert parts == {name for floor in HOUSE.FLOORS for name in floor}


def test_imports_run_downwards_only() -> None:
    level = {name: number for number, floor in enumerate(HOUSE.FLOORS) for name in floor}
    found = HOUSE.imports()
    assert len(found) > 50, "the imports aren't seen any more"
    upwards = [
        f"{each.file}:{each.line} imports {each.target}"
        for each in found
        if each.target in level and level[each.target] >= level[each.part]
    ]
    assert upwards == []


def test_imports_inside_functions_and_of_names_are_seen() -> None:
    code = "def f():\n from clipdistill.engine import trainer\n from clipdistill import runs\n import clipdistill.cli\n"
    seen = [name for node in ast.walk(ast.parse(code)) for name in HOUSE._modules(node)]
    assert seen == ["clipdistill.engine.trainer", "clipdistill.runs", "clipdistill.cli"]


def test_objectives_import_torch_and_the_standard_library_alone() -> None:
    allowed = {"torch", *sys.stdlib_module_names}
    for file in sorted((HOUSE.SOURCE / "objectives").glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            for module in HOUSE._modules(node):
                own = module.startswith("clipdistill.objectives")
                assert own or module.split(".")[0] in allowed, f"{file.name}:{node.lineno} imports {module}"


def test_picture_shows_the_imports_of_today() -> None:
    drawn = html.unescape(HOUSE.PICTURE.read_text(encoding="utf-8"))
    assert HOUSE.described() in drawn, "docs/pictures/architecture.svg is stale: draw it again with `make pictures`"
