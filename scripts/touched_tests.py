"""Print the tests that the changes of a working tree touch, for `make check`.

    python scripts/touched_tests.py [BASE]

Changed is what differs from BASE, committed or not, and what is new. Without BASE it is what isn't committed yet, or
else what was since this branch left `main`. A changed module touches the test files that import it: by its name, or
through a package that only passes its names on. A changed helper of tests touches the files that import it, a
`conftest.py` its folder's, a page the documentation's tests. Runs from end to end take minutes: they are touched by
a change of their own alone. Where nothing is touched, a small set is printed.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

SMALL_SET = ("tests/test_floors.py", "tests/test_recipe.py")
SLOW = "tests/end_to_end/"
PAGES = (".md", ".cff")


def module_of(path: str) -> str:
    """`src/clipdistill/a/b.py` -> `clipdistill.a.b`, a package's `__init__.py` -> the package."""
    return path.removeprefix("src/").removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def imports_of(file: Path) -> Iterator[tuple[str, str]]:
    """Yield what a file imports as (module, name), wherever in it; `import a.b` is ("a.b", "")."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield from ((node.module, alias.name) for alias in node.names)


def modules_imported(root: Path, file: Path) -> set[str]:
    """Return the modules that a file imports: `from a import b` is a, a.b, and the module that package a has b from."""
    found = set()
    for module, name in imports_of(file):
        found |= {module, f"{module}.{name}"}
        package = root / "src" / module.replace(".", "/") / "__init__.py"
        if name and package.is_file():
            found |= {home for home, passed_on in imports_of(package) if passed_on == name}
    return found


def touched(root: Path, changed: Iterable[str]) -> list[str]:
    """Return the test files, relative to `root`, that these changed paths touch; see above."""
    paths = set(changed)
    tests = {str(path.relative_to(root)): path for path in sorted((root / "tests").rglob("test_*.py"))}
    modules = {module_of(path) for path in paths if path.endswith(".py")}
    folders = tuple(path.removesuffix("conftest.py") for path in paths if path.endswith("/conftest.py"))
    found = [
        name
        for name, file in tests.items()
        if name in paths
        or (not name.startswith(SLOW) and (name.startswith(folders) or modules & modules_imported(root, file)))
    ]
    pages = "tests/test_docs.py"
    if pages in tests and pages not in found and any(path.endswith(PAGES) for path in paths):
        found.append(pages)
    return found or [name for name in SMALL_SET if name in tests]


def changes(root: Path, base: str | None = None) -> list[str]:
    """Return the changed paths, deleted ones among them; see above."""
    found = git(root, "diff", "--name-only", base or "HEAD") + git(root, "ls-files", "--others", "--exclude-standard")
    left = git(root, "merge-base", "HEAD", "main", check=False) if base is None and not found else []
    return git(root, "diff", "--name-only", left[0]) if left else found


def git(root: Path, *command: str, check: bool = True) -> list[str]:
    """Run git and return the lines that it prints."""
    done = subprocess.run(["git", "-C", root, *command], check=check, capture_output=True, text=True)
    return done.stdout.splitlines()


if __name__ == "__main__":
    here = Path(__file__).parent.parent
    print("\n".join(touched(here, changes(here, sys.argv[1] if len(sys.argv) > 1 else None))))
