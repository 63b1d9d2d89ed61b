"""Runs of a study as an array of Slurm's, through submitit: given away, and asked after by the same command.

Slurm starts a run again that was preempted or (up to three times) out of time, and it goes on from its checkpoint.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from clipdistill.errors import Interrupted, UserError
from clipdistill.runs.engines.slurm_queue import Queue
from clipdistill.runs.engines.worker import LOGS, Work
from clipdistill.runs.jobs import Job, Outcome, done, say_failed
from clipdistill.studies.resources import Resources
from clipdistill.waits import limit, too_long

FOLDER = "slurm"
"""In a study: submitit's files."""

SHARED = (
    "name",
    "timeout_min",
    "mem_gb",
    "nodes",
    "cpus_per_task",
    "gpus_per_node",
    "tasks_per_node",
    "stderr_to_stdout",
)
"""submitit's options of every cluster. It wants a prefix before Slurm's own, which nobody has to write here."""

POLL_SECONDS = 5.0


@dataclass(frozen=True)
class SlurmEngine:
    """Of `make_engine`.

    library: the module submitit. resources: as they were asked for. options: of the array; `cluster: local` tries it
    without Slurm, a process a run, all at once. wait: stay until all have ended.
    """

    library: Any
    resources: Mapping[str, Any]
    options: Mapping[str, Any]
    wait: bool = False
    NAME = "slurm"

    @property
    def cluster(self) -> str:
        """ "slurm" or "local"."""
        return str(self.options.get("cluster", "slurm"))

    def run(self, jobs: Sequence[Job], out: Path) -> Outcome:
        """Give away what isn't in the queue. What failed since the last command is named; the next one repeats it."""
        self._check()
        given = _Given(Queue(self.library, self.cluster, out / FOLDER), jobs, out)
        given.account()
        new = [job for job in jobs if job.folder not in given.numbers and job.folder not in given.outcome.failed]
        if new:
            for sent in self._submit(
                new, out
            ):  # noted array by array: one that is refused leaves those before it known
                given.add(sent)
            numbers = [given.numbers[job.folder] for job in new]
            said = f"job {numbers[0]}" if len(new) == 1 else f"jobs {numbers[0]} to {numbers[-1]}"
            print(f"study: {len(new)} runs are with Slurm, {said}; what each says is in {out / LOGS}", flush=True)
        if self.wait:
            _wait(given)
        elif hows := list(given.outcome.left.values()):
            counts = ", ".join(f"{hows.count(how)} {how}" for how in dict.fromkeys(hows))
            print(f"study: {counts}; the same command shows what is done by then, and with --wait waits for it")
        return given.outcome

    def _submit(self, jobs: Sequence[Job], out: Path) -> Iterator[dict[Path, str]]:
        """An array for each kind of run, by what it asks for: of each folder -> job's id.

        Raises:
            UserError: options that submitit doesn't know, or that Slurm refuses.
        """
        asked = [(job.resources.changed(self.resources), job) for job in jobs]
        for resources, group in groupby(sorted(asked, key=lambda pair: str(pair[0])), key=lambda pair: pair[0]):
            members = [job for _, job in group]
            try:
                executor = self.library.AutoExecutor(folder=out / FOLDER, cluster=self.cluster)
                executor.update_parameters(**_parameters(resources, self.options, out.absolute().name))
                sent = executor.map_array(Requeued(), [Work.of(job, out) for job in members])
            except (NameError, AssertionError, ValueError, TypeError) as error:
                raise UserError(f"study: --slurm: {str(error).splitlines()[0]}") from error
            except (subprocess.CalledProcessError, RuntimeError, OSError) as error:
                said = " ".join(str(error).split())
                raise UserError(f"study: --engine slurm: {len(members)} runs weren't taken: {said}") from error
            yield {job.folder: one.job_id for job, one in zip(members, sent, strict=True)}

    def _check(self) -> None:
        if self.cluster not in ("slurm", "local"):
            raise UserError(f"study: --slurm cluster={self.cluster}: there are slurm and local")
        if self.cluster == "slurm" and shutil.which("sbatch") is None:
            raise UserError(
                "study: --engine slurm: there is no sbatch here; give the command on a login node, or try it on this "
                "machine with --slurm cluster=local"
            )
        if not {"timeout_min", "time", "slurm_time"} & set(self.options):
            raise UserError("study: --engine slurm: say how long a run may take, such as --slurm timeout_min=240")
        for option in ("nodes", "tasks_per_node"):
            if self.options.get(option, 1) != 1:
                raise UserError(f"study: --slurm {option}={self.options[option]}: a run is one process; leave it away")


