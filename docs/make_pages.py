"""Write what in the pages follows from the code: `make pages`, or `python docs/make_pages.py`.

A page marks a block with `<!-- generated: NAME -->` and `<!-- end -->`; what stands between them is what `BLOCKS[NAME]`
gives, or `shown` for `file PATH`. tests/test_generated_pages.py holds the pages to being today's. A method is described
by its Task: the docstring's first line, its line `Source:` (papers) and its line `Status:` (what was measured).
"""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from clipdistill import objectives
from clipdistill.evaluate.suites import SUITES
from clipdistill.kinds import KINDS
from clipdistill.recipe import Recipe
from clipdistill.recipe_files import load_recipe, recipe_names
from clipdistill.runs import stages
from clipdistill.runs.stages import Stage
from clipdistill.tasks import TASKS, Task

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "clipdistill"
PAGES = ("README.md", "docs/architecture.md", "docs/fidelity.md", "docs/add-a-method.md", "docs/reliability.md")
BLOCK = re.compile(r"(?<=<!-- generated: )([^\n]+?)( -->\n).*?(?=<!-- end -->)", re.DOTALL)
NEW_FILES = ("objectives/rkd.py", "tasks/rkd.py", "recipes/petri/rkd.yaml", "tests/tasks/test_rkd_task.py")
"""What adding a method took, in docs/add-a-method.md."""


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    lines = [list(head), ["---"] * len(list(head)), *map(list, rows)]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def first_line(thing: Any) -> str:
    """The first line of a docstring, without its full stop."""
    return (inspect.getdoc(thing) or "").partition("\n")[0].rstrip(".")


def said(thing: Any, word: str) -> str:
    """What a docstring says behind `Source:` or another word, up to an empty line or the next such word."""
    found = re.search(
        rf"^{word}: (.+?)(?=\n\s*\n|\n[A-Z]\w+: |\Z)", inspect.getdoc(thing) or "", re.DOTALL | re.MULTILINE
    )
    return " ".join(found[1].split()) if found else ""


def file_of(thing: Any) -> str:
    """`tasks/rkd.py:RKD`."""
    module = thing.__module__.removeprefix("clipdistill.").replace(".", "/")
    return f"`{module}.py:{thing.__name__}`"


def code(names: Iterable[str]) -> str:
    """Each as code, with commas."""
    return ", ".join(f"`{name}`" for name in names)


def methods() -> str:
    """README's table of methods."""
    found = [load_recipe(name) for name in recipe_names()]
    head = ("method", "does", "from", "terms x default weight", "learns from", "recipes", "notes")
    rows = []
    for name, task in TASKS.items():
        terms = ", ".join(f"`{term}` {weight:g}" for term, weight in task.TERMS.items())
        status = said(task, "Status")
        rows.append(
            (f"`{name}`", first_line(task), said(task, "Source"), terms, teachers(task), recipes(name, found), status)
        )
    return table(head, rows)


def teachers(task: type[Task]) -> str:
    """Whom a method learns from, in a few words."""
    least, most = task.TEACHERS
    if most == 0:
        return "no teacher"
    if task.OWN_TEACHER:
        return "the model it starts from"
    kind = task.TEACHER_KIND.replace("_", " ")
    if most is None:
        return f"{kind}s, {least} or more"
    return f"{least if least == most else f'{least} to {most}'} {kind}{'s' if most > 1 else ''}"


def recipes(method: str, found: Iterable[Recipe], few: int = 3) -> str:
    """The recipes of a method; where a folder has many, the folder and how many."""
    folders: dict[str, list[str]] = {}
    for recipe in found:
        parts = [
            recipe.task,
            *(stage.task for stage in recipe.stages),
            *(one.meta.task for one in recipe.teachers if one.meta),
        ]
        if method in {part.method for part in parts if part}:
            folders.setdefault(recipe.name.rpartition("/")[0], []).append(recipe.name)
    cells = (code(names) if len(names) <= few else f"`{folder}/` ({len(names)})" for folder, names in folders.items())
    return ", ".join(cells)


def tasks_table() -> str:
    """architecture.md's table of tasks: all that the engine and `runs/` know of a method."""
    rows = []
    for name, task in TASKS.items():
        gives = task.FEATURES if KINDS[task.TEACHER_KIND].storable else "itself"
        gives = "" if task.TEACHERS[1] == 0 else gives
        rows.append((f"`{name}`", file_of(task), task.KIND, teachers(task), gives, code(task.Options.model_fields)))
    return table(("`task.method`", "class", "starts from a", "learns from", "which gives", "options"), rows)


def kinds_table() -> str:
    """architecture.md's table of kinds of models."""
    rows = []
    for name, kind in KINDS.items():
        suites = code(suite.NAME for suite in SUITES.values() if name in suite.KINDS)
        stored = "yes" if kind.storable else "no"
        rows.append((f"`{name}`", file_of(type(kind)), first_line(type(kind)), code(kind.layouts), stored, suites))
    return table(("kind", "class", "is", "exported as", "targets can be stored", "suites"), rows)


