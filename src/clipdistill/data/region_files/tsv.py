"""Bottom-up attention's TSV: a line a picture, arrays in base64 (Anderson et al. 2018; LXMERT's has ten columns)."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

import numpy as np

from clipdistill.data.region_files.base import BadRecord, Record, checked, file_key
from clipdistill.errors import UserError

SIX = ("image_id", "image_w", "image_h", "num_boxes", "boxes", "features")
TEN = (
    "img_id", "img_h", "img_w", "objects_id", "objects_conf", "attrs_id", "attrs_conf", "num_boxes", "boxes",
    "features",
)  # fmt: skip
_NAMES = {"image_id": "img_id", "image_w": "img_w", "image_h": "img_h"}


class TsvFile:
    """Lines are found by their first field, and read where they lie: memory holds the names alone.

    Columns are those of bottom-up attention (six), of LXMERT (ten, with the detector's classes), or those that the
    first line names.

    Raises:
        UserError: no such file, or lines of another number of columns.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        if not self.path.is_file():
            raise UserError(f"{self.path}: no such TSV of region features")
        self.key = file_key([self.path])
        with open(self.path, "rb") as handle:
            first = handle.readline().rstrip(b"\r\n").decode("utf-8", "replace").split("\t")
            named = "features" in first and "boxes" in first
            if not named and len(first) not in (len(SIX), len(TEN)):
                raise UserError(
                    f"{self.path}: lines of {len(first)} columns; bottom-up attention's have {len(SIX)} and LXMERT's "
                    f"{len(TEN)}, others name theirs in the first line"
                )
            columns = first if named else SIX if len(first) == len(SIX) else TEN
            self._columns = {_NAMES.get(name, name): place for place, name in enumerate(columns)}
            if "img_id" not in self._columns:
                raise UserError(f"{self.path}: no column 'image_id' or 'img_id' (it has {', '.join(columns)})")
            at = handle.tell() if named else 0
            handle.seek(at)
            self._places: dict[str, int] = {}
            for line in handle:
                name = line.split(b"\t", self._columns["img_id"] + 1)[self._columns["img_id"]]
                if line.strip():
                    self._places[name.decode("utf-8", "replace").strip()] = at
                at += len(line)
        self.names = list(self._places)

    def read(self, name: str) -> Record:
        """One line."""
        with open(self.path, "rb") as handle:
            handle.seek(self._places[name])
            fields = handle.readline().rstrip(b"\r\n").split(b"\t")
        if len(fields) != len(self._columns):
            raise BadRecord(f"{len(fields)} columns, not {len(self._columns)}; the file may be cut short")
        try:
            count = int(fields[self._columns["num_boxes"]]) if "num_boxes" in self._columns else None
            width, height = (float(fields[self._columns[side]]) for side in ("img_w", "img_h"))
        except (ValueError, KeyError):
            raise BadRecord("no numbers as its size or count of boxes") from None
        boxes = self._array(fields, "boxes", np.float32)
        count = len(boxes) // 4 if count is None else count
        features = self._array(fields, "features", np.float32)
        if count < 1 or len(boxes) != 4 * count or len(features) % count:
            raise BadRecord(f"{len(boxes):,} numbers of boxes and {len(features):,} of features for {count} boxes")
        scores = self._array(fields, "objects_conf", np.float32) if "objects_conf" in self._columns else None
        labels = None
        if "objects_id" in self._columns:
            labels = tuple(f"class {number}" for number in self._array(fields, "objects_id", np.int64))
        return checked(
            Record(features.reshape(count, -1), boxes.reshape(count, 4).astype(np.float64), scores, (width, height),
                   labels=labels)
        )  # fmt: skip

    def _array(self, fields: list[bytes], name: str, kind: type[np.generic]) -> np.ndarray:
        try:
            content = base64.b64decode(fields[self._columns[name]], validate=True)
            return np.frombuffer(content, dtype=np.dtype(kind).newbyteorder("<"))
        except (binascii.Error, ValueError):
            raise BadRecord(f"'{name}' isn't whole base64; the file may be cut short") from None
