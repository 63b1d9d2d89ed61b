"""Recipes: the shipped ones, `extends`, overrides, and mistakes in one line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from clipdistill.errors import UserError
from clipdistill.recipe import ModelSpec
from clipdistill.recipe_files import answers, differences, load_recipe, recipe_names, validate
from clipdistill.report.paper import paper_table
from clipdistill.runs.checks import check_recipe
from clipdistill.runs.data import augment_plan, open_mixture
from clipdistill.runs.evaluation import check_suites, open_evaluations, suite_data
from clipdistill.tasks.dclip_teacher import DCLIPTeacherOptions

NAMES = recipe_names()
PAPER = [name for name in NAMES if name.startswith(("clip_kd/", "dclip/", "sds_clip/"))]
# The petri world has one backbone and one diffusion model, so what differs by them has one twin.
ONE_TWIN = {
    "petri/dclip": r"dclip/vit_b\d+",
    "petri/sds_clip": r"sds_clip/((sd21_|cc3m_)?(vit_b16|vit_b32|vit_l14|vit_l14_336|rn50)|vit_b16_laion\w+|coca)",
}


@pytest.mark.parametrize("name", NAMES)
def test_shipped_recipe(name: str) -> None:
    recipe = load_recipe(name)
    check_recipe(recipe)

    if not name.startswith("real/"):  # whose class names lie beside the pictures
        check_suites(recipe)
    assert recipe.name == name and recipe.about
    assert validate(yaml.safe_load(recipe.to_yaml()), "again") == recipe
    if recipe.paper is not None:
        assert paper_table(recipe.paper).own


@pytest.mark.parametrize("name", PAPER)
def test_every_paper_recipe_has_a_petri_twin_that_trains_on_the_same_terms(name: str) -> None:
    twins = [twin for twin, names in ONE_TWIN.items() if re.fullmatch(names, name)]
    paper, twin = load_recipe(name), load_recipe(twins[0] if twins else f"petri/{name}")
    assert twin.petri is not None and twin.task.method == paper.task.method
    terms = [{term for term, weight in (one.task.weights or {}).items() if weight} for one in (paper, twin)]
    assert terms[0] == terms[1] and len(twin.teachers) == len(paper.teachers)
    for ours, theirs in zip(twin.teachers, paper.teachers, strict=True):
        if theirs.meta is None:
            continue
        assert ours.meta is not None
        pair = [one.meta.task.options() for one in (ours, theirs)]
        for key in ("attention", "clusters", "rotary", "variant"):
            default = DCLIPTeacherOptions.model_fields[key].default
            assert pair[0].get(key, default) == pair[1].get(key, default), key


def test_the_experiments_that_are_asked_for_are_there() -> None:
    made = {
        f"{s}_from_{t}" for s in ("vit_t16", "vit_s16", "rn50", "mobileclip") for t in ("vit_b16", "vit_l14", "siglip")
    }
    made |= {f"only_{term}" for term in ("crd", "fd", "icl", "gd", "afd", "mfd")}
    made |= {
        "all_terms",
        "no_task",
        "tinyclip",
        "mobileclip_reinforced",
        "baseline",
        "teacher_vit_b16",
        "teacher_rn101",
    }
    others = ("mobilevit_s", "swin_t", "mobilenetv3", "efficientnet_b0", "rn18")
    made |= {f"{student}_from_{teacher}_cc" for student in others for teacher in ("vit_b16", "rn101")}
    made |= {"vit_t16_from_vit_b16_cc"}
    assert {f"clip_kd/{name}" for name in made} <= set(NAMES)
    made = {"vit_b32", "vit_b16", "vit_l14", "vit_l14_no_teacher", "mix_67k", "mix_120k", "mix_220k", "sweet_spot"}
    made |= {"no_yolo", "no_bidirectional_attention", "no_cross_modal_attention", "no_teacher", "itm", "released"}
    assert {f"dclip/{name}" for name in made} <= set(NAMES)
    backbones = ("vit_b16", "vit_b32", "vit_l14", "vit_l14_336", "rn50")
    made = {f"{prefix}{name}" for prefix in ("", "sd21_", "cc3m_") for name in backbones}
    made |= {"vit_b16_laion400m", "vit_b16_laion2b", "coca", "l_clip", "unet_features", "full", "literal"}
    assert {f"sds_clip/{name}" for name in made | {"hard_negatives"}} <= set(NAMES)


def test_clip_kd_rates_are_the_papers() -> None:
    train = load_recipe("clip_kd/vit_t16_from_vit_b16").train
    assert (train.lr, train.weight_decay, train.warmup_steps, train.epochs, train.batch_size) == (
        1e-3, 0.1, 10_000, 32, 1024
    )  # fmt: skip
    assert load_recipe("clip_kd/vit_t16_from_vit_b16").task.weights == {"task": 1, "crd": 1, "fd": 2000, "icl": 1}
    for name in NAMES:
        if name.startswith("clip_kd/"):
            recipe = load_recipe(name)
            # CLIP-KD's code asks for "vit" in the student's name, which MobileViT has; MobileCLIP is none of its own.
            alike = any(one in recipe.student.model.lower() for one in ("vit", "mobileclip"))
            wanted = ((0.9, 0.98), 1e-6) if alike else ((0.9, 0.999), 1e-8)
            assert (recipe.train.betas, recipe.train.eps) == wanted, name


def test_dclip_rates_are_the_papers_and_the_released_codes() -> None:
    for name, heads, clusters, rotary, epochs, counts in (
        ("vit_b32", 8, 1, False, 5, [42_000, 10_000, 15_000]),
        ("vit_b16", 8, 1, False, 5, [42_000, 10_000, 15_000]),
        ("vit_l14", 12, 3, True, 1, [85_000, 20_000, 15_000]),
    ):
        recipe = load_recipe(f"dclip/{name}")
        train, meta = recipe.train, recipe.teachers[0].meta
        assert meta is not None and recipe.regions is not None
        assert (train.lr, train.batch_size, train.micro_batch, train.epochs, train.clip_norm) == (1e-6, 128, 32, 2, 0.5)
        assert (meta.train.lr, meta.train.weight_decay, meta.train.batch_size) == (1e-5, 0, 32)
        options = DCLIPTeacherOptions.model_validate(meta.task.options())
        assert (options.heads, options.clusters, options.rotary, meta.train.epochs) == (heads, clusters, rotary, epochs)
        assert options.temperature == recipe.task.options()["temperature"] == 0.05
        assert [source.count for source in recipe.data.train] == counts
        assert (recipe.regions.provider, recipe.regions.options()["weights"]) == ("yolo", "yolov8x.pt")
    anchor = load_recipe("dclip/vit_l14").teachers[1]
    assert anchor.model == "ViT-L-14:openai" and load_recipe("dclip/vit_l14").task.weights["anchor"] == 1  # type: ignore[index]
    counts = [source.count for source in load_recipe("dclip/mix_220k").data.train]
    assert counts == [100_000, 30_000, 50_000, 50_000]


def test_a_region_store_belongs_to_one_model_and_one_draw_of_the_data() -> None:
    found: dict[Path, tuple[object, ...]] = {}
    for name in NAMES:
        if not name.startswith(("dclip/", "petri/dclip")):
            continue
        recipe = load_recipe(name)
        if recipe.regions is not None:
            if any(source.count for source in recipe.data.train):
                assert recipe.data.seed is not None, name
            own = (recipe.student.label, recipe.regions.provider, [s.model_dump() for s in recipe.data.train])
            assert found.setdefault(recipe.regions.store, own) == own, name


@pytest.mark.parametrize("name", NAMES)
def test_one_store_serves_every_seed(name: str) -> None:
    first, second = (load_recipe(name, [f"seed={seed}"]) for seed in (0, 1))
    stores = [[one.store for one in recipe.teachers if one.store] for recipe in (first, second)]
    regions = [recipe.regions and recipe.regions.store for recipe in (first, second)]
    if stores[0] and stores[0] == stores[1]:
        assert augment_plan(first).fingerprint() == augment_plan(second).fingerprint(), "give data.augment.seed"
    if (stores[0] and stores[0] == stores[1]) or (regions[0] and regions[0] == regions[1]):
        assert first.data.seed is not None or not any(source.count for source in first.data.train), "give data.seed"


def test_sds_clip_rates_are_the_papers() -> None:
    recipe = load_recipe("sds_clip/vit_b16")
    assert (recipe.train.lr, recipe.train.batch_size, recipe.train.weight_decay) == (5e-5, 32, 0)
    assert recipe.task.weights == {"task": 1, "sds": 0.001}
    assert [teacher.model for teacher in recipe.teachers] == ["CompVis/stable-diffusion-v1-4"]
    assert load_recipe("sds_clip/sd21_rn50").teachers[0].model == "stabilityai/stable-diffusion-2-1-base"
    assert load_recipe("sds_clip/cc3m_vit_b16").data.train[0].format == "webdataset"
    assert load_recipe("sds_clip/l_clip").teachers == []


def test_the_seed_of_the_draws_can_be_fixed_apart_from_the_recipes(tmp_path: Path) -> None:
    from PIL import Image

    rows = [f"{number}.png,a picture\n" for number in range(20)]
    for number in range(20):
        Image.new("RGB", (2, 2)).save(tmp_path / f"{number}.png")
    (tmp_path / "a.csv").write_text("image,caption\n" + "".join(rows))
    values = {"name": "x", "student": "petri-student", "data": {"train": [{"format": "csv", "count": 5}]}}
    values["data"]["train"][0]["path"] = str(tmp_path / "a.csv")  # type: ignore[index]

    def drawn(seed: int, of_data: int | None) -> list[str]:
        recipe = validate({**values, "seed": seed, "data": {**values["data"], "seed": of_data}}, "x")  # type: ignore[dict-item]
        return open_mixture(recipe).mixture.ids

    assert drawn(1, None) != drawn(2, None)
    assert drawn(1, 1) == drawn(2, 1) == drawn(1, None)


def test_the_benchmarks_folder_is_looked_for_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe("sds_clip/vit_b16")
    with pytest.raises(UserError, match=r"`evaluate.0.data`: data: data/compositional: no such folder"):
        open_evaluations(recipe)
    (tmp_path / "data" / "compositional" / "winoground").mkdir(parents=True)
    with pytest.raises(UserError, match=r"examples.jsonl is missing"):
        open_evaluations(recipe)


def test_an_evaluation_draws_the_pictures_that_it_is_asked_for() -> None:
    recipe = load_recipe("dclip/itm")
    data = suite_data(recipe, recipe.evaluate[0], 0)
    assert data["count"] == 1000 and "count" not in suite_data(recipe, recipe.evaluate[1], 1)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "base.yaml").write_text(
        "name: base\nstudent: petri-student\nteachers: [petri-teacher, {model: other}]\n"
        "data: {train: [{format: csv, path: a.csv}, {format: coco, path: b.json}]}\n"
        "task: {weights: {task: 1, crd: 1}}\ntrain: {epochs: 3, lr: 0.5}\n"
    )
    (tmp_path / "child.yaml").write_text(
        "\ufeffextends: base\nname: child\ntask: {weights: {fd: 2}, chunk: 8}\ntrain: {lr: 0.25}\n", encoding="utf-8"
    )
    return tmp_path


def test_a_child_overrides_its_parent(base: Path) -> None:
    recipe = load_recipe(base / "child.yaml")
    assert (recipe.name, recipe.train.epochs, recipe.train.lr) == ("child", 3, 0.25)
    assert recipe.task.weights == {"fd": 2} and recipe.task.options() == {"chunk": 8}
    assert len(recipe.data.train) == 2


def test_overrides(base: Path) -> None:
    recipe = load_recipe(
        base / "base.yaml",
        ["train.lr=3e-4", "data.train.1.count=7", "student.model=RN50", "teachers.0.store=here", "train.clip_norm=null",
         "task.weights.crd=0", "data.augment.crop_scale=[0.5, 1]", "evaluate=[{suite: petri, data: w}]"],
    )  # fmt: skip
    assert recipe.train.lr == 3e-4 and recipe.train.clip_norm is None and recipe.student.model == "RN50"
    assert [spec.count for spec in recipe.data.train] == [None, 7]
    assert recipe.teachers[0].model == "petri-teacher" and recipe.teachers[0].store == Path("here")
    assert recipe.task.weights == {"task": 1, "crd": 0} and recipe.data.augment.crop_scale == (0.5, 1.0)
    assert load_recipe(base / "base.yaml").train.lr == 0.5


def test_another_method_takes_nothing_of_the_parents_task(base: Path) -> None:
    child = base / "other.yaml"
    child.write_text("extends: child\nname: other\ntask: {method: contrastive, loss: sigmoid}\n")
    recipe = load_recipe(child)
    assert recipe.task.weights is None and recipe.task.options() == {"loss": "sigmoid"}
    assert load_recipe(child, ["task.method=clip_kd"]).task.model_dump() == {"method": "clip_kd", "weights": None}
    # The same method, said or not, keeps what it had; `method` absent is clip_kd.
    child.write_text("extends: child\nname: other\ntask: {method: clip_kd, affinity: released}\n")
    assert load_recipe(child).task.weights == {"fd": 2}
    assert load_recipe(child).task.options() == {"chunk": 8, "affinity": "released"}
    # An override likewise, whatever stands before or behind it on the command line.
    given = ["task.method=contrastive", "task.weights.task=2"]
    for overrides in (given, given[::-1]):
        recipe = load_recipe(base / "child.yaml", overrides)
        assert recipe.task.weights == {"task": 2} and recipe.task.options() == {}
    recipe = load_recipe("clip_kd/vit_t16_from_vit_b16", ["task.method=contrastive"])
    assert recipe.task.weights is None


def test_another_method_drops_the_parents_stages(base: Path) -> None:
    """A parent's stages are trainings by its own method: with another, they'd train that for nothing."""
    parent = base / "staged.yaml"
    parent.write_text("extends: child\nname: staged\nstages: [{name: a, task: {weights: {fd: 1}}}, {name: b}]\n")
    assert [one.name for one in load_recipe(parent).stages] == ["a", "b"]
    child = base / "other.yaml"
    child.write_text("extends: staged\nname: other\ntask: {method: contrastive}\n")
    assert load_recipe(child).stages == [] and load_recipe(parent, ["task.method=contrastive"]).stages == []
    child.write_text("extends: staged\nname: other\ntask: {weights: {fd: 3}}\ntrain: {lr: 1}\n")
    assert [one.name for one in load_recipe(child).stages] == ["a", "b"]  # the same method
    child.write_text("extends: staged\nname: other\ntask: {method: contrastive}\nstages: [{name: c}, {name: d}]\n")
    assert [one.name for one in load_recipe(child).stages] == ["c", "d"]  # the child's own
    assert [one.name for one in load_recipe(parent, ["task.method=contrastive", "stages=[{name: e}]"]).stages] == ["e"]


def test_a_whole_is_overridden_before_its_parts(base: Path) -> None:
    recipe = load_recipe(base / "base.yaml", ["task.chunk=4", "task={weights: {fd: 1}}"])
    assert recipe.task.weights == {"fd": 1} and recipe.task.options() == {"chunk": 4}


@pytest.mark.parametrize(
    ("name", "override", "kept"),
    [
        ("clip_kd/vit_t16_from_vit_b16", "teachers.0.model=ViT-L-14:openai", False),
        ("clip_kd/vit_t16_from_vit_b16", "teachers=[]", False),
        ("clip_kd/vit_t16_from_vit_b16", "student=RN50", False),
        ("clip_kd/vit_t16_from_vit_b16", "student={model: ViT-T-16}", True),
        ("clip_kd/vit_t16_from_vit_b16", "task.method=contrastive", False),
        ("clip_kd/vit_t16_from_vit_b16", "task.weights.icl=0", False),
        ("clip_kd/vit_t16_from_vit_b16", "task.weights.icl=2", True),
        ("clip_kd/vit_t16_from_vit_b16", "teachers.0.store=here", True),
        ("clip_kd/vit_t16_from_vit_b16", "train.lr=3e-4", True),
        ("dclip/vit_b16", "teachers.0.meta.task.attention=none", False),
        ("dclip/vit_b16", "teachers.0.meta.epoch=2", False),
        ("dclip/vit_b16", "teachers.0.meta.run=runs/dclip/teacher", True),
    ],
)
def test_printed_numbers_stay_with_what_they_are_of(name: str, override: str, kept: bool) -> None:
    paper = load_recipe(name).paper
    assert paper is not None
    assert load_recipe(name, [override]).paper == (paper if kept else None)
    assert load_recipe(name, [override, f"paper={paper}"]).paper == paper


def test_a_child_of_another_model_names_its_own_printed_row(base: Path) -> None:
    (base / "row.yaml").write_text("extends: base\npaper: clip_kd/rn50_from_vit_b16_laion\n")
    for line, wanted in (
        ("train: {lr: 0.1}", "clip_kd/rn50_from_vit_b16_laion"),
        ("student: RN50", None),
        ("student: RN50\npaper: clip_kd/vit_t16_from_vit_b16_laion", "clip_kd/vit_t16_from_vit_b16_laion"),
    ):
        (base / "of_row.yaml").write_text(f"extends: row\n{line}\n")
        assert load_recipe(base / "of_row.yaml").paper == wanted


@pytest.mark.parametrize(
    ("override", "wanted"),
    [
        ("train.epoch=1", "unknown key `train.epoch`. Did you mean 'epochs'?"),
        ("data.train.0.count=0", "`data.train.0.count`"),
        ("data.augment.views=two", "(got 'two')"),
        ("train.lr.value=x", "has no keys"),
        ("teachers.7.model=x", "list of 2"),
        ("student.image_tower=x", "give either `model` or both"),
        ("student={image_tower: x}", "give either `model` or both"),
        ("train.micro_batch=100", "must divide batch_size (256)"),
    ],
)
def test_wrong_overrides(base: Path, override: str, wanted: str) -> None:
    with pytest.raises(UserError) as error:
        load_recipe(base / "base.yaml", [override])
    assert wanted in str(error.value) and "\n" not in str(error.value)


def test_a_circle_of_parents_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("extends: b\n")
    (tmp_path / "b.yaml").write_text("extends: a\n")
    with pytest.raises(UserError, match="circle"):
        load_recipe(tmp_path / "a.yaml")


def test_differences_name_dotted_keys() -> None:
    old = {"a": 1, "b": {"c": [1], "d": 2}, "gone": 0}
    assert differences(old, {"a": 1, "b": {"c": [2], "d": 2}, "new": 0}) == ["b.c", "gone", "new"]
    assert differences(old, old) == []


def test_what_was_measured_by_an_earlier_version_needn_t_be_measured_again() -> None:
    was = {"evaluate": [{"suite": "retrieval", "data": {"format": "csv", "path": "a.csv"}}], "compare": ["teacher"]}
    now = {"evaluate": [{"suite": "retrieval", "data": {"format": "csv", "path": "a.csv", "captions": None}}]}
    assert answers({"asked": was}, now | {"compare": ["teacher"]})
    assert not answers({"asked": was}, now | {"compare": ["control"]})
    assert not answers({"asked": was | {"evaluate": []}}, now | {"compare": ["teacher"]})
    for odd in (None, [], {}, {"asked": 3}, {"models": {}}):
        assert not answers(odd, now)


def test_a_recipe_of_an_earlier_version_lacks_what_is_none_now() -> None:
    old = {"data": {"train": [{"format": "csv", "path": "a.csv"}]}, "teachers": []}
    new = {"data": {"train": [{"format": "csv", "path": "a.csv", "captions": None}], "seed": None}, "teachers": []}
    assert differences(old, new) == []
    new["data"]["train"][0]["captions"] = "none"
    assert differences(old, new) == ["data.train.0.captions"]
    new["data"]["train"].append({"format": "csv"})
    assert differences(old, new) == ["data.train"]


def test_what_tables_call_a_model() -> None:
    assert ModelSpec(model="RN50").label == "RN50"
    assert ModelSpec(image_tower="resnet18", text_tower="some/where/bert").label == "resnet18 + bert"
