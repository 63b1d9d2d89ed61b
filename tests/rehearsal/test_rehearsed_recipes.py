"""From a recipe to the one that is rehearsed: few steps and samples, the same stages, nothing outside of the folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clipdistill.models import load_model
from clipdistill.models.named import model_config
from clipdistill.recipe import Recipe
from clipdistill.recipe_files import load_recipe, recipe_names
from clipdistill.rehearsal import clip_drafts, smaller
from clipdistill.rehearsal.data_files import DataWriter
from clipdistill.rehearsal.drafts import BESIDES, Draft, memory_of
from clipdistill.rehearsal.handful import Handful
from clipdistill.rehearsal.places import inside
from clipdistill.rehearsal.sizes import UNKNOWN, true_size
from clipdistill.rehearsal.smaller import kinds_of, smaller_recipe
from clipdistill.rehearsal.standing_in import write_models
from clipdistill.runs.checks import check_recipe
from clipdistill.runs.derived import trainings


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(smaller, "Handful", lambda count: Handful(count, side=16))
    monkeypatch.chdir(tmp_path)


FAMILIES = (
    "clip_kd/mobileclip_reinforced", "kd_for_vlms/vit_t16_from_dfn_h14", "dclip/vit_l14", "sds_clip/vit_b16",
    "clip_td/vl_bert_vcr_clip_td", "clip_td/uniter_large_vqa_clip_td", "clip_td/uniter_base_snli_ve_naive",
    "vlm/siglip", "petri/dclip",
)  # fmt: skip


@pytest.mark.parametrize("name", FAMILIES)
def test_a_recipe_keeps_its_stages_and_methods(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    small, _ = smaller_recipe(recipe, tmp_path)
    check_recipe(small)
    before, after = trainings(recipe), trainings(small)
    assert [each.task for each in after] == [each.task for each in before]
    assert (small.compare, small.student.locked) == (recipe.compare, recipe.student.locked)
    assert [each.suite for each in small.evaluate] == [each.suite for each in recipe.evaluate]
    for each, was in zip(after, before, strict=True):
        assert (each.train.max_steps, each.train.epochs, each.train.checkpoint_every) == (2, 1, 1)
        assert each.train.batch_size <= 8 and bool(each.train.micro_batch) == bool(was.train.micro_batch)
        same = {"lr", "schedule", "optimizer", "precision", "clip_norm", "keep_epochs"}
        assert each.train.model_dump(include=same) == was.train.model_dump(include=same)


@pytest.mark.parametrize("name", FAMILIES)
def test_no_path_leads_out(name: str, tmp_path: Path) -> None:
    small, _ = smaller_recipe(load_recipe(name), tmp_path)
    text = json.dumps(small.model_dump(mode="json"))
    assert '"/' not in text and '"..' not in text and "~" not in text


def test_paths_are_turned_inside() -> None:
    assert inside("data/x") == "data/x" and inside("./data//x") == "data/x"
    assert inside("/disk/x.csv") == "elsewhere/disk/x.csv" and inside("../../x") == "elsewhere/x"
    assert inside("data/../../x") == "elsewhere/x"


def test_micro_batches_stay_micro_batches(tmp_path: Path) -> None:
    small, _ = smaller_recipe(load_recipe("dclip/vit_b16"), tmp_path)
    assert (small.train.batch_size, small.train.micro_batch) == (8, 4)


def test_models_of_the_users_are_linked_and_not_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    for file in ("student/weights.bin", "store/store.json", "checkpoints/step-1.pt"):
        (home / "runs" / "mine" / file).parent.mkdir(parents=True)
        (home / "runs" / "mine" / file).write_text("mine")
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "there")
    recipe = load_recipe("petri/clip_kd/baseline")
    teacher = {"student": {"model": "runs/mine"}}
    smaller_recipe(Recipe.model_validate(recipe.model_dump() | teacher), home)
    assert [one.name for one in Path("runs/mine").iterdir()] == ["student"]
    weights = Path("runs/mine/student/weights.bin")
    assert weights.is_symlink() and weights.resolve() == home / "runs" / "mine" / "student" / "weights.bin"
    (Path("runs/mine") / "store").mkdir()  # what is made beside them stays here
    assert (home / "runs" / "mine" / "store" / "store.json").read_text() == "mine"


def test_a_named_model_is_written_with_its_shape_and_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = model_config("petri-tiny-student")
    monkeypatch.setattr(clip_drafts, "model_config", lambda _: tiny | {"quick_gelu": False})
    (draft,) = clip_drafts.clip_draft("ViT-B-32:openai")
    assert draft.write is not None
    draft.write()
    model = load_model("ViT-B-32:openai")
    assert model.name == "ViT-B-32:openai" and model.config["model_cfg"]["quick_gelu"] is True
    assert sum(one.numel() for one in model.parameters()) == draft.parameters
    assert clip_drafts.clip_draft("ViT-B-32:openai")[0].write is None, "what is there isn't made again"


def test_too_large_models_get_fewer_layers_which_is_said() -> None:
    drafts = clip_drafts.clip_draft("ViT-H-14-quickgelu:dfn5b")
    assert drafts[0].parameters > 900e6 and drafts[0].note == ""
    (half,) = clip_drafts.clip_draft("ViT-H-14-quickgelu:dfn5b", 2)
    assert half.parameters < 0.6 * drafts[0].parameters and "2 times fewer layers" in half.note


def test_memory_counts_what_trains_three_times(tmp_path: Path) -> None:
    assert memory_of([Draft("a", 10), Draft("b", 10, trained=True)]) == BESIDES + 80 + 240
    small, _ = smaller_recipe(load_recipe("clip_kd/vit_t16_from_vit_b16"), tmp_path)
    with pytest.raises(Exception, match=r"`--rehearse-memory`: even the smallest models .* GB"):
        write_models(small, 1e9)
    assert not Path("ViT-B-16:laion400m_e32").exists()


def test_sizes_are_known_of_every_shipped_source() -> None:
    shipped = [load_recipe(name) for name in recipe_names() if not name.startswith(("petri/", "real/"))]
    sources = [each.model_dump(mode="json") for one in shipped for t in trainings(one) for each in t.data.train]
    assert {json.dumps(each["path"]) for each in sources if not true_size(each)[1]} == set()
    assert true_size({"path": "data/coco/dataset_coco.json", "split": "train+restval"}) == (113_287, True)
    assert true_size({"path": "mine.csv"}) == (UNKNOWN, False) and true_size({"path": "x", "count": 7}) == (7, True)
    world = load_recipe("petri/clip_kd/baseline")
    assert world.petri is not None and true_size(None, world.petri) == (world.petri.test, True)


def test_data_that_lies_here_is_counted() -> None:
    DataWriter(Handful(3, side=16), 3).source({"format": "csv", "path": "mine.csv"}, "data.train.0")
    assert true_size({"format": "csv", "path": "mine.csv"}) == (3, True)


def test_kinds_of_live_teachers_count() -> None:
    assert kinds_of(load_recipe("sds_clip/vit_b16")) == ["dual_encoder", "denoiser"]
    assert kinds_of(load_recipe("clip_td/uniter_base_vcr")) == ["fusion"]
