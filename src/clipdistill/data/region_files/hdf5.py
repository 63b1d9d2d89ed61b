"""The VQA challenge's HDF5 (trainval36.hdf5, trainval.hdf5): an array of all features, one of all boxes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from clipdistill.data.region_files.base import BadRecord, Record, checked, file_key
from clipdistill.data.region_files.npz import INSTALL
from clipdistill.errors import UserError

IDS = ("ids", "image_ids", "image_id", "img_id")


class Hdf5File:
    """`image_features` [N, n, D] with `image_bb` [N, n, 4] in pixels, or `spatial_features` [N, n, 4 or more] as
    shares; or, with `pos_boxes` [N, 2], where each picture's rows begin and end, all rows below each other.

    Which picture is which is said by a data set `ids` of the file, or by a JSON beside it: an object of picture ->
    number, or the list of pictures (the authors' is a pickle, which would run code: write it as JSON once).

    Args:
        ids: that JSON; none = in the file.

    Raises:
        UserError: h5py isn't installed, no such file, no ids, or arrays that aren't there or don't fit.
    """

    def __init__(self, path: str | Path, ids: str | Path | None = None) -> None:
        self.path = Path(path).expanduser()
        if not self.path.is_file():
            raise UserError(f"{self.path}: no such HDF5 file")
        try:
            import h5py
        except ImportError:
            raise UserError(f"layout hdf5: h5py isn't installed; {INSTALL}") from None
        try:
            self._file: Any = h5py.File(self.path, "r")
        except OSError:
            raise UserError(f"{self.path}: not an HDF5 file, or cut short") from None
        there = ", ".join(self._file) or "nothing"
        boxes = next((name for name in ("spatial_features", "image_bb") if name in self._file), None)
        if "image_features" not in self._file or boxes is None:
            raise UserError(f"{self.path}: no 'image_features' with 'spatial_features' or 'image_bb' (it has {there})")
        self._features, self._boxes, self._shares = self._file["image_features"], self._file[boxes], boxes[0] == "s"
        self._rows = self._file.get("pos_boxes")
        count = len(self._features if self._rows is None else self._rows)
        self._places = self._ids(ids)
        wrong = next((name for name, row in self._places.items() if not 0 <= row < count), None)
        if wrong is not None or len(self._features) != len(self._boxes):
            which = f"its ids say {self._places[wrong]} for {wrong}" if wrong else f"{len(self._boxes):,} boxes"
            raise UserError(f"{self.path}: {count:,} pictures, and {which}; ids and arrays don't belong together")
        self.names = list(self._places)
        self.key = file_key([self.path], sorted(self._places.items()))

    def read(self, name: str) -> Record:
        """The rows of one picture."""
        row: Any = self._places[name]
        if self._rows is not None:
            first, last = (int(one) for one in self._rows[row])
            if not 0 <= first < last <= len(self._features):
                raise BadRecord(f"its rows are {first} to {last}")
            row = slice(first, last)
        features, boxes = np.asarray(self._features[row]), np.asarray(self._boxes[row], dtype=np.float64)
        if boxes.ndim != 2 or boxes.shape[1] < 4:
            raise BadRecord(f"boxes of shape {boxes.shape}, not [regions, 4 or more]")
        return checked(Record(features, boxes[:, :4], size=(1.0, 1.0) if self._shares else None))

    def _ids(self, ids: str | Path | None) -> dict[str, int]:
        if ids is None:
            name = next((one for one in IDS if one in self._file), None)
            if name is None:
                raise UserError(
                    f"{self.path}: no data set 'ids' that says which picture is which; give `ids`: a JSON of picture "
                    "-> number (the pickle that comes with it, written as JSON)"
                )
            found = [one.decode() if isinstance(one, bytes) else str(one) for one in self._file[name][:]]
            return {one: row for row, one in enumerate(found)}
        file = Path(ids).expanduser()
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except OSError:
            raise UserError(f"`ids`: {file}: no such file") from None
        except ValueError:
            raise UserError(f"`ids`: {file}: not JSON; a pickle isn't read, since it would run code") from None
        if isinstance(content, list):
            return {str(one): row for row, one in enumerate(content)}
        if isinstance(content, dict) and all(isinstance(row, int) for row in content.values()):
            return {str(one): row for one, row in content.items()}
        raise UserError(f"`ids`: {file}: neither an object of picture -> number nor a list of pictures")
