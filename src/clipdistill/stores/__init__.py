"""Stores: named arrays, written once and read through memory maps. What a teacher says of the data is kept in them.

Each array is declared with what it is keyed by: a view, a caption or a value of a field of a sample, or the sample; and
as ragged where the number of rows is known only once they are found. A store is a folder:

    store.json                    what it is and what it holds (written last: without it there is no store)
    shard-00000-of-00001/         one folder a rank: a contiguous range of samples
        shard.json, ids.json
        image.f16, text.f16 ...   one file an array: its rows, block after block as they became safe on the disk
        blocks.jsonl              one line for each of those blocks: where its rows lie, how many, their digest

| store | arrays |
|---|---|
| a teacher's embeddings (`cache.cache_teacher`) | `image` by view, `text` by caption: unit vectors |
| its tower features | the same, and `image_length`, `text_length` |
| a meta-teacher's targets (`pairs.cache_pairs`) | `image` and `text` by caption |
| regions (`region_cache.cache_regions`) | `features` and `geometry` by sample, ragged; class names beside them |

Rows are unit vectors in float16: each number is rounded by at most 2^-11 of itself. A cosine of two such rows moves
by about 1e-5 (width 512), a logit at scale 100 by about 0.001; the worst cases are 1e-3 and 0.1.
"""

from __future__ import annotations

from clipdistill.stores.cache import cache_teacher
from clipdistill.stores.facts import store_size_bytes
from clipdistill.stores.targets import TeacherStore

__all__ = ["TeacherStore", "cache_teacher", "store_size_bytes"]
