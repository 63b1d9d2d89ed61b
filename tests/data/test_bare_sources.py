"""Pictures without captions as data: a plain folder, and `captions: none` of every format that has some."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from data_files import encoded, picture, write_csv, write_karpathy, write_pictures, write_tar

from clipdistill.data import AugmentPlan, Loader, Mixture, open_source
from clipdistill.data.fields import Caption, HardNegatives
from clipdistill.data.sources.guess import guess_format
from clipdistill.errors import UserError


def tokenizer(texts: list[str]) -> Any:
    import torch

    return torch.tensor([[len(text), sum(map(ord, text))] for text in texts])


def huggingface(folder: Path) -> str:
    import datasets

    rows = {"image": [{"bytes": encoded(picture(seed)), "path": None} for seed in range(3)], "other": ["a", "b", "c"]}
    features = datasets.Features({"image": datasets.Image(), "other": datasets.Value("string")})
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(str(folder / "hf"))
    return str(folder / "hf")


def bare_csv(folder: Path) -> str:
    write_pictures(folder / "images", ["a.png", "b.png"])
    (folder / "bare.csv").write_text("image,size\nimages/a.png,1\nimages/b.png,2\n")
    return str(folder / "bare.csv")


def bare_tar(folder: Path) -> str:
    write_tar(folder / "x.tar", [(f"{number}.png", encoded(picture(number))) for number in range(3)])
    return str(folder / "x.tar")


@pytest.mark.parametrize(
    ("kind", "write", "count"), [("csv", bare_csv, 2), ("webdataset", bare_tar, 3), ("huggingface", huggingface, 3)]
)
def test_formats_of_captions_need_none_when_told_so(tmp_path: Path, kind: str, write: Any, count: int) -> None:
    path = write(tmp_path)
    with pytest.raises(UserError):
        open_source({"format": kind, "path": path})
    source = open_source({"format": kind, "path": path, "captions": "none"})
    assert len(source) == count and all(source[row].captions == () for row in range(count))
    source[0].image.open()


def test_captions_that_are_there_are_left_out_and_the_source_is_another_one(tmp_path: Path) -> None:
    table, karpathy = write_csv(tmp_path, 3), write_karpathy(tmp_path / "k", {"train": 3})
    for spec in (
        {"format": "csv", "path": str(table)},
        {"format": "karpathy", "path": str(karpathy), "split": "train"},
    ):
        whole, bare = open_source(spec), open_source({**spec, "captions": "none"})
        assert [whole[row].id for row in range(3)] == [bare[row].id for row in range(3)]
        assert all(whole[row].captions and not bare[row].captions for row in range(3))
        assert whole.fingerprint() != bare.fingerprint()
    with pytest.raises(UserError, match="the one thing to say is none"):
        open_source({"format": "csv", "path": str(table), "captions": "all"})


def test_a_plain_folder_of_pictures(tmp_path: Path) -> None:
    write_pictures(tmp_path / "trip", ["b.png", "deep/er/a.png", "c.jpg"])
    (tmp_path / "trip" / "notes.txt").write_text("not a picture")
    (tmp_path / "trip" / "loop").symlink_to(tmp_path / "trip")
    source = open_source({"format": "pictures", "path": str(tmp_path / "trip")})
    assert [source[row].id for row in range(3)] == ["b.png", "c.jpg", "deep/er/a.png"]
    assert source.name == "trip" and source.classes is None and len(source.skipped) == 2
    assert guess_format(tmp_path / "trip" / "deep" / "er") == {
        "format": "pictures", "path": str(tmp_path / "trip" / "deep" / "er"),
    }  # fmt: skip
    for path, said in (("trip/b.png", "not a folder of pictures"), ("none", "no such"), ("trip/loop/deep", None)):
        if said is not None:
            with pytest.raises(UserError, match=said):
                open_source({"format": "pictures", "path": str(tmp_path / path)})
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no pictures"):
        open_source({"format": "pictures", "path": str(tmp_path / "empty")})


def mixed(tmp_path: Path) -> Mixture:
    write_pictures(tmp_path / "trip", [f"{number}.png" for number in range(12)])
    captioned = open_source({"format": "csv", "path": str(write_csv(tmp_path, 4, captions=2))})
    return Mixture([(captioned, None), (open_source({"format": "pictures", "path": str(tmp_path / "trip")}), None)],
                   repeat=[3, 1])  # fmt: skip


def test_a_mixture_knows_who_has_none(tmp_path: Path) -> None:
    mixture = mixed(tmp_path)
    assert mixture.captioned == 0.5 and mixture.visits == 24 and mixture.caption_count() == 8
    assert [mixture.is_bare(row) for row in range(16)] == [False] * 4 + [True] * 12
    assert Mixture([(mixture.sources[0], None)]).captioned == 1


def test_batches_hold_them_with_an_empty_text(tmp_path: Path) -> None:
    mixture = mixed(tmp_path)
    fields = {"text/student": Caption(tokenizer), "negative/student": HardNegatives(tokenizer, 2)}
    loader = Loader(mixture, fields, batch_size=8, plan=AugmentPlan(), seed=0)
    seen = 0
    for batch in loader.epoch(0):
        for row, position in enumerate(batch["sample"].tolist()):
            bare = mixture.is_bare(position)
            assert (int(batch["caption"][row]) == -1) == bare
            assert (batch["text/student"][row].tolist() == [0, 0]) == bare
            assert not (bare and batch["has_negative"][row].any())
            seen += bare
    assert seen == 12


def test_a_source_that_lacks_captions_and_doesn_t_say_so(tmp_path: Path) -> None:
    write_pictures(tmp_path / "classes" / "one", ["a.png", "b.png"])
    mixture = Mixture([(open_source({"format": "imagefolder", "path": str(tmp_path / "classes")}), None)])
    with pytest.raises(UserError, match="`captions: none`"):
        Caption(tokenizer).check(mixture)
    said = open_source({"format": "imagefolder", "path": str(tmp_path / "classes"), "captions": "none"})
    Caption(tokenizer).check(Mixture([(said, None)]))
