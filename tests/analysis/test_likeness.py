"""Two models over one source: as features taken one by one, bad and repeated pictures, what is said and written."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import encoder, picture

from clipdistill import cli
from clipdistill.analysis.likeness import model_cka
from clipdistill.analysis.likeness_tables import cell, remarks
from clipdistill.data import open_source
from clipdistill.data.sample import ImageRef, Sample
from clipdistill.errors import UserError
from clipdistill.evaluate.embed import embed_images, embed_texts
from clipdistill.evaluate.likeness.alignment import alignment, uniformity
from clipdistill.evaluate.likeness.comparing import compare_models, same_depth
from clipdistill.evaluate.likeness.paired_features import Pair, Seen
from clipdistill.models.image_layers import ImageLayer
from tests.evaluate.likeness.test_cka import written_out

WORDS = ("red", "large blue", "green", "small yellow", "striped")


class Shown:
    """Pictures with two captions each, of which number 5 can't be read and number 7 has none."""

    name, classes, skipped = "shown", None, ()

    def __init__(self, folder: Path, count: int = 22, captions: bool = True) -> None:
        folder.mkdir(parents=True)
        self.samples = []
        for k in range(count):
            path = folder / f"{k}.png"
            picture(60, 40 + k, seed=k).save(path)
            texts = (f"a {WORDS[k % 5]} circle left of {k % 3 + 1} squares", f"another, {k}")
            texts = texts if captions and k != 7 else (" ",)
            self.samples.append(Sample(id=str(k), image=ImageRef.from_path(path), captions=texts))
        (folder / "5.png").write_bytes(b"no picture")

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, row: int) -> Sample:
        return self.samples[row]


