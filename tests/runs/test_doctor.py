"""`doctor`: says what is there and how to get the rest, from the disk alone, whatever is broken."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from clipdistill.models import named
from clipdistill.recipe_files import load_recipe
from clipdistill.runs import doctor as doctor_module
from clipdistill.runs.doctor import doctor
from clipdistill.runs.where_to_get import where_to_get


@pytest.fixture(autouse=True)
def empty_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, an empty hub cache and no network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("clipdistill.data.wordnet.places", lambda: [tmp_path / "wordnet"])

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("doctor must not ask the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    return tmp_path


def by_name(found: list[dict]) -> dict[str, dict]:
    return {item["name"]: item for item in found}


def test_on_a_machine_with_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(named, "WEIGHTS_FOLDER", Path("nowhere"))
    found = doctor()
    assert found["packages"]["torch"] and found["accelerators"]["cpu_threads"] >= 1
    assert found["offline"]["HF_HUB_OFFLINE"] == "1" and {"track", "dev", "bench"} <= found["extras"].keys()
    weights, data = by_name(found["weights"]), by_name(found["data"])
    teacher = weights["ViT-L-14:datacomp_xl_s13b_b90k"]
    assert teacher["found"] is None and teacher["get"] == "hf download laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K"
    assert weights["petri-teacher"]["get"].startswith("clipdistill train petri/teacher --out ")
    assert weights["ViT-B-16:laion400m_e32"]["recipes"] > 5
    assert "img2dataset --url_list cc3m.tsv" in data["data/cc3m/{00000..00331}.tar"]["get"]
    assert "cocodataset.org" in data["data/coco/dataset_coco.json"]["get"]
    assert "apt install wordnet-base" in data["WordNet"]["get"]
    assert not any(item["found"] for item in (*weights.values(), *data.values()))
    assert not any("petri-world" in name for name in data)
    shown = capsys.readouterr().out
    assert "hf download laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K\n" in shown and "image-net.org" in shown


def test_what_is_there_is_found(empty_place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (empty_place / "data/cc3m").mkdir(parents=True)
    (empty_place / "data/cc3m/00000.tar").touch()
    snapshot = empty_place / "hub/models--laion--CLIP-ViT-L-14-DataComp.XL-s13B-b90K/snapshots/abc"
    snapshot.mkdir(parents=True)
    (snapshot / "open_clip_model.safetensors").touch()
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs/main").write_text("abc")
    monkeypatch.setattr(named, "WEIGHTS_FOLDER", empty_place / "shipped")
    (empty_place / "shipped/petri-teacher").mkdir(parents=True)
    (empty_place / "wordnet").mkdir()
    (empty_place / "wordnet" / "index.noun").touch()
    found = doctor(show=False)
    weights, data = by_name(found["weights"]), by_name(found["data"])
    assert data["WordNet"]["found"] == str(empty_place / "wordnet") and data["WordNet"]["get"] is None
    assert data["data/cc3m/{00000..00331}.tar"]["found"] and data["data/cc3m/{00000..00331}.tar"]["get"] is None
    assert weights["petri-teacher"]["found"] == "comes with the package"
    assert str(weights["ViT-L-14:datacomp_xl_s13b_b90k"]["found"]).endswith("open_clip_model.safetensors")
    assert not data["data/cc12m/{00000..01242}.tar"]["found"]


def test_a_broken_library_is_reported_not_raised(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*arguments: object) -> None:
        raise ImportError("libcudart.so.13:\ncannot open shared object file")

    for name in ("_accelerators", "_weights", "_extras"):
        monkeypatch.setattr(doctor_module, name, broken)
    found = doctor()
    assert found["weights"] == {"error": "ImportError: libcudart.so.13: cannot open shared object file"}
    assert capsys.readouterr().out.count("cannot open shared object file") == 3


def test_of_a_student_that_is_filled_the_file_is_looked_for(empty_place: Path) -> None:
    """It was looked for under its whole name, and `clipdistill train ... --out uniter-base-vcr:FILE` was the advice."""
    file = empty_place / "data" / "weights" / "villa-large.pt"
    file.parent.mkdir(parents=True)
    file.touch()
    weights = by_name(doctor(show=False)["weights"])
    assert weights["data/weights/villa-large.pt"]["found"] == "data/weights/villa-large.pt"
    assert "checkpoints of UNITER" in weights["data/weights/uniter-large.pt"]["get"]
    assert not any(name.startswith(("uniter-", "clip-mlp", "clip-vil")) for name in weights)


def test_no_advice_goes_in_a_circle(monkeypatch: pytest.MonkeyPatch) -> None:
    """`runs/petri/sds_base` was to be made by petri/sds_clip/l_clip, which starts from it."""
    monkeypatch.setattr(named, "WEIGHTS_FOLDER", Path("nowhere"))
    weights = by_name(doctor(show=False)["weights"])
    assert weights["runs/petri/sds_base"]["get"] == "clipdistill train petri/sds_base --out runs/petri/sds_base"
    small = weights["petri-teacher-small"]["get"]  # petri/sds_base extends the recipe that made it
    assert small.startswith("clipdistill train petri/teacher_small --out runs/petri-teacher-small")
    asked = {
        name: re.match(r"clipdistill train (\S+) --out ([^\s,]+)", item["get"] or "") for name, item in weights.items()
    }
    for name, made in asked.items():
        if made is None:
            continue
        recipe = load_recipe(made[1])
        assert name not in (recipe.student.model, *(spec.model for spec in recipe.teachers)) or not name.count("/")
        assert made[2].removeprefix("runs/") in (recipe.name, name), name
    chained = weights["runs/clip_kd/vit_t16_from_vit_b16"]["get"]
    assert chained.endswith("--out runs/clip_kd/vit_t16_from_vit_b16 (it needs ViT-B-16:laion400m_e32 first)")


def test_sizes_and_what_fills_them_are_looked_for_apart() -> None:
    weights = by_name(doctor(show=False)["weights"])
    assert "real_data/README.md" in weights["real-data/sizes/uniter.json"]["get"]
    assert not any(".json:" in name for name in weights)


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("data/cc12m/00000.tar", "conceptual-12m"),
        ("/big/CC3M/{0..9}.tar", "ConceptualCaptions"),
        ("flickr30k/dataset_flickr30k.json", "DenotationGraph"),
        ("imagenet/val", "image-net.org"),
        ("data/coco/annotations/captions_train2017.json", "annotations_trainval2017.zip"),
        ("data/compositional", "facebook/winoground"),
        ("data/weights/uniter-large-vcr_2nd-stage.pt", "checkpoints of UNITER, VILLA and VL-BERT"),
        ("data/vcr", "vcr1images.zip"),
        ("real-data/easy_vqa", "real_data/README.md"),
        ("real-data/easy_vqa/llava", "real_data/README.md"),
        ("my/own.csv", "put it there"),
    ],
)
def test_where_to_get(path: str, wanted: str) -> None:
    assert wanted in where_to_get(path)


@pytest.mark.parametrize("name", ["cc3m", "cc12m"])
def test_pictures_are_downloaded_without_borders(name: str) -> None:
    command = where_to_get(f"data/{name}/00000.tar").split(": img2dataset", 1)[1].split()
    options = dict(zip(command[::2], command[1::2], strict=True))
    assert options["--resize_mode"] == "keep_ratio"  # the default, border, pads each picture to a square
    assert options["--url_list"] == f"{name}.tsv" and options["--output_folder"] == f"data/{name}"
    assert int(options["--image_size"]) >= 224
