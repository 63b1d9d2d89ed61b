"""The authors' checkpoints: names and shapes both ways, wrappers, widening, and what doesn't fit, named.

No checkpoint could be opened where this was written; names and shapes are those of the authors' model code.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from clipdistill.errors import UserError
from clipdistill.models.fusion import FusionModel, create_fusion, fusion_config
from clipdistill.models.fusion.config import NAMED
from clipdistill.models.fusion.filling import fill
from clipdistill.models.fusion.released import from_released, read_released, released_config, to_released
from tests.models.tiny_fusion import ARCHITECTURES, tiny_config, tiny_fusion

Shapes = dict[str, tuple[int, ...]]


def pair(name: str, out: int, given: int) -> Shapes:
    return {f"{name}.weight": (out, given), f"{name}.bias": (out,)}


def ln(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def layer_shapes(root: str, layers: int, width: int, hidden: int) -> Shapes:
    found: Shapes = {}
    for number in range(layers):
        at = f"{root}encoder.layer.{number}"
        for name in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            found |= pair(f"{at}.{name}", width, width)
        found |= pair(f"{at}.intermediate.dense", hidden, width) | pair(f"{at}.output.dense", width, hidden)
        found |= ln(f"{at}.attention.output.LayerNorm", width) | ln(f"{at}.output.LayerNorm", width)
    return found


def uniter_shapes(
    stage: str, layers: int = 12, width: int = 768, hidden: int = 3072, words: int = 28996, types: int = 2,
    positions: int = 512, features: int = 2048, answers: int = 3129, classes: int = 1601,
) -> Shapes:  # fmt: skip
    """Of the authors' UniterForPretraining, ...ForVisualCommonsenseReasoning and ...ForVisualQuestionAnswering."""
    found: Shapes = {
        "uniter.embeddings.word_embeddings.weight": (words, width),
        "uniter.embeddings.position_embeddings.weight": (positions, width),
        "uniter.embeddings.token_type_embeddings.weight": (types, width),
        "uniter.img_embeddings.mask_embedding.weight": (2, features),
    }
    at = "uniter.img_embeddings"
    found |= ln("uniter.embeddings.LayerNorm", width) | ln(f"{at}.LayerNorm", width)
    found |= pair(f"{at}.img_linear", width, features) | ln(f"{at}.img_layer_norm", width)
    found |= pair(f"{at}.pos_linear", width, 7) | ln(f"{at}.pos_layer_norm", width)
    found |= layer_shapes("uniter.", layers, width, hidden) | pair("uniter.pooler.dense", width, width)
    if stage == "pretraining":
        at = "cls.predictions"
        found |= {f"{at}.bias": (words,), f"{at}.decoder.weight": (words, width)}
        found |= pair(f"{at}.transform.dense", width, width) | ln(f"{at}.transform.LayerNorm", width)
        found |= {"feat_regress.weight": (width, features), "feat_regress.bias": (features,)}
        found |= pair("feat_regress.net.0", width, width) | ln("feat_regress.net.2", width)
        found |= pair("region_classifier.net.0", width, width) | ln("region_classifier.net.2", width)
        found |= pair("region_classifier.net.3", classes, width) | pair("itm_output", 2, width)
    else:
        at, out = ("vcr_output", 2) if stage == "vcr" else ("vqa_output", answers)
        found |= pair(f"{at}.0", 2 * width, width) | ln(f"{at}.2", 2 * width) | pair(f"{at}.3", out, 2 * width)
    return found


