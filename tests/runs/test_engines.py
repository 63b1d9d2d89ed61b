"""What engines share: options said in one line, what a run asks for, workers that meet at one folder, and the seam."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from clipdistill.engine.distributed import Ranks
from clipdistill.errors import UserError
from clipdistill.export import save_student
from clipdistill.models import create_model
from clipdistill.petri import write_world
from clipdistill.recipe_files import load_recipe
from clipdistill.runs import engines, jobs
from clipdistill.runs.data import ensure_petri_world
from clipdistill.runs.engines import make_engine
from clipdistill.runs.engines.slurm_engine import _parameters
from clipdistill.runs.engines.slurm_queue import Queue
from clipdistill.runs.engines.worker import Work
from clipdistill.runs.jobs import Job, Outcome, run_jobs
from clipdistill.runs.study import study
from clipdistill.studies.resources import Resources

TINY = [
    "petri.images=48", "petri.val=8", "petri.test=12", "petri.zero_shot=1", "train.batch_size=16", "train.epochs=1",
    "train.warmup_steps=1",
    "student=petri-tiny-student", "compare=[]", "evaluate=[]", "data.workers=0",
]  # fmt: skip


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A run of three steps in a world of 48 pictures."""
    save_student(create_model("petri-tiny-student", seed=5), tmp_path / "teacher")
    world = tmp_path / "world"
    places = [f"petri.path={world}", f"data.train.0.path={world / 'dataset_petri.json'}"]
    teacher = f"teachers=[{{model: {tmp_path / 'teacher'}, store: {tmp_path / 'store'}}}]"
    recipe = load_recipe("petri/quickstart", [*TINY, *places, teacher])
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / ".lock").touch()
    return Job("tiny, seed 0", recipe, tmp_path / "study" / "tiny" / "seed-0")


@pytest.mark.parametrize(
    ("named", "options", "words"),
    [
        ("rae", {}, "Did you mean 'ray'?"),
        ("slurm", {"workers": 2}, "--workers is of --engine ray"),
        ("ray", {"slurm": {"time": 1}}, "--slurm is of --engine slurm"),
        ("ray", {"resources": {"cpu": 1}}, "--resources: unknown key `cpu`. Did you mean 'cpus'?"),
        ("ray", {"resources": {"gpus": 2}}, "`gpus`"),
    ],
)
def test_wrong_options_are_one_line(named: str, options: dict[str, object], words: str) -> None:
    with pytest.raises(UserError) as said:
        make_engine(named, **options)  # type: ignore[arg-type]
    assert words in str(said.value) and "\n" not in str(said.value)


@pytest.mark.parametrize(("named", "package"), [("ray", "ray"), ("slurm", "submitit")])
def test_a_package_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, named: str, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"--engine {named} needs {package}.*pip install 'clipdistill\[cluster\]'"):
        make_engine(named)


def test_what_a_run_asks_for_is_what_submitit_is_told() -> None:
    asked = Resources(cpus=4).changed({"gpus": 1, "memory": 16})
    said = {"timeout_min": 60, "partition": "gpu", "slurm_account": "me", "cluster": "local", "cpus_per_task": 8}
    assert _parameters(asked, said, "study") == {
        "name": "study", "cpus_per_task": 8, "gpus_per_node": 1, "mem_gb": 16.0, "timeout_min": 60,
        "slurm_partition": "gpu", "slurm_account": "me",
    }  # fmt: skip
    assert _parameters(Resources(), {}, "x") == {"name": "x", "cpus_per_task": 1}
    with pytest.raises(UserError, match="whole GPUs"):
        _parameters(asked.changed({"gpus": 0.5}), {}, "x")


def test_squeue_says_what_is_alive_and_its_silence_is_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = pytest.importorskip("submitit", reason="the extra [cluster] isn't installed")
    squeue = tmp_path / "bin" / "squeue"
    squeue.parent.mkdir()
    squeue.write_text("#!/bin/sh\nprintf '12_0 RUNNING\\n12_1 PENDING\\n9 COMPLETING\\n'\n")
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", f"{squeue.parent}:{os.environ['PATH']}")
    queue = Queue(library, "slurm", tmp_path)
    assert queue.alive(["12_0", "12_1", "12_2"]) == {"12_0": "running", "12_1": "pending"}
    (tmp_path / "12_0_0_result.pkl").write_bytes(pickle.dumps(("success", None)))
    (tmp_path / "12_3_0_result.pkl").write_bytes(pickle.dumps(("error", "Traceback\nValueError: no\n")))
    assert queue.alive(["12_0"]) == {} and queue.why("12_0") is None
    assert queue.why("12_3") == "job 12_3: ValueError: no" and "without a word" in str(queue.why("12_2"))
    squeue.write_text("#!/bin/sh\necho 'Unable to contact slurm controller' >&2; exit 1\n")
    with pytest.raises(UserError, match="squeue failed: Unable to contact slurm controller"):
        queue.alive(["12_0"])


