"""What a worker does with a job, whoever sent it: wait for its folder, make the run, and say what went wrong.

Nothing of the engine is here, so two that look at the same folders can't make the same run twice: the run's own lock
decides, and who comes second waits and finds it done, or goes on where a killed worker's last checkpoint is.
"""

from __future__ import annotations

import os
import socket
import traceback
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from clipdistill.engine.distributed import Ranks
from clipdistill.errors import Interrupted, UserError
from clipdistill.runs.folder import LOCK, RunFolder
from clipdistill.runs.jobs import Job, run_job

LOGS = "logs"
"""In a study: what each run said, as its folder lies in the study."""


@dataclass(frozen=True)
class Work:
    """A job on its way to a worker.

    out: the study's folder. here: the working folder that paths in recipes start from. Both absolute.
    """

    job: Job
    out: Path
    here: Path

    @classmethod
    def of(cls, job: Job, out: Path) -> Work:
        """A job of a study, as this process sees it."""
        return cls(job, Path(out).absolute(), Path.cwd())

    @property
    def log(self) -> Path:
        """Where the worker's output goes."""
        place = (self.here / self.job.folder).relative_to(self.out)
        return self.out / LOGS / place.parent / f"{place.name}.log"

    def __call__(self) -> str | None:
        """Make the run.

        Returns:
            Why it failed, in a line; None when it is done.

        Raises:
            Interrupted: a signal stopped it after a checkpoint; it can be taken up.
        """
        if not (self.out / LOCK).is_file():  # whoever sent the job made that file
            return (
                f"{self.out} isn't there on {socket.gethostname()}; workers need the study's folder, on a shared disk"
            )
        os.chdir(self.here)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        # Never closed: a library that sets up its logging meanwhile keeps it, and logs into it after this.
        file = open(self.log, "a", encoding="utf-8", buffering=1)  # noqa: SIM115
        with redirect_stdout(file), redirect_stderr(file):
            print(f"study: {self.job.title}: on {socket.gethostname()}, process {os.getpid()}")
            try:
                RunFolder(self.job.folder).wait_until_free()
                run_job(self.job, Ranks.current())
            except UserError as error:
                print(f"study: failed: {error}")
                return str(error)
            except Interrupted as stop:
                print(f"study: {stop}")
                raise
            except Exception as error:
                traceback.print_exc()
                return f"{type(error).__name__}: {' '.join(str(error).split())} (see {self.log})"
        return None