def vl_bert_shapes(
    stage: str, layers: int = 12, width: int = 768, hidden: int = 3072, words: int = 30522, positions: int = 512,
    features: int = 2048, waves: int = 2048, answers: int = 3129, classes: int = 1601, masked_feature: bool = True,
    pooler: bool = False, matching: bool = False,
) -> Shapes:  # fmt: skip
    """Of the authors' ResNetVLBERTForPretraining and ResNetVLBERT (VCR, VQA)."""
    root = "vlbert._module." if stage == "vcr" else "vlbert."
    found: Shapes = {
        f"{root}word_embeddings.weight": (words, width), f"{root}end_embedding.weight": (1, width),
        f"{root}position_embeddings.weight": (positions, width), f"{root}token_type_embeddings.weight": (3, width),
        "object_linguistic_embeddings.weight": (1, width),
    }  # fmt: skip
    for name in ("embedding_LayerNorm", "visual_ln_text", "visual_ln_object"):
        found |= ln(f"{root}{name}", width)
    found |= pair("image_feature_extractor.obj_downsample.1", width, waves + features)
    found |= layer_shapes(root, layers, width, hidden)
    if stage != "pretraining" or pooler:
        found |= pair(f"{root}pooler.dense", width, width)
    if stage == "pretraining":
        found |= {"object_mask_word_embedding.weight": (1, width), "aux_text_visual_embedding.weight": (1, width)}
        found |= {"object_mask_visual_embedding.weight": (1, features)} if masked_feature else {}
        at = "vlbert.mlm_head.predictions"
        found |= {f"{at}.bias": (words,), f"{at}.decoder.weight": (words, width)}
        found |= pair(f"{at}.transform.dense", width, width) | ln(f"{at}.transform.LayerNorm", width)
        found |= pair("vlbert.mvrc_head.transform.dense", width, width)
        found |= pair("vlbert.mvrc_head.region_cls_pred", classes, width)
        if matching:
            found |= pair("vlbert.relationsip_head.caption_image_relationship", 2, width)
    elif stage == "vcr":
        found |= pair("final_mlp.1", 1, width)
        found |= pair("cnn_loss_reg.0.dense", width, width) | pair("cnn_loss_reg.2", 81, width)
    else:
        found |= pair("final_mlp.0.dense", width, width) | ln("final_mlp.0.LayerNorm", width)
        found |= pair("final_mlp.2", answers, width)
    return found


def drawn(shapes: Shapes, seed: int = 0) -> dict[str, Tensor]:
    """A state dict of these names; what the authors tie is tied, UNITER's first mask embedding is zero."""
    generator = torch.Generator().manual_seed(seed)
    state = {key: torch.randn(shape, generator=generator) for key, shape in shapes.items()}
    for tied, of in (
        ("cls.predictions.decoder.weight", "uniter.embeddings.word_embeddings.weight"),
        ("feat_regress.weight", "uniter.img_embeddings.img_linear.weight"),
        ("vlbert.mlm_head.predictions.decoder.weight", "vlbert.word_embeddings.weight"),
    ):
        if tied in state:
            state[tied] = state[of]
    if "uniter.img_embeddings.mask_embedding.weight" in state:
        state["uniter.img_embeddings.mask_embedding.weight"][0] = 0
    return state


# 24 features beside 24 waves in VL-BERT: half and half, as in the released ones.
SMALL: dict[str, Any] = {"layers": 2, "width": 16, "hidden": 24, "words": 312, "positions": 24, "features": 24}
STAGES = [
    ("uniter", "pretraining"), ("uniter", "vcr"), ("uniter", "vqa"), ("uniter", "snli_ve"),
    ("vl_bert", "pretraining"), ("vl_bert", "vcr"), ("vl_bert", "vqa"),
]  # fmt: skip


def small(architecture: str, stage: str, **changes: Any) -> Shapes:
    if architecture == "uniter":
        answers = 3 if stage == "snli_ve" else 9
        return uniter_shapes(stage, **{**SMALL, "classes": 5, "answers": answers, **changes})
    return vl_bert_shapes(stage, **{**SMALL, "waves": 24, "classes": 5, "answers": 9, **changes})


def open_small(state: dict[str, Tensor]) -> FusionModel:
    found = from_released(state)
    config = released_config(found)
    model = create_fusion(config, 0, tokenizer=False)
    assert fill(model, found) == ([], [])
    return model


@pytest.mark.parametrize(("architecture", "stage"), STAGES)
def test_names_and_weights_go_both_ways(architecture: str, stage: str) -> None:
    state = drawn(small(architecture, stage, **({"pooler": True} if (architecture, stage) == STAGES[4] else {})))
    found = from_released(state)
    assert (found.architecture, found.stage, found.unknown) == (architecture, stage, ())
    model = open_small(state)
    back = to_released(model, stage)  # type: ignore[arg-type]
    vectors = ("object_mask_word_embedding", "object_mask_visual_embedding", "aux_text_visual_embedding")
    ours_alone = {f"{name}.weight" for name in vectors} - set(state)
    assert set(back) - (ours_alone if architecture == "vl_bert" else set()) == set(state)
    for key, value in state.items():
        assert torch.equal(back[key], value), key
    # and once more from what was written
    again = open_small(back)
    for key, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[key], value), key