class Requeued:
    """What submitit calls in the job. Its `checkpoint` says that a job that is out of time can start again."""

    def __call__(self, work: Work) -> str | None:
        """Make the run."""
        try:
            return work()
        except Interrupted as stop:  # Slurm stops the job, perhaps to start it again: there is no result yet
            sys.exit(str(stop))

    def checkpoint(self, work: Work) -> Any:
        """What to start again; the run's checkpoints are there already."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, work)


class _Given:
    """What of a study's runs is with the queue: folder -> job's id, kept in the queue's file, and what became of it."""

    def __init__(self, queue: Queue, jobs: Sequence[Job], out: Path) -> None:
        self.queue, self.jobs, self.outcome = queue, jobs, Outcome()
        self._places = {job.folder: job.folder.relative_to(out).as_posix() for job in jobs}
        known = queue.read()
        self._others = {place: number for place, number in known.items() if place not in self._places.values()}
        self.numbers = {folder: known[place] for folder, place in self._places.items() if place in known}

    def add(self, numbers: Mapping[Path, str]) -> None:
        """Note jobs that were just submitted."""
        self.numbers.update(numbers)
        self.outcome.left.update(dict.fromkeys(numbers, "pending"))
        self._keep()

    def account(self) -> list[Job]:
        """Take out the jobs that have ended, which it returns; those that failed are named."""
        alive, ended = self.queue.alive(self.numbers.values()), []
        for job in self.jobs:
            if (number := self.numbers.get(job.folder)) is None:
                continue
            if number in alive:
                self.outcome.left[job.folder] = alive[number]
                continue
            del self.numbers[job.folder]
            self.outcome.left.pop(job.folder, None)
            if not done(job) and (why := self.queue.why(number)) is not None:
                say_failed(self.outcome, job, why)
            ended.append(job)
        if ended:
            self._keep()
        return ended

    def _keep(self) -> None:
        self.queue.write({**self._others, **{self._places[one]: number for one, number in self.numbers.items()}})


def _wait(given: _Given) -> None:
    count, ended_at = len(given.numbers), time.monotonic()
    try:
        while given.numbers:
            time.sleep(POLL_SECONDS)
            for job in given.account():
                ended_at = time.monotonic()
                if job.folder not in given.outcome.failed:
                    print(f"study: {count - len(given.numbers)} of {count}: {job.title}", flush=True)
            if time.monotonic() - ended_at > limit("STUDY"):
                raise Interrupted(
                    f"no run has ended for {too_long('STUDY')}; no longer waiting; {len(given.numbers)} runs stay with "
                    "Slurm"
                )
    except KeyboardInterrupt:
        raise Interrupted(f"no longer waiting; {len(given.numbers)} runs stay with Slurm") from None


def _parameters(asked: Resources, options: Mapping[str, Any], name: str) -> dict[str, Any]:
    """As submitit's AutoExecutor names them; what the user says stands above what a run asks for.

    Raises:
        UserError: a part of a GPU.
    """
    gpus = asked.gpus or 0
    if gpus != int(gpus):
        raise UserError(f"study: --resources gpus={gpus:g}: Slurm gives whole GPUs; say 0 or 1")
    found: dict[str, Any] = {"name": name, "cpus_per_task": asked.cpus}
    found |= {"gpus_per_node": int(gpus)} if gpus else {}
    found |= {} if asked.memory is None else {"mem_gb": asked.memory}
    said = {key: value for key, value in options.items() if key != "cluster"}
    return found | {key if key in SHARED or key.startswith("slurm_") else f"slurm_{key}": v for key, v in said.items()}
