"""Nothing in the package runs what a file holds: a model, a table, a recipe that came from anywhere."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "src" / "clipdistill"
MAY = {
    "data/sources/cifar.py": ("pickle.UnpicklingError",),  # of its own Unpickler, which knows no class
    "rehearsal/pair_files.py": ("pickle.dumps",),  # writes CIFAR's files, as its authors did
    "runs/engines/slurm_queue.py": ("subprocess.run", "pickle.loads"),  # squeue; what submitit wrote of a job
}
WITH = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False)}
"""Calls that are safe with an argument, which they must have."""
NEVER = ("pickle", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "eval", "exec", "os.system", "os.popen",
         "subprocess", "dill", "joblib.load", "marshal", "runpy")  # fmt: skip
"""Names of calls, or what they begin with."""


def _name(node: ast.expr) -> str:
    return ast.unparse(node) if isinstance(node, ast.Attribute | ast.Name) else ""


def _unsafe(file: str, tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in ("pickle", "subprocess", "marshal"):
            yield f"{file}:{node.lineno}: from {node.module} import"
        if not isinstance(node, ast.Call):
            continue
        name, given = _name(node.func), {one.arg: one.value for one in node.keywords}
        if name in WITH:
            word, value = WITH[name]
            if getattr(given.get(word), "value", None) is not value:
                yield f"{file}:{node.lineno}: {name} without {word}={value}"
        elif name in MAY.get(file, ()):
            continue
        elif any(name == one or name.startswith(f"{one}.") for one in NEVER):
            yield f"{file}:{node.lineno}: {name}"
        trust = given.get("trust_remote_code")
        if trust is not None and getattr(trust, "value", None) is not False:
            yield f"{file}:{node.lineno}: trust_remote_code"


def test_no_file_is_run() -> None:
    found: list[str] = []
    for path in sorted(SOURCE.rglob("*.py")):
        file = path.relative_to(SOURCE).as_posix()
        found += _unsafe(file, ast.parse(path.read_text(encoding="utf-8")))
    assert found == []


def test_what_is_looked_for_is_seen() -> None:
    code = """
torch.load(a)
torch.load(a, weights_only=False)
np.load(a, allow_pickle=yes)
pickle.loads(a)
yaml.load(a)
eval(a)
subprocess.run(a)
Auto.from_pretrained(a, trust_remote_code=True)
from pickle import loads
torch.load(a, weights_only=True)
np.load(a, mmap_mode="r", allow_pickle=False)
model.eval()
yaml.safe_load(a)
Auto.from_pretrained(a, trust_remote_code=False)
"""
    assert {int(line.split(":")[1]) for line in _unsafe("x.py", ast.parse(code))} == set(range(2, 11))
