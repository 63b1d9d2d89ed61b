"""Runs of a study on a Ray cluster, started here or joined: a task a run, which Ray gives to whoever has room for it.

A worker that dies takes nothing with it but the steps since its run's last checkpoint: Ray gives the task to another.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipdistill.errors import Interrupted, UserError
from clipdistill.runs.engines.worker import LOGS, Work
from clipdistill.runs.jobs import Job, Outcome, say_failed
from clipdistill.studies.resources import Resources
from clipdistill.waits import limit, too_long

RETRIES = 3
"""How often Ray gives a run to another worker, when one has died with it or was stopped."""

GRACE_SECONDS = 120.0
"""After Ctrl-C, how long runs may take for the step that they are at and its checkpoint."""

_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",  # not 15: the workers are the work, and beside anything else they would hardly start
    "RAY_agent_register_timeout_ms": "300000",  # else Ray gives itself up on a busy machine
    "RAY_enable_metrics_collection": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # who asks for no GPU sees none
}
"""Of a Ray that is started here, unless the environment says otherwise."""

_OBJECTS = 100 << 20  # bytes of Ray's object store: a job is a recipe, and its answer a line


@dataclass(frozen=True)
class RayEngine:
    """Of `make_engine`.

    library: the module ray. resources, workers, address: as they were asked for.
    """

    library: Any
    resources: Mapping[str, Any]
    workers: int | None = None
    address: str | None = None
    NAME = "ray"

    def run(self, jobs: Sequence[Job], out: Path) -> Outcome:
        """Send all; collect them as they end."""
        asked = [job.resources.changed(self.resources) for job in jobs]
        with self._cluster(max(one.cpus for one in asked)) as ray:
            options = [_task_options(ray, one, self.address is None) for one in asked]
            task = ray.remote(max_retries=RETRIES, retry_exceptions=[Interrupted])(_run)
            waiting = {
                task.options(**each, name=job.title).remote(Work.of(job, out)): job
                for job, each in zip(jobs, options, strict=True)
            }
            print(f"study: {len(jobs)} runs are with Ray; what each says is in {out / LOGS}", flush=True)
            try:
                with _sigterm_as_ctrl_c():
                    return _collect(ray, waiting)
            except (KeyboardInterrupt, TimeoutError) as stop:
                _stop(ray, waiting)
                why = str(stop) or "stopped"
                raise Interrupted(f"{why}; {len(waiting)} of {len(jobs)} runs aren't done") from None

    @contextmanager
    def _cluster(self, cpus: int) -> Iterator[Any]:
        """The module, connected; it is left as it was found."""
        ray = self.library
        if ray.is_initialized():
            yield ray
            return
        given: dict[str, Any] = {"address": self.address}
        if self.address is None:
            for name, value in _SETTINGS.items():
                os.environ.setdefault(name, value)
            # Of this machine alone: no dashboard, and nothing listens but on the loopback address.
            given = {"address": "local", "include_dashboard": False, "object_store_memory": _OBJECTS}
            given |= {
                "_node_ip_address": "127.0.0.1",
                "num_cpus": None if self.workers is None else self.workers * cpus,
            }
        try:
            ray.init(**given, log_to_driver=False, logging_level="error")
        except Exception as error:  # it raises just that when one of its processes is missing
            where = "can't be started here" if self.address is None else f"{self.address} can't be joined"
            raise UserError(f"study: --engine ray: Ray {where}: {_line(error)}") from error
        try:
            yield ray
        finally:
            ray.shutdown()


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """Let both signals stop a study in one way; Ray's own answer to SIGTERM is a stack trace."""
    try:
        saved = signal.signal(signal.SIGTERM, signal.default_int_handler)
    except ValueError:  # not the main thread: the caller's business
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, saved)


def _run(work: Work) -> str | None:
    return work()


def _task_options(ray: Any, asked: Resources, own: bool) -> dict[str, Any]:
    """What a task asks, as Ray names it.

    Raises:
        UserError: no node of a cluster of our own will ever have it. One that was joined may grow: then it is printed.
    """
    gpus = asked.gpus
    if gpus is None:
        gpus = float(ray.cluster_resources().get("GPU", 0) >= 1)
    wanted = {"CPU": asked.cpus, "GPU": gpus, "memory": (asked.memory or 0) * 1e9}
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(all(node.get(name, 0) >= amount for name, amount in wanted.items()) for node in nodes):
        has = "; ".join(_said(node) for node in nodes)
        message = f"study: a run asks for {_said(wanted)}, and no node has that (there is {has})"
        if own:
            raise UserError(f"{message}; ask for less with --resources")
        print(f"{message}; Ray waits for one that has", file=sys.stderr)
    options = {"num_cpus": asked.cpus, "num_gpus": gpus}
    return options if asked.memory is None else {**options, "memory": int(wanted["memory"])}


def _said(resources: Mapping[str, float]) -> str:
    cpus, gpus, memory = (resources.get(name, 0) for name in ("CPU", "GPU", "memory"))
    return f"{cpus:g} CPUs, {gpus:g} GPUs, {memory / 1e9:.1f} GB"


def _collect(ray: Any, waiting: dict[Any, Job]) -> Outcome:
    """Wait for all of them; those that have ended leave `waiting`. TimeoutError when none ends for too long."""
    outcome, count = Outcome(), len(waiting)
    while waiting:
        found = ray.wait(list(waiting), num_returns=1, timeout=limit("STUDY"))[0]
        if not found:
            raise TimeoutError(f"no run has ended for {too_long('STUDY')}; see {LOGS} of the study's folder")
        for ended in found:
            job = waiting[ended]
            why = _ended(ray, ended)
            del waiting[ended]
            if why is None:
                print(f"study: {count - len(waiting)} of {count}: {job.title}", flush=True)
            else:
                say_failed(outcome, job, why)
    return outcome


def _ended(ray: Any, ended: Any) -> str | None:
    """Why a task failed."""
    try:
        return ray.get(ended)  # type: ignore[no-any-return]
    except ray.exceptions.RayError as error:
        return f"it was given up after {RETRIES + 1} workers: {_line(error)}"


def _stop(ray: Any, waiting: dict[Any, Job]) -> None:
    """Let runs that are at work write a checkpoint; the others never start."""
    print(f"study: stopping {len(waiting)} runs; each writes a checkpoint first", file=sys.stderr, flush=True)
    for each in waiting:
        ray.cancel(each)
    ray.wait(list(waiting), num_returns=len(waiting), timeout=GRACE_SECONDS)


def _line(error: BaseException) -> str:
    """What Ray has to say, which may be many lines: the first, or of a traceback the last."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1 if "Traceback" in str(error) else 0]
