"""The documentation is true: links, commands, recipes and examples work; the functions and tests it names exist."""

from __future__ import annotations

import ast
import re
import shlex
import sys
from pathlib import Path

import pytest
import typer
import yaml

import clipdistill
from clipdistill.cli import app
from clipdistill.data import open_source
from clipdistill.data.sources.bare import is_bare
from clipdistill.evaluate.sources import open_sources
from clipdistill.evaluate.suites import SUITES
from clipdistill.recipe import DataSpec, EvaluateSpec
from clipdistill.recipe_files import recipe_names, validate
from clipdistill.report.paper import paper_table
from clipdistill.runs.checks import check_recipe
from clipdistill.runs.data import source_spec

sys.path.insert(0, str(Path(__file__).parent))
import docs_data

ROOT = Path(__file__).parent.parent
PAGES = [
    *(ROOT / f"{name}.md" for name in ("README", "CHANGELOG", "CONTRIBUTING")),
    *sorted((ROOT / "docs").glob("*.md")),
]
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), f"{page.name}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}, target


def commands(page: Path) -> list[list[str]]:
    lines = [line for block in blocks(page, "bash") for line in block.replace("\\\n", " ").splitlines()]
    inline = re.findall(r"`((?:clipdistill|make) [^`]+)`", page.read_text(encoding="utf-8"))
    found = [shlex.split(line.removeprefix("$ "), comments=True) for line in [*lines, *inline]]
    return [words for words in found if words and words[0].removeprefix(".venv/bin/") in ("clipdistill", "make")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_exist_with_their_options(page: Path) -> None:
    known = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for words in commands(page):
        if words[0] == "make":
            assert words[1] in TARGETS, words
            continue
        assert words[1] in known, words
        options = {option for parameter in known[words[1]].params for option in parameter.opts}
        given = [word.partition("=")[0] for word in words[2:] if word.startswith("--")]
        assert set(given) <= options | {"--help"}, words
        if words[1] in ("train", "cache", "recipes") and len(words) > 2 and re.fullmatch(r"[a-z_0-9/]+", words[2]):
            assert words[2] in recipe_names(), words


def test_readme_shows_every_command_and_both_make_targets() -> None:
    shown = {(words[0].removeprefix(".venv/bin/"), words[1]) for words in commands(ROOT / "README.md")}
    assert {("make", "quickstart"), ("make", "test")} <= shown
    assert {name for tool, name in shown if tool == "clipdistill"} == set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_examples_name_what_exists(page: Path) -> None:
    for block in blocks(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module == "clipdistill":
                assert {alias.name for alias in node.names} <= set(clipdistill.__all__)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_whole_recipes_are_valid(page: Path) -> None:
    for block in blocks(page, "yaml"):
        values = yaml.safe_load(block)
        if isinstance(values, dict) and "student" in values:
            check_recipe(validate(values, page.name))


def test_data_is_named_as_in_the_printed_tables() -> None:
    (block,) = (one for one in blocks(ROOT / "docs" / "dclip.md", "yaml") if "evaluate" in one)
    named = {item["name"] for item in yaml.safe_load(block)["evaluate"]}
    assert named == {data for data, _ in paper_table("dclip/vit_b16").columns}
    # Where one of these sets is written elsewhere, it has the same name, or one that its file gives it.
    for page in PAGES:
        for block in blocks(page, "yaml"):
            values = yaml.safe_load(block)
            for item in values.get("evaluate", ()) if isinstance(values, dict) else ():
                assert re.sub(r"[^a-z0-9]", "", str(item.get("name", "")).lower()) not in named - {item.get("name")}


def test_every_source_in_bring_your_data_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docs_data.make(tmp_path)
    monkeypatch.chdir(tmp_path)
    formats = set()
    for block in blocks(ROOT / "docs" / "bring-your-data.md", "yaml"):
        values = yaml.safe_load(block)
        for spec in DataSpec.model_validate(values["data"]).train if "data" in values else ():
            source = open_source(source_spec(spec))
            said = source[0].captions or source[0].fields or is_bare(source)
            assert len(source) >= (spec.count or 1) and said, spec
            formats.add(spec.format)
        for item in values.get("evaluate", ()):
            suite = EvaluateSpec.model_validate(item)
            SUITES[suite.suite].read_options(suite.options())
            data = suite.data if isinstance(suite.data, str) else source_spec(suite.data)  # type: ignore[arg-type]
            assert open_sources(data)
    assert formats >= {
        "csv", "tsv", "jsonl", "karpathy", "coco", "webdataset", "huggingface", "imagefolder", "pictures", "arrays",
        "torchvision", "vcr", "snli_ve", "vqa_v2", "easy_vqa",
    }  # fmt: skip


def table_of_options() -> list[str]:
    """A line an option of a suite, with the suites that share default and meaning."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for suite in SUITES.values():
        for name, field in suite.Options.model_fields.items():
            shown = list(field.default) if isinstance(field.default, tuple) else field.default
            default = "" if shown is None else f"`{shown}`"
            found.setdefault((name, default, str(field.description).strip()), []).append(suite.NAME)
    rows = sorted(found.items(), key=lambda item: (item[0][0], item[1]))
    return [f"| `{name}` | {', '.join(suites)} | {default} | {says} |" for (name, default, says), suites in rows]


def test_the_table_of_suites_options_is_what_the_suites_take() -> None:
    text = (ROOT / "docs" / "bring-your-data.md").read_text(encoding="utf-8")
    table = text.partition("| option | of | default | meaning |\n|---|---|---|---|\n")[2].partition("\n\n")[0]
    assert table.splitlines() == table_of_options()


def names_in(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_functions_and_tests_that_are_named_exist(page: Path) -> None:
    for path, name in re.findall(r"`((?:tests/|\w)[\w/]*\.py)::?(\w+)`", page.read_text(encoding="utf-8")):
        file = ROOT / path if path.startswith(("tests/", "docs/", "benchmarks/")) else ROOT / "src/clipdistill" / path
        assert file.is_file(), f"{page.name}: {path}"
        assert name in names_in(file), f"{page.name}: {path}:{name}"


def test_fidelity_names_a_function_and_a_test_in_every_row() -> None:
    text = (ROOT / "docs" / "fidelity.md").read_text(encoding="utf-8")
    table = text.partition("| source | code | test |")[2].partition("\n\n")[0]
    rows = [line for line in table.splitlines() if line.startswith("|") and not line.startswith("|---")]
    assert len(rows) >= 15
    for row in rows:
        assert re.search(r"`\w[\w/]*\.py:\w+`", row) and re.search(r"`tests/[\w/]+\.py::\w+`", row), row