def suites_table() -> str:
    """architecture.md's table of suites."""
    rows = ((f"`{n}`", file_of(type(s)), first_line(type(s)), code(s.KINDS)) for n, s in sorted(SUITES.items()))
    return table(("suite", "class", "measures", "kinds of models"), rows)


def stages_table() -> str:
    """architecture.md's table of stages."""
    made = [each for name in stages.__all__ if (each := getattr(stages, name)) is not Stage and issubclass(each, Stage)]
    rows = ((file_of(each), first_line(each), "the first" if each.MAIN_ONLY else "all") for each in made)
    return table(("stage", "does", "processes"), rows)


def objectives_table() -> str:
    """fidelity.md's table of every public function in objectives/."""
    tests = {str(file.relative_to(ROOT)): imports(file) for file in sorted((ROOT / "tests").rglob("test_*.py"))}
    users = {
        f"clipdistill.{part}.{file.stem}": imports(file)
        for part in ("objectives", "tasks")
        for file in (SOURCE / part).glob("*.py")
    }
    rows = []
    for name in sorted(module.name for module in iter_modules(objectives.__path__)):
        if name == "rows":  # what objectives share
            continue
        module = import_module(f"clipdistill.objectives.{name}")
        for function, each in vars(module).items():
            if inspect.isfunction(each) and each.__module__ == module.__name__ and not function.startswith("_"):
                own = (module.__name__, function)
                # A test of a task or objective that uses it is one too, where no test imports the function itself.
                further = {user for user, seen in users.items() if own in seen}
                found = [
                    test for test, seen in tests.items() if own in seen or ("clipdistill.objectives", function) in seen
                ]
                found = found or [test for test, seen in tests.items() if further & {source for source, _ in seen}]
                rows.append((file_of(each), first_line(each), first_line(module), code(found)))
    return table(("objective", "is", "from", "tests"), rows)


def imports(file: Path) -> set[tuple[str, str]]:
    """(module, name) that a file imports from it; an attribute of `objectives` counts."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            found |= {(str(node.module), alias.name) for alias in node.names}
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "objectives":
            found.add(("clipdistill.objectives", node.attr))
    return found


def new_files() -> str:
    """add-a-method.md's table of the files that a method took, blank lines and docstrings included."""
    lengths = [(place(path), len((ROOT / place(path)).read_text(encoding="utf-8").splitlines())) for path in NEW_FILES]
    rows = [(f"`{path}`", str(length)) for path, length in lengths]
    return table(("new file", "lines"), [*rows, ("together", str(sum(length for _, length in lengths)))])


def place(path: str) -> str:
    """A path below the package, as one below the project."""
    return path if path.startswith("tests/") else f"src/clipdistill/{path}"


def shown(path: str) -> str:
    """A file word for word."""
    language = {".py": "python", ".yaml": "yaml"}[Path(path).suffix]
    return f"```{language}\n{(ROOT / place(path)).read_text(encoding='utf-8')}```\n"


def campaign() -> str:
    """reliability.md's figures, as the campaign wrote them down; failures are named below the tables."""
    figures = json.loads((ROOT / "docs" / "reliability.json").read_text(encoding="utf-8"))
    made = counted("run", figures.get("runs", {}), ("events", "kills", "torn", "faults", "short", "ended"))
    made += "\n" + counted("reader", figures.get("readers", {}), ("cases", "read", "refused"))
    for found in figures.get("epochs", {}).values():
        rows = [[name, f"{found['first'][name]:,.0f}", f"{found['last'][name]:,.0f}"] for name in found["first"]]
        made += "\n" + table((f"of {found['epochs']} epochs", "after a tenth", "at the end"), rows)
    wrong = [each for group in figures.values() for found in group.values() for each in found["failed"]]
    return made + "".join(f"- failed: {each}\n" for each in wrong)


def counted(title: str, found: dict[str, Any], counts: Iterable[str]) -> str:
    """A table of counts with their sums."""
    rows = [[name, *(each[key] for key in counts), len(each["failed"])] for name, each in found.items()]
    rows.append(["**all**", *(sum(column) for column in list(zip(*rows, strict=True))[1:])])
    return table(
        (title, *counts, "failures"), [[f"{one:,}" if isinstance(one, int) else one for one in row] for row in rows]
    )


BLOCKS: dict[str, Callable[[], str]] = {
    "methods": methods,
    "tasks": tasks_table,
    "kinds": kinds_table,
    "suites": suites_table,
    "stages": stages_table,
    "objectives": objectives_table,
    "new files": new_files,
    "campaign": campaign,
}


def rewritten(text: str) -> str:
    """A page with each of its blocks as it is today."""

    def made(found: re.Match[str]) -> str:
        name = found[1]
        return name + found[2] + (shown(name.removeprefix("file ")) if name.startswith("file ") else BLOCKS[name]())

    return BLOCK.sub(made, text)


if __name__ == "__main__":
    for page in PAGES:
        path = ROOT / page
        text = path.read_text(encoding="utf-8")
        if (fresh := rewritten(text)) != text:
            path.write_text(fresh, encoding="utf-8")
            print(path)
