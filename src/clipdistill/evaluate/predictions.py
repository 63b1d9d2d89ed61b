"""A model's probabilities in a file, and the mean of several models': an ensemble of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clipdistill.errors import UserError
from clipdistill.files import atomic_path


@dataclass(frozen=True)
class Predictions:
    """Probabilities for N questions.

    Attributes:
        ids: of the samples, in order.
        arrays: name -> float32 [N, ...].
        names: what the last axis of the arrays numbers (the vocabulary of answers); empty where that is fixed.
    """

    ids: tuple[str, ...]
    arrays: Mapping[str, np.ndarray]
    names: tuple[str, ...] = ()


def write_predictions(path: str | Path, found: Predictions) -> None:
    """Write an npz file: `ids`, `names` and the arrays."""
    with atomic_path(path) as temporary, open(temporary, "wb") as handle:
        arrays: dict[str, Any] = {name: np.asarray(value, np.float32) for name, value in found.arrays.items()}
        np.savez(handle, ids=np.array(found.ids, dtype=str), names=np.array(found.names, dtype=str), **arrays)


def read_predictions(path: str | Path, option: str = "ensemble") -> Predictions:
    """Read what `write_predictions` wrote. `option`: what asked for it, for messages.

    Raises:
        UserError: no such file, or not such a file.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files if name not in ("ids", "names")}
            return Predictions(tuple(file["ids"].tolist()), arrays, tuple(file["names"].tolist()))
    except FileNotFoundError:
        raise UserError(f"{option}: {path}: no such file; evaluate a model with `predictions: {path}` first") from None
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise UserError(f"{option}: {path}: not predictions that an evaluation wrote ({error})") from error


def mean_of(first: Predictions, others: Sequence[tuple[str, Predictions]]) -> Predictions:
    """The mean probabilities of several models. Samples are matched by their ids; others may be in another order.

    Args:
        first: of the model that is evaluated. others: the rest, with what messages call each.

    Raises:
        UserError: another one is of other questions, another suite or another vocabulary.
    """
    sums = {name: np.asarray(value, np.float64) for name, value in first.arrays.items()}
    for label, other in others:
        same = other.names == first.names and {k: v.shape[1:] for k, v in other.arrays.items()} == {
            k: v.shape[1:] for k, v in first.arrays.items()
        }
        if not same:
            raise UserError(f"ensemble: {label}: holds other options than this suite's; it is of other data or answers")
        rows = _rows(first, label, other, "ensemble")
        sums = {name: value + other.arrays[name][rows] for name, value in sums.items()}
    count = 1 + len(others)
    return Predictions(first.ids, {name: value / count for name, value in sums.items()}, first.names)


def with_arrays_of(first: Predictions, label: str, other: Predictions, name: str) -> Predictions:
    """`first` with the array `name` of another model's predictions, matched by ids.

    Raises:
        UserError: the other one lacks the array or some of the questions; `name` and `label` begin the line.
    """
    if name not in other.arrays or other.arrays[name].shape[1:] != first.arrays[name].shape[1:]:
        raise UserError(f"{name}: {label}: holds no {name}; it is of another suite")
    rows = _rows(first, label, other, name)
    return Predictions(first.ids, {**first.arrays, name: other.arrays[name][rows]}, first.names)


def _rows(first: Predictions, label: str, other: Predictions, option: str) -> np.ndarray:
    """Where `other` has the questions of `first`."""
    places = {one: place for place, one in enumerate(other.ids)}
    missing = [one for one in first.ids if one not in places]
    if missing:
        raise UserError(f"{option}: {label}: has no probabilities for '{missing[0]}' ({len(missing)} are missing)")
    return np.array([places[one] for one in first.ids], dtype=np.int64)
