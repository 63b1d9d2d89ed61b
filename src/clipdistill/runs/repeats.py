"""What comes twice in the data, told before a training: within it, in its tests too, and among class names."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clipdistill.data import Mixture
from clipdistill.data.sample import BadImage, Sample
from clipdistill.evaluate.suites import Evaluation
from clipdistill.runs.looking import evenly

MOST = 5000
"""Samples of one source that are looked at, evenly over it: their sizes alone are asked for, unless two are equal."""

MOST_TESTED = 2000
"""The same of data that is measured on."""
SHOWN = 5
REPEATED = 0.01
"""Share of captions that repeat another picture's from which it is worth a line."""
WORDNET = re.compile(r"[nvars]\d{8}")


@dataclass(frozen=True)
class Looked:
    """Samples that were looked at, and how many there are in all."""

    name: str
    samples: list[Sample]
    of: int

    @property
    def all(self) -> bool:
        """Whether that was all of them."""
        return len(self.samples) == self.of

    @property
    def said(self) -> str:
        """How many were looked at: "5,000 of 80,000", or "80" where that is all."""
        return f"{self.of:,}" if self.all else f"{len(self.samples):,} of {self.of:,}"


def repeats(mixture: Mixture, evaluations: Sequence[Evaluation]) -> list[tuple[str, str]]:
    """Rows of the plan, (what, said): within the training data, shared with what is measured on, and class names."""
    training = looked_at("training", mixture)
    rows = list(within(training))
    for each in evaluations:
        for name, source in each.suite.sources(each.opened).items():
            rows += shared(training, looked_at(name, source, MOST_TESTED))
        rows += class_notes(each.suite.class_names(each.opened))
    return list(dict.fromkeys(rows))


def looked_at(name: str, source: Any, most: int = MOST) -> Looked:
    """Samples of a Source or Mixture, evenly over it."""
    return Looked(name, [source[int(row)] for row in evenly(len(source), most)], len(source))


def within(data: Looked) -> Iterator[tuple[str, str]]:
    """Rows on pictures that are there twice under two names, and on captions that several pictures share."""
    pictures: dict[Any, str] = {}
    for sample in data.samples:
        pictures.setdefault(sample.image, sample.id)  # a file in several rows is one picture with several captions
    twice = [ids for ids in _alike(pictures.items()) if len(ids) > 1]
    if twice:
        extra = sum(len(ids) - 1 for ids in twice)
        some = "; ".join(" = ".join(ids[:3]) for ids in twice[:SHOWN])
        yield (
            "same pictures",
            f"{extra:,} of {data.said} looked at have the bytes of another one: {some}; in a batch they count as "
            "wrong answers for each other",
        )
    owners: dict[str, set[Any]] = defaultdict(set)
    for sample in data.samples:
        for caption in sample.captions if sample.label is None else ():  # classes make captions that are alike
            owners[" ".join(caption.split()).casefold()].add(sample.image)
    pairs = sum(map(len, owners.values()))
    shared = pairs - len(owners)
    if shared > REPEATED * pairs:
        common, found = max(owners.items(), key=lambda each: len(each[1]))
        yield (
            "same captions",
            f"{shared:,} of {pairs:,} captions ({data.said} samples) are another picture's too, most often "
            f"'{common[:60]}' ({len(found):,} pictures)",
        )


def shared(training: Looked, test: Looked) -> Iterator[tuple[str, str]]:
    """A row on test samples that are in the training data: the same file, the same bytes, or name and captions."""
    own: dict[Any, str] = {sample.image: sample.id for sample in training.samples}
    names = {_name(sample) for sample in training.samples if sample.captions and sample.label is None}
    same_file = [sample for sample in test.samples if sample.image in own]
    rest = [sample for sample in test.samples if sample.image not in own]
    marked = [(image, f"0{one}") for image, one in own.items()]
    groups = _alike([*marked, *((sample.image, f"1{sample.id}") for sample in rest)])
    both = [ids for ids in groups if {one[0] for one in ids} == {"0", "1"}]
    same_bytes = {one[1:] for ids in both for one in ids if one[0] == "1"}
    same_words = [
        sample for sample in rest
        if sample.id not in same_bytes and sample.captions and sample.label is None and _name(sample) in names
    ]  # fmt: skip
    found = [sample.id for sample in same_file] + sorted(same_bytes) + [sample.id for sample in same_words]
    if found:
        ways = [
            f"{count:,} {way}"
            for count, way in (
                (len(same_file), "the same file"), (len(same_bytes), "the same bytes"),
                (len(same_words), "the same name and captions"),
            )
            if count
        ]  # fmt: skip
        yield (
            "test data",
            f"{test.name}: {len(found):,} of {test.said} are training data too ({', '.join(ways)}; {training.said} of "
            f"these looked at): {', '.join(found[:SHOWN])}{', ...' if len(found) > SHOWN else ''}; numbers on them say "
            "what was learnt by heart",
        )


def class_notes(named: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    """Rows on class names, by data, that are WordNet's numbers, or become one and the same in a prompt."""
    for data, names in named.items():
        ids = [name for name in names if WORDNET.fullmatch(name)]
        if ids:
            yield (
                "class names",
                f"{data}: {len(ids):,} of {len(names):,} are WordNet ids ({ids[0]}), which no text tower knows; set "
                "`class_names: imagenet`, or a file with a name a line",
            )
        merged = [same for same in _normalised(names).values() if len(same) > 1]
        if merged:
            some = "; ".join(" = ".join(repr(name) for name in same) for same in merged[:SHOWN])
            yield "class names", f"{data}: classes whose names become one and the same in a prompt: {some}"


def _normalised(names: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for name in names:
        found[" ".join(re.split(r"[\s_]+", name.strip())).casefold()].append(name)
    return found


def _name(sample: Sample) -> tuple[str, tuple[str, ...]]:
    return sample.id.rpartition("/")[2], sample.captions


def _alike(pictures: Iterable[tuple[Any, str]]) -> list[list[str]]:
    """Ids of pictures by what they are: of one size, with the same bytes where they were probed."""
    known = [(image, one, image.byte_size()) for image, one in pictures]
    sizes = Counter(size for _, _, size in known if size > 0)
    groups: dict[tuple[int, bytes], list[str]] = defaultdict(list)
    for image, one, size in known:
        if sizes[size] < 2:
            continue
        try:
            groups[size, hashlib.sha256(image.probe()).digest()].append(one)
        except BadImage:  # the training says so
            continue
    return list(groups.values())
