"""TeacherStore: a teacher's targets, written once and read through memory maps.

A store is a folder:

    store.json                    what it is (written last: without it there is no store)
    shard-00000-of-00001/         one folder a rank: a contiguous range of samples
        shard.json, ids.json, captions.npy
        image.f16                 [K views * n samples, D], view by view
        text.f16                  [captions of these samples, D]
        image_length.f32 ...      lengths of the rows, for tower features only
        blocks.jsonl              one line for each block that was safe on the disk: its rows and digest

Rows are unit vectors in float16: each number is rounded by at most 2^-11 of itself. A cosine of two such rows moves
by about 1e-5 (width 512), a logit at scale 100 by about 0.001; the worst cases are 1e-3 and 0.1.
"""

from __future__ import annotations

from clipdistill.stores.cache import cache_teacher
from clipdistill.stores.facts import store_size_bytes
from clipdistill.stores.store import TeacherStore

__all__ = ["TeacherStore", "cache_teacher", "store_size_bytes"]