def write(folder: Path, count: int = 22) -> Path:
    """The same as a CSV file, which leaves number 7 out."""
    with (folder / "data.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["photo", "text"])
        for sample in Shown(folder / "pictures", count).samples:
            rows.writerows([f"pictures/{sample.id}.png", text] for text in sample.captions)
    return folder / "data.csv"


@pytest.fixture
def source(tmp_path: Path) -> Any:
    return Shown(tmp_path / "data")


def test_the_same_as_features_taken_one_by_one(source: Any) -> None:
    """Each model with its own size of pictures; the student's layers are rows, the embeddings come last."""
    student, teacher = encoder("clip"), encoder("timm", seed=1)
    found = compare_models(teacher, student, source, draws=20)
    assert (found["images"], found["batches"]) == (21, 1) and [each["id"] for each in found["left_out"]] == ["5"]
    one, two = (embed_images(model, source) for model in (student, teacher))
    assert torch.tensor(found["cka"]["value"]).shape == (3, 6)
    expected = written_out(one.features.double(), two.features.double())
    assert found["cka"]["value"][-1][-1] == pytest.approx(expected, abs=1e-4)

    layers = [[], []]  # type: ignore[var-annotated]
    for side, model in enumerate((student, teacher)):
        view = Pair((model, model), source, torch.device("cpu"))
        first, _ = next(iter(view.batches([k for k in range(22) if k != 5], 100, Seen())))
        layers[side] = first
    assert found["cka"]["value"][1][3] == pytest.approx(
        written_out(layers[0][1].double(), layers[1][3].double()), abs=1e-4
    )
    assert found["student"]["layers"][1] == {"name": "block 1", "channels": 32, "height": 4, "width": 4}
    assert found["teacher"]["layers"][3]["name"] == "stage 3"

    rows = [row for row, position in enumerate(one.positions.tolist()) if position != 7]
    texts = [source[position].captions[0] for position in one.positions.tolist() if position != 7]
    image, text = one.features[rows], embed_texts(student, texts)
    spread = found["spread"]
    assert spread["pairs"] == 20
    assert spread["student"]["alignment"] == pytest.approx(alignment(image, text), abs=1e-5)
    assert spread["student"]["image_uniformity"] == pytest.approx(uniformity(image), abs=1e-5)
    assert spread["student"]["text_uniformity"] == pytest.approx(uniformity(text), abs=1e-5)


@pytest.mark.parametrize("pool", ["mean", "flat"])
def test_a_model_beside_itself_is_1_all_along(source: Any, pool: Any) -> None:
    model = encoder("resnet")
    found = compare_models(model, model, source, pool=pool, batch=8, draws=20)
    assert found["batches"] == 2  # 8, and 13 at the end: never a last one that is too small
    for name in ("cka", "unit"):
        values = torch.tensor(found[name]["value"])
        torch.testing.assert_close(values.diag(), torch.ones(6))
        torch.testing.assert_close(values, values.T)
        assert (values - torch.eye(6) < 1).all() and values[0, -1] < 0.999
    assert found["spread"]["student"] == found["spread"]["teacher"]


def test_place_counts_where_patches_are_not_averaged(tmp_path: Path) -> None:
    """A model whose patches lie elsewhere in each picture: their mean is the same, place by place they aren't."""
    source = Shown(tmp_path / "data", captions=False)
    one, two = encoder("resnet"), encoder("resnet")
    plain = two.image_layers

    def moved(pixels: torch.Tensor) -> list[ImageLayer]:
        return [
            replace(layer, tokens=torch.stack([each.roll(k, dims=0) for k, each in enumerate(layer.tokens)]))
            for layer in plain(pixels)
        ]

    two.image_layers = moved  # type: ignore[method-assign]
    mean, flat = (compare_models(one, two, source, pool=pool, draws=0) for pool in ("mean", "flat"))  # type: ignore[arg-type]
    assert mean["cka"]["value"][1][1] == pytest.approx(1, abs=1e-5) and mean["spread"] is None
    assert flat["cka"]["value"][1][1] < 0.7


def test_pictures_are_drawn_the_same_every_time_in_an_order_of_their_own(source: Any) -> None:
    model = encoder("clip")
    one, two = (compare_models(model, encoder("average"), source, count=12, pool=None, draws=30) for _ in range(2))
    assert one == two and one["images"] + len(one["left_out"]) == 12
    assert one["student"]["layers"] == [] and len(one["cka"]["value"]) == 1
    other = compare_models(model, encoder("average"), source, count=12, pool=None, draws=30, seed=1)
    assert other["cka"]["value"][0][0] == pytest.approx(one["cka"]["value"][0][0]) and other["cka"] != one["cka"]
    with pytest.raises(UserError, match=r"--count 23: there are 22 different pictures; ask for fewer"):
        compare_models(model, model, source, count=23)


def test_a_picture_that_is_asked_about_twice_counts_once(tmp_path: Path) -> None:
    from tests.evaluate import question_data as made

    colours = ["red", "green", "blue", "blue", "red", "green"]
    made.write_vcr(tmp_path / "vcr", [made.vcr_item(k, colour, 0, 1) for k, colour in enumerate(colours)])
    vcr = open_source({"format": "vcr", "path": str(tmp_path / "vcr"), "split": "val"})
    with pytest.raises(UserError, match=r"cka: 3 pictures; at least 4 are needed"):
        compare_models(encoder("clip"), encoder("clip"), vcr)


def test_what_goes_wrong_is_one_line(source: Any) -> None:
    broken = encoder("clip")
    with torch.no_grad():
        broken.clip.visual.transformer.resblocks[1].mlp.c_fc.bias[0] = math.nan
    with pytest.raises(UserError, match="model 'tiny-clip': block 1 isn't finite"):
        compare_models(encoder("clip"), broken, source)
    bare = encoder("clip")
    bare.clip.visual.forward_intermediates = None
    with pytest.raises(UserError, match=r"its image tower doesn't give what its layers hold; .*--pool none"):
        compare_models(bare, encoder("clip"), source)


def test_a_collapsed_student_is_said(source: Any) -> None:
    dead = encoder("clip")
    with torch.no_grad():
        dead.clip.visual.proj.zero_()
    content = {**compare_models(encoder("clip"), dead, source, draws=5), "data": "d"}
    assert math.isnan(content["cka"]["value"][-1][-1])
    assert remarks(content)[0] == "student: embedding doesn't vary over the pictures, so there is no CKA with it"


def test_layers_of_one_depth_lie_beside_each_other() -> None:
    assert [same_depth(row, 3, 12) for row in range(3)] == [3, 7, 11]
    assert [same_depth(row, 12, 5) for row in (0, 4, 11)] == [0, 1, 4] and same_depth(0, 1, 5) == 4
    assert cell({"value": [[0.5]], "low": [[0.4]], "high": [[0.61]]}, 0, 0) == "0.500 (0.400 to 0.610)"
    assert cell({"value": [[None]], "low": [[None]], "high": [[None]]}, 0, 0) == "none"


def test_the_command_prints_tables_and_writes_all_pairs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = write(tmp_path), tmp_path / "cka.json"
    name = "petri-teacher-small"
    wanted = ["cka", "--teacher", name, "--student", name, "--data", str(data), "--json", str(out), "--workers", "0"]
    assert cli.run(wanted) == 0
    printed = capsys.readouterr().out
    assert f"{name} beside {name} on 20 pictures of" in printed and "all at once; 2 left out" in printed
    assert "stage 4" in printed and "1.000 (1.000 to 1.000)" in printed and "alignment" in printed
    content = json.loads(out.read_text())
    assert len(content["cka"]["value"]) == 6 and content["unit"]["value"][2][2] == pytest.approx(1)


def test_the_commands_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, name = str(write(tmp_path, 6)), "petri-teacher-small"

    def said(*options: str) -> str:
        given = {
            "--teacher": name,
            "--student": name,
            "--data": data,
            **dict(zip(options[::2], options[1::2], strict=True)),
        }
        assert cli.run(["cka", *(part for pair in given.items() for part in pair)]) == 2
        return capsys.readouterr().err

    assert "petri-student': a name alone has random weights" in said("--student", "petri-student")
    assert "--teacher petri-uniter-pretrained: is no dual encoder" in said("--teacher", "petri-uniter-pretrained")
    assert "--pool sum: write mean, flat, or none" in said("--pool", "sum")
    assert f"--json {tmp_path}: is a folder; give a file" in said("--json", str(tmp_path))
    with pytest.raises(UserError, match="--data: 2 sources; give one"):
        model_cka(name, name, {"one": data, "two": {"path": data, "name": "two"}})