def start(work: Work, tmp_path: Path) -> subprocess.Popen[str]:
    (tmp_path / "work").write_bytes(pickle.dumps(work))
    code = f"import pickle; print(pickle.load(open({str(tmp_path / 'work')!r}, 'rb'))())"
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def test_a_worker_waits_for_the_one_that_has_the_folder_and_finds_the_run_done(job: Job, tmp_path: Path) -> None:
    work = Work.of(job, tmp_path / "study")
    with jobs.RunFolder(job.folder).held():
        second = start(work, tmp_path)
        while "waiting for it" not in (work.log.read_text() if work.log.exists() else ""):
            assert second.poll() is None
    # Free now, so the second makes it; a third has nothing left to do.
    assert second.communicate()[0].strip() == "None"
    made = (job.folder / "student" / "open_clip_model.safetensors").stat().st_mtime_ns
    assert work() is None
    assert (job.folder / "student" / "open_clip_model.safetensors").stat().st_mtime_ns == made
    assert work.log.read_text().count("study: tiny, seed 0: on ") == 2


def test_what_goes_wrong_in_a_worker_is_a_line_and_a_bug_keeps_its_traceback_in_the_log(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Work.of(job, tmp_path / "study")

    def broken(*_: object) -> None:
        raise ZeroDivisionError("a\nbug")

    monkeypatch.setattr("clipdistill.runs.engines.worker.run_job", broken)
    assert work() == f"ZeroDivisionError: a bug (see {work.log})"
    assert "Traceback" in work.log.read_text()
    (tmp_path / "study" / ".lock").unlink()
    assert "workers need the study's folder, on a shared disk" in str(work())


class Inline:
    """An engine that fails the first, leaves the second in its queue and makes the rest, here."""

    NAME = "inline"

    def run(self, given: Sequence[Job], out: Path) -> Outcome:
        outcome = Outcome({given[0].folder: "no"}, {given[1].folder: "pending"})
        for job in given[2:]:
            assert Work.of(job, out)() is None
        return outcome


def test_a_study_of_recipes_goes_through_an_engine(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(job.recipe.to_yaml())
    with pytest.raises(UserError, match="1 of 3 runs failed; the first: .*seed 0: no"):
        study([str(recipe)], "out", engine=Inline())
    (made,) = Path("out").glob("**/student")
    assert made.parent.name == "seed-2" and Path("out/report.html").is_file()


def test_an_engine_beside_torchrun_is_refused(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two = Ranks(0, 2, Ranks.current().device)
    monkeypatch.setattr(jobs.Ranks, "current", classmethod(lambda cls: two))
    with pytest.raises(UserError, match="--engine inline starts processes of its own; leave torchrun"):
        run_jobs([job], tmp_path, Inline())


WRITES = """
import pickle, sys
from clipdistill.runs.data import ensure_petri_world
ensure_petri_world(pickle.load(sys.stdin.buffer))
"""


def test_a_world_is_waited_for_and_not_written_twice(job: Job, tmp_path: Path) -> None:
    spec = job.recipe.petri
    assert spec is not None
    lock = engines_lock(tmp_path / ".world.lock")
    process = subprocess.Popen([sys.executable, "-c", WRITES], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(pickle.dumps(job.recipe))
        process.stdin.close()
        assert b"another process is writing this petri world; waiting for it" in process.stdout.readline()
        write_world(spec.path, images=48, val=8, test=12, seed=spec.seed, image_size=spec.image_size, zero_shot=1)
        before = (spec.path / "world.json").stat().st_mtime_ns
        lock.release()
        assert process.wait() == 0
    assert (spec.path / "world.json").stat().st_mtime_ns == before
    ensure_petri_world(job.recipe)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def engines_lock(path: Path):
    from clipdistill.locks import hold

    return hold(path, "", wait=False)


def test_every_engine_has_its_package_in_the_extra() -> None:
    import tomllib

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    extra = {one.split(">")[0] for one in project["optional-dependencies"]["cluster"]}
    assert extra == set(engines.ENGINES.values())
