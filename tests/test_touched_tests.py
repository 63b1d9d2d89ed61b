"""scripts/touched_tests.py: which tests a change touches, on a small tree and in a real repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scripts.touched_tests import SMALL_SET, changes, git, touched

FILES = {
    "src/clipdistill/__init__.py": "from clipdistill.models import load_model\n",
    "src/clipdistill/models/__init__.py": "from clipdistill.models.loading import load_model\n",
    "src/clipdistill/models/loading.py": "",
    "src/clipdistill/models/building.py": "",
    "tests/models/conftest.py": "",
    "tests/models/tiny.py": "",
    "tests/models/test_loading.py": "from clipdistill.models import load_model\n",
    "tests/models/test_building.py": "def test():\n    import clipdistill.models.building\n",
    "tests/data/test_loader.py": "from clipdistill import data\nfrom tests.models import tiny\n",
    "tests/data/test_mixture.py": "from clipdistill.models import building\n",
    "tests/end_to_end/test_run.py": "from clipdistill.models import load_model\n",
    "tests/test_docs.py": "",
    "tests/test_floors.py": "",
    "tests/test_recipe.py": "",
}
LOADING, BUILDING = "tests/models/test_loading.py", "tests/models/test_building.py"
LOADER, MIXTURE, RUN = "tests/data/test_loader.py", "tests/data/test_mixture.py", "tests/end_to_end/test_run.py"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("changed", "tests"),
    [
        (["src/clipdistill/models/loading.py"], [LOADING]),  # through the package that passes the name on
        (["src/clipdistill/models/building.py"], [MIXTURE, BUILDING]),  # both ways of importing a module
        (["src/clipdistill/models/__init__.py"], [MIXTURE, LOADING]),
        (["src/clipdistill/data/__init__.py"], [LOADER]),  # deleted, or not there yet
        (["tests/models/tiny.py"], [LOADER]),
        (["tests/models/conftest.py"], [BUILDING, LOADING]),
        ([RUN, LOADING], [RUN, LOADING]),  # a run from end to end is touched by its own change alone
        (["docs/recipes.md"], ["tests/test_docs.py"]),
        (["README.md", "src/clipdistill/models/loading.py"], [LOADING, "tests/test_docs.py"]),
        (["Makefile"], list(SMALL_SET)),
        ([], list(SMALL_SET)),
    ],
)
def test_what_touches_what(tree: Path, changed: list[str], tests: list[str]) -> None:
    assert sorted(touched(tree, changed)) == sorted(tests)


def test_changes_are_what_is_not_committed_and_else_the_branch(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)  # a hook of git says there where its own repository is

    def run(*command: str) -> list[str]:
        return git(tree, "-c", "user.name=n", "-c", "user.email=e", *command)

    run("init", "-q", "-b", "main")
    run("add", ".")
    run("commit", "-qm", "one")
    assert changes(tree) == []
    run("checkout", "-qb", "work")
    (tree / "src/clipdistill/models/loading.py").write_text("A = 1\n", encoding="utf-8")
    run("commit", "-qam", "two")
    assert changes(tree) == ["src/clipdistill/models/loading.py"], "nothing new: what the branch did"
    (tree / "new.py").write_text("", encoding="utf-8")
    (tree / "tests/models/tiny.py").unlink()
    assert changes(tree) == ["tests/models/tiny.py", "new.py"]
    assert changes(tree, "main") == ["src/clipdistill/models/loading.py", "tests/models/tiny.py", "new.py"]