@pytest.mark.parametrize("name", sorted(name for name in NAMED if not name.startswith(("petri", "bert"))))
def test_full_size_models_have_the_authors_names_and_shapes(name: str) -> None:
    large = {"layers": 24, "width": 1024, "hidden": 4096} if "large" in name else {}
    stage = next((stage for stage in ("vcr", "vqa", "snli-ve") if name.endswith(stage)), "pretraining")
    if name.startswith("uniter"):
        vcr = {"words": 28996 + 81, "types": 4} if stage == "vcr" else {}
        shapes = uniter_shapes(stage, answers=3 if stage == "snli-ve" else 3129, **large, **vcr)  # type: ignore[arg-type]
    else:
        shapes = vl_bert_shapes(stage, pooler=True, **large)  # type: ignore[arg-type]
    with torch.device("meta"):
        model = FusionModel(fusion_config(name), name=name)
    theirs = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    found = from_released(theirs)
    assert found.unknown == ()
    lacking = {key: value for key, value in model.state_dict().items() if key not in found.state}
    vectors = {"embeddings.masked_object_word", "embeddings.masked_feature", "embeddings.text_alone"}
    assert set(lacking) == (vectors if name.startswith("vl-bert") and stage != "pretraining" else set())
    assert set(found.state) <= set(model.state_dict())
    for key, value in found.state.items():
        assert value.shape == model.state_dict()[key].shape, key
    written = to_released(model, stage.replace("-", "_"))  # type: ignore[arg-type]
    assert {key: tuple(value.shape) for key, value in written.items() if key in shapes} == shapes
    config = released_config(found)
    told = {"tokenizer", "lower_case"}  # a guess from the vocabulary's size
    assert config.model_dump(exclude=told) == model.config.model_dump(exclude=told)
    assert config.lower_case == model.config.lower_case and config.tokenizer == model.config.tokenizer


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("wrap", [None, "model_state", "state_dict"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_wrappers_prefixes_and_old_names_of_norms(
    architecture: str, wrap: str | None, prefix: str, tmp_path: Path
) -> None:
    state = drawn(small(architecture, "vcr"))
    old = {}
    for key, value in state.items():
        key = key.replace("uniter.", "bert.") if prefix else key
        if "LayerNorm" in key:
            key = key.replace("weight", "gamma").replace("bias", "beta")
        old[prefix + key] = value
    optimizer = {"state": {0: {"step": 3, "exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 1e-3}]}
    path = tmp_path / "checkpoint.pt"
    torch.save(old if wrap is None else {wrap: old, "optimizer": optimizer}, path)
    model = open_small(read_released(path))
    back = to_released(model, "vcr")
    for key, value in state.items():
        assert torch.equal(back[key], value), key


def test_a_pickle_that_runs_something_is_refused(tmp_path: Path) -> None:
    class Runs:
        def __reduce__(self) -> Any:
            return (print, ("this must not run",))

    path = tmp_path / "bad.pt"
    torch.save({"a": Runs()}, path)
    with pytest.raises(UserError, match=r"bad.pt: can't be read as weights"):
        read_released(path)
    torch.save({"a": 3}, path)
    with pytest.raises(UserError, match="holds no state dict"):
        read_released(path)
    with pytest.raises(UserError, match="doesn't exist"):
        read_released(tmp_path / "none.pt")
    with pytest.raises(UserError, match=r"neither UNITER's, VL-BERT's nor BERT's weights, such as conv.weight"):
        from_released({"conv.weight": torch.zeros(2)}, "file.pt")


def test_vcr_widens_types_and_words_of_a_pretrained_uniter() -> None:
    state = drawn(small("uniter", "pretraining"))
    config = {**tiny_config("uniter"), "vocabulary": 312 + 81, "types": 4, "region_width": 24, "heads": {"vcr": 2}}
    model = create_fusion(config, 5, tokenizer=False)
    fresh = {key: value.clone() for key, value in model.state_dict().items()}
    kept, aside = fill(model, from_released(state))
    assert (kept, aside) == (["vcr"], ["matching", "region_classes", "region_features", "words"])
    types, words = model.embeddings.types.weight, model.embeddings.words.weight
    theirs = state["uniter.embeddings.token_type_embeddings.weight"]
    assert torch.equal(types, torch.stack([theirs[0], theirs[1], theirs[0], theirs[0]]))
    assert torch.equal(words[:312], state["uniter.embeddings.word_embeddings.weight"])
    assert torch.equal(words[312:], fresh["embeddings.words.weight"][312:])
    assert torch.equal(model.heads["vcr"].out.weight, fresh["heads.vcr.out.weight"])


def test_vl_berts_pretraining_heads_go_into_fine_tuning() -> None:
    state = drawn(small("vl_bert", "pretraining", masked_feature=False))
    sizes = {"region_width": 24, "coordinates": 3, "types": 3}
    vcr = create_fusion({**tiny_config("vl_bert"), **sizes, "heads": {"vcr": 1, "region_classes": 81}}, 1)
    assert fill(vcr, from_released(state)) == (["vcr"], ["words"])
    assert torch.equal(vcr.heads["region_classes"].hidden.weight, state["vlbert.mvrc_head.transform.dense.weight"])
    assert vcr.heads["region_classes"].out.weight.shape == (81, 16)
    theirs = state["vlbert.token_type_embeddings.weight"]
    assert torch.equal(vcr.embeddings.types.weight, theirs[[0, 0, 2]])  # answers start as questions
    vqa = create_fusion({**tiny_config("vl_bert"), **sizes, "heads": {"vqa": 9}}, 1)
    fill(vqa, from_released(state))
    assert torch.equal(vqa.embeddings.types.weight, theirs)
    at = "vlbert.mlm_head.predictions.transform"
    assert torch.equal(vqa.heads["vqa"].hidden.weight, state[f"{at}.dense.weight"])
    assert torch.equal(vqa.heads["vqa"].norm.bias, state[f"{at}.LayerNorm.bias"])


def test_the_detector_in_an_end_to_end_file_is_left_aside() -> None:
    state = drawn(small("vl_bert", "vcr"))
    state["image_feature_extractor.backbone.conv1.weight"] = torch.zeros(3)
    state["image_feature_extractor.head.0.0.bn1.running_mean"] = torch.zeros(3)
    assert from_released(state).unknown == ()


def test_what_doesnt_fit_is_named_in_one_line() -> None:
    state = drawn(small("uniter", "vcr"))
    del state["uniter.pooler.dense.bias"], state["uniter.encoder.layer.1.output.dense.bias"]
    state["uniter.embeddings.extra"] = torch.zeros(2)
    state["uniter.img_embeddings.pos_linear.weight"] = torch.zeros(16, 5)
    model = create_fusion({**tiny_config("uniter"), "types": 2, "region_width": 24, "heads": {"vcr": 2}}, 0)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(UserError) as error:
        fill(model, from_released(state), "u.pt")
    message = str(error.value)
    assert "\n" not in message
    for part in (
        "2 missing: ", "pooler.dense.bias", "encoder.layer.1.output.dense.bias", "1 unknown: uniter.embeddings.extra",
        "1 of another shape: embeddings.box.weight is 16 x 5 and not 16 x 7",
    ):  # fmt: skip
        assert part in message
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    with pytest.raises(UserError, match="is of vl_bert, and the model is uniter"):
        fill(model, from_released(drawn(small("vl_bert", "vcr"))), "v.model")
    narrow = create_fusion({**tiny_config("uniter"), "types": 2, "region_width": 24, "heads": {"vcr": 2}}, 0)
    with pytest.raises(UserError, match="embeddings.types.weight is 4 x 16 and not 2 x 16"):
        fill(narrow, from_released(drawn(small("uniter", "vcr", types=4))), "vcr.pt")


def test_widened_words_and_types_come_back_from_a_file_of_the_same_width() -> None:
    state = drawn(small("uniter", "vcr", types=4, words=312 + 81))
    model = open_small(state)
    assert model.config.types == 4 and model.config.vocabulary == 393
    name = "uniter.embeddings.word_embeddings.weight"
    assert torch.equal(to_released(model, "vcr")[name], state[name])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_tied_matrix_is_one_parameter_and_learns_from_both_sides(architecture: str) -> None:
    model = tiny_fusion(architecture)
    assert not any("decoder" in name for name, _ in model.named_parameters())
    back = to_released(model, "pretraining")
    at = "cls.predictions" if architecture == "uniter" else "vlbert.mlm_head.predictions"
    assert (
        back[f"{at}.decoder.weight"]
        is back[
            "uniter.embeddings.word_embeddings.weight" if architecture == "uniter" else "vlbert.word_embeddings.weight"
        ]
    )
