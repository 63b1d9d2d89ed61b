"""Rehearsals: a recipe's whole run in minutes, on random weights of the true architectures and a few samples.

What is made for it lies in one folder. The run in it is `runs.training.train`'s own: the same chain, stages and loop.
"""

from __future__ import annotations

from clipdistill.rehearsal.rehearsing import Rehearsal, rehearse

__all__ = ["Rehearsal", "rehearse"]
