"""Which runs of a study were given to Slurm, and what became of them.

The one file beside the runs' own folders: a queue holds jobs for days, and the same command must know them again.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from clipdistill.errors import UserError
from clipdistill.files import write_json
from clipdistill.waits import limit, too_long

SUBMITTED = "submitted.json"
"""Folder of a run, from the study's -> the job's id."""


class Queue:
    """The jobs of one study.

    Args:
        library: the module submitit. cluster: "slurm", or "local" for submitit's own processes.
        folder: of submitit's files.
    """

    def __init__(self, library: Any, cluster: str, folder: Path) -> None:
        self.folder, self.cluster = folder, cluster
        self._job = library.SlurmJob if cluster == "slurm" else library.LocalJob

    def read(self) -> dict[str, str]:
        """What was given away and isn't accounted for yet.

        Raises:
            UserError: the file can't be read.
        """
        try:
            found = json.loads((self.folder / SUBMITTED).read_text(encoding="utf-8"))
            return {str(place): str(number) for place, number in found.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, AttributeError) as error:
            raise UserError(
                f"{self.folder / SUBMITTED}: can't be read; delete it when none of the study's jobs is in the queue"
            ) from error

    def write(self, submitted: Mapping[str, str]) -> None:
        """Keep it for the next command."""
        write_json(self.folder / SUBMITTED, dict(submitted))

    def alive(self, numbers: Iterable[str]) -> dict[str, str]:
        """Of jobs by id those that wait or run: id -> "pending", "running", ...

        Raises:
            UserError: Slurm doesn't answer.
        """
        asked = list(numbers)
        if self.cluster == "slurm":
            states = _squeue() if asked else {}
        else:
            states = {number: "RUNNING" for number in asked if _is_submitits(number)}
        if self.folder.is_dir():
            os.utime(self.folder)  # a network file system looks anew at a folder that has changed
        return {one: states[one].lower() for one in asked if one in states and not self._result(one).is_file()}

    def why(self, number: str) -> str | None:
        """Why a job that isn't alive any more failed; None when its worker says that the run is done."""
        if not self._result(number).is_file():
            log = self._job(self.folder, number).paths.stderr
            return f"job {number} ended without a word: killed, cancelled or out of time (see {log})"
        try:
            what, said = pickle.loads(self._result(number).read_bytes())
        except Exception as error:  # cut off, or of what can't be imported here
            return f"job {number}: its result can't be read ({error})"
        if what == "success":
            return None if said is None else str(said)
        return f"job {number}: {str(said).strip().splitlines()[-1]}"

    def _result(self, number: str) -> Path:
        return Path(self._job(self.folder, number).paths.result_pickle)


def _squeue() -> dict[str, str]:
    """All jobs of this user. squeue and not sacct, which many clusters don't have."""
    command = ["squeue", "--me", "--noheader", "--array", "--format=%i %T"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=limit("NETWORK")).stdout
    except FileNotFoundError as error:
        raise UserError("study: --engine slurm: there is no squeue here; give the command on a login node") from error
    except subprocess.TimeoutExpired as error:
        raise UserError(
            f"study: --engine slurm: squeue hasn't answered for {too_long('NETWORK')}; the runs stay with Slurm, and "
            "the same command looks after them again"
        ) from error
    except subprocess.CalledProcessError as error:
        raise UserError(f"study: --engine slurm: squeue failed: {' '.join(error.stderr.split())}") from error
    words = (line.split() for line in said.splitlines())
    return {each[0]: each[1] for each in words if len(each) == 2}


def _is_submitits(number: str) -> bool:
    """Whether a process is one of submitit's: its id may be another's by now, or that of one that has ended."""
    try:
        return b"submitit" in Path(f"/proc/{int(number)}/cmdline").read_bytes()
    except (OSError, ValueError):
        return False
