"""Engines of studies: who makes the runs. Without one, this process does, in order; scheduling is theirs, not ours."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

from clipdistill.errors import UserError, nearest
from clipdistill.runs.jobs import Engine
from clipdistill.studies.resources import Resources

ENGINES = {"ray": "ray", "slurm": "submitit"}
"""Name of an engine -> the package that it needs."""


def make_engine(
    name: str,
    *,
    resources: Mapping[str, Any] | None = None,
    workers: int | None = None,
    address: str | None = None,
    slurm: Mapping[str, Any] | None = None,
    wait: bool = False,
) -> Engine:
    """An engine by its name.

    Args:
        name: "ray" or "slurm".
        resources: what each run asks, above what the study's file says: `cpus`, `gpus`, `memory`.
        workers: of a Ray that is started here, how many runs at once; None = as many as there is room for.
        address: of a Ray that is there already.
        slurm: options of the job array, as submitit names them. wait: stay until all runs have ended.

    Raises:
        UserError: no such engine, a package that isn't there, an option of another engine or a wrong value.
    """
    if name not in ENGINES:
        raise UserError(f"--engine: no engine {name!r}.{nearest(name, ENGINES)} There are {', '.join(ENGINES)}")
    for option, said, whose in (
        ("--workers", workers, "ray"), ("--address", address, "ray"),
        ("--slurm", slurm, "slurm"), ("--wait", wait, "slurm"),
    ):  # fmt: skip
        if said and name != whose:
            raise UserError(f"study: {option} is of --engine {whose}; leave it away")
    asked = dict(resources or {})
    Resources().changed(asked)
    library = _library(ENGINES[name], name)
    if name == "ray":
        from clipdistill.runs.engines.ray_engine import RayEngine

        if workers and address:
            raise UserError(
                "study: --workers starts a Ray here and --address joins one that is there; give one of them"
            )
        return RayEngine(library, asked, workers, address)
    from clipdistill.runs.engines.slurm_engine import SlurmEngine

    return SlurmEngine(library, asked, dict(slurm or {}), wait)


def _library(package: str, engine: str) -> ModuleType:
    try:
        return import_module(package)
    except ImportError as error:
        raise UserError(
            f"study: --engine {engine} needs {package}, which can't be imported ({error}); "
            "pip install 'clipdistill[cluster]'"
        ) from error
