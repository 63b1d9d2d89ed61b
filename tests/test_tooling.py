"""The tools around the code: interpreters are found, lower bounds are those tried, hooks and templates can be read."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"


def executable(file: Path, script: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    file.chmod(0o755)
    return file


def find_python(tmp_path: Path, *wanted: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `.ci/find-python` where the PATH has nothing but a folder of shims, and pyenv's root is under `tmp_path`."""
    setting = {"PATH": str(tmp_path / "shims"), "PYENV_ROOT": str(tmp_path / "pyenv"), **environment}
    return subprocess.run(
        ["/bin/sh", str(ROOT / ".ci" / "find-python"), *wanted], env=setting, capture_output=True, text=True
    )


@pytest.fixture
def refusing(tmp_path: Path) -> None:
    for name in ("python3.12", "python3.11", "python3"):
        executable(tmp_path / "shims" / name, "echo 'pyenv: not installed' >&2; exit 127")


@pytest.mark.usefixtures("refusing")
def test_a_python_behind_a_shim_that_refuses_is_found(tmp_path: Path) -> None:
    assert find_python(tmp_path, VERSION).returncode == 1
    versions = tmp_path / "pyenv" / "versions"
    executable(versions / "2.7.18" / "bin" / f"python{VERSION}", "exit 1")
    real = executable(versions / "9.9.9" / "bin" / f"python{VERSION}", f'exec "{sys.executable}" "$@"')
    for wanted in ((VERSION,), ()):
        assert find_python(tmp_path, *wanted).stdout.strip() == str(real)
    asked = executable(tmp_path / "shims" / "pyenv", f'echo "{tmp_path / "pyenv"}"')
    assert find_python(tmp_path, VERSION, PYENV_ROOT="").stdout.strip() == str(real), asked


def test_what_the_path_gives_goes_before_what_pyenv_has(tmp_path: Path) -> None:
    first = executable(tmp_path / "shims" / "python3", f'exec "{sys.executable}" "$@"')
    executable(tmp_path / "pyenv/versions/9.9.9/bin" / f"python{VERSION}", f'exec "{sys.executable}" "$@"')
    assert find_python(tmp_path).stdout.strip() == str(first)


@pytest.mark.usefixtures("refusing")
def test_another_version_is_never_taken_for_the_one_that_was_asked_for(tmp_path: Path) -> None:
    executable(tmp_path / "pyenv/versions/9.9.9/bin/python3.10", f'exec "{sys.executable}" "$@"')
    executable(tmp_path / "shims" / "python3", f'exec "{sys.executable}" "$@"')
    found = find_python(tmp_path, "3.10")
    assert found.returncode == 1 and "no Python 3.10 with venv" in found.stderr and found.stdout == ""
    found = find_python(tmp_path, "3.10", PYTHON=sys.executable)
    assert found.returncode == 1 and "isn't a Python 3.10" in found.stderr


@pytest.mark.parametrize(("status", "last"), [(0, "ci: passed: {}; failed: none"), (2, "ci: passed: none; failed: {}")])
def test_ci_says_what_it_ran_and_what_not(tmp_path: Path, status: int, last: str) -> None:
    shutil.copytree(ROOT / ".ci", tmp_path / ".ci")
    make = executable(tmp_path / "bin" / "make", f'echo "make $*"; exit {status}')
    setting = {**os.environ, "PATH": f"{make.parent}:{os.environ['PATH']}", "PYTHON": sys.executable}
    done = subprocess.run(["bash", tmp_path / ".ci" / "run"], env=setting, capture_output=True, text=True)
    full = platform.python_version()
    other = {"3.11": "3.12", "3.12": "3.11"}[VERSION]
    assert sorted(done.stdout.splitlines()) == sorted([
        f"ci: Python {full}: make test", f"make test PYTHON={sys.executable} VENV=.venv-{VERSION}",
        f"ci: no Python {other} here: not tried", last.format(full),
    ])  # fmt: skip
    assert bool(done.returncode) == bool(status)


def normal(name: str, version: str) -> tuple[str, str]:
    """A package's name and version with one spelling each: `open_clip_torch`, `2.0.0` -> `open-clip-torch`, `2`."""
    return re.sub(r"[-_.]+", "-", name).lower(), re.sub(r"(\.0)+$", "", version)


def test_lower_bounds_are_the_versions_that_are_tried() -> None:
    """`make lowest` installs constraints-lowest.txt; a bound that it doesn't try is a promise that nobody checked."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    extras = project["project"]["optional-dependencies"]
    wanted += [
        *extras["regions"],
        *extras["cluster"],
        *(one for one in extras["dev"] if re.match("pytest|tensorboard|hypothesis", one)),
    ]
    bounds = [normal(*one.partition(",")[0].split(">=")) for one in wanted]
    lines = (ROOT / "constraints-lowest.txt").read_text(encoding="utf-8").splitlines()
    tried = [normal(*line.split("==")) for line in lines if line and not line.startswith("#")]
    assert sorted(tried) == sorted(bounds)


def test_hooks_run_what_the_project_installs() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert [one["repo"] for one in hooks] == ["local"], "no hook comes from elsewhere"
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for hook in hooks[0]["hooks"]:
        program, *rest = hook["entry"].split()
        assert program.startswith(".venv/bin/") or (program == "make" and rest[-1] in targets), hook


@pytest.mark.parametrize("name", ["bug", "method"])
def test_issue_templates_ask_for_something(name: str) -> None:
    form = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / f"{name}.yml").read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= set(form)
    assert any(item.get("validations", {}).get("required") for item in form["body"])
    identifiers = [item["id"] for item in form["body"]]
    assert len(set(identifiers)) == len(identifiers)


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    assert all(one["title"] and one["authors"] for one in (citation, *citation["references"]))


def test_types_are_announced() -> None:
    """PEP 561: without the marker in the wheel, a type checker takes the package for an untyped one."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "py.typed" in project["tool"]["setuptools"]["package-data"]["clipdistill"]
    assert os.path.getsize(ROOT / "src" / "clipdistill" / "py.typed") == 0


def test_test_files_have_names_of_their_own() -> None:
    """pytest imports them by their names alone: two of one name can't both be collected."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))
