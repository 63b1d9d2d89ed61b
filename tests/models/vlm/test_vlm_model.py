"""A VLM against transformers' LLaVA: the same loss, the same answers, and a folder that plain transformers opens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import encoder, pixels_of
from transformers import AutoModelForCausalLM, AutoProcessor, LlavaForConditionalGeneration

from clipdistill.errors import UserError
from clipdistill.export.vlm_folder import make_processor, save_vlm
from clipdistill.kinds import KINDS
from clipdistill.models.vlm import VLM, create_vlm, load_vlm, start_vlm
from clipdistill.models.vlm.conversation import IGNORED
from clipdistill.models.vlm.language import petri_words
from clipdistill.recipe import ModelSpec

QUESTIONS = ["what colour is the circle?", "how many things are there in this picture?", "is it red?"]


def tiny(kind: str = "clip", **options: Any) -> VLM:
    return create_vlm(encoder(kind), "petri-lm-tiny", seed=0, **options)


def batch_of(model: VLM, rows: list[tuple[str, str, bool]]) -> dict[str, torch.Tensor]:
    """Conversations of one turn, padded behind."""
    coded = [model.coder.conversation((asked, said), picture) for asked, said, picture in rows]
    longest = max(len(one.ids) for one in coded)
    ids = torch.tensor([one.ids + [0] * (longest - len(one.ids)) for one in coded])
    labels = torch.tensor([one.labels + [IGNORED] * (longest - len(one.ids)) for one in coded])
    mask = torch.tensor([[place < len(one.ids) for place in range(longest)] for one in coded])
    return {"ids": ids, "labels": labels, "mask": mask}


def test_losses_are_those_of_transformers() -> None:
    """Also where one of a batch has no picture, in front of one that has."""
    model = tiny().double()
    rows = [("is it red?", "no", True), ("what is a circle?", "a shape", False), ("how many?", "four", True)]
    batch, pixels = batch_of(model, rows), pixels_of(encoder("clip"), 2)
    losses, owner = model.token_losses(**batch, seen=model.see(pixels))
    theirs = model.llava(
        input_ids=batch["ids"], attention_mask=batch["mask"].long(), labels=batch["labels"],
        pixel_values=model.normalise_pixels(pixels),
    )  # fmt: skip
    torch.testing.assert_close(losses.mean(), theirs.loss.double(), rtol=1e-6, atol=1e-6)
    assert owner.tolist() == [0, 0, 1, 1, 1, 2, 2]  # each answer's words and its end
    for row, (asked, said, picture) in enumerate(rows):  # padding and neighbours change nothing
        alone = batch_of(model, [(asked, said, picture)])
        own = pixels[[0, 0, 1][row]][None] if picture else pixels[:0]
        single, _ = model.token_losses(**alone, seen=model.see(own) if picture else torch.empty(0))
        torch.testing.assert_close(single, losses[owner == row])


def test_a_picture_is_seen_where_its_tokens_stand() -> None:
    model = tiny().double()
    batch = batch_of(model, [("what?", "red", True), ("what?", "red", True)])
    pixels = pixels_of(encoder("clip"), 2)
    both, _ = model.token_losses(**batch, seen=model.see(pixels))
    other, _ = model.token_losses(**batch, seen=model.see(pixels.flip(0)))
    assert not torch.allclose(both[:2], both[2:])
    torch.testing.assert_close(other, both.view(2, 2).flip(0).flatten())


@pytest.mark.parametrize("kind", ["clip", "resnet"])
def test_answers_alone_and_in_a_batch(kind: str) -> None:
    """Prompts of different lengths, with pictures and without: padding must not show."""
    model, pixels = tiny(kind), pixels_of(encoder(kind), 2)
    other = torch.randn(model.llava.lm_head.weight.shape, generator=torch.Generator().manual_seed(1))
    model.llava.lm_head.weight = torch.nn.Parameter(other)  # words of its own, so that answers differ
    shown = [True, False, True]
    together = model.answer(QUESTIONS, pixels, shown, 6)
    alone = [
        model.answer([question], pixels[[place]] if picture else None, [picture], 6)[0]
        for question, picture, place in zip(QUESTIONS, shown, (0, 0, 1), strict=True)
    ]
    assert together == alone and len(set(together)) > 1
    assert "<image>" not in " ".join(together)


def test_greedy_without_a_cache_says_the_same() -> None:
    model, pixels = tiny(), pixels_of(encoder("clip"), 1)
    said = model.answer(QUESTIONS[:1], pixels, [True], 5)[0]
    ids = model.coder.prompt(QUESTIONS[0], True)
    start = len(ids)
    for _ in range(5):
        with torch.no_grad():
            scores = model.llava(input_ids=torch.tensor([ids]), pixel_values=model.normalise_pixels(pixels)).logits
        scores[..., model.coder.image_id] = -torch.inf
        ids.append(int(scores[0, -1].argmax()))
        if ids[-1] == model.tokenizer.eos_token_id:
            break
    assert model.tokenizer.decode(ids[start:], skip_special_tokens=True).strip() == said


@pytest.mark.parametrize("kind", ["clip", "resnet", "blind"])
def test_saved_and_opened_again(kind: str, tmp_path: Path) -> None:
    model = create_vlm(None if kind == "blind" else encoder(kind), "petri-lm-tiny", name="mine", seed=3)
    save_vlm(model, tmp_path)
    again = load_vlm(tmp_path)
    assert again.name == "mine" and again.preprocess == model.preprocess and not again.training
    assert again.fingerprint() == model.fingerprint() and again.image_tokens == model.image_tokens
    assert again.llava.lm_head.weight is again.llava.get_input_embeddings().weight  # tied, as they were
    with torch.no_grad():
        again.connector.linear_1.weight += 1e-3
    assert again.fingerprint() != model.fingerprint()


def test_a_tower_of_transformers_own_needs_nothing_of_ours(tmp_path: Path) -> None:
    model, pixels = tiny(), pixels_of(encoder("clip"), 1)
    save_vlm(model, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert config["model_type"] == "llava" and config["vision_config"]["model_type"] == "clip_vision_model"
    assert "clipdistill" not in json.dumps(config)
    opened, processor = LlavaForConditionalGeneration.from_pretrained(tmp_path), AutoProcessor.from_pretrained(tmp_path)
    turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTIONS[0]}]}
    text = processor.apply_chat_template([turn], add_generation_prompt=True)
    picture = Image.fromarray(pixels[0].permute(1, 2, 0).numpy())
    given = processor(images=picture, text=text, return_tensors="pt")
    assert given["input_ids"][0].tolist() == model.coder.prompt(QUESTIONS[0], True)
    said = opened.generate(**given, max_new_tokens=4)[:, given["input_ids"].shape[1] :]
    assert (
        processor.batch_decode(said, skip_special_tokens=True)[0].strip()
        == (model.answer(QUESTIONS[:1], pixels, [True], 4)[0])
    )


def test_the_processor_makes_our_pixels_and_numbers(tmp_path: Path) -> None:
    model, pixels = tiny("resnet"), pixels_of(encoder("resnet"), 1)
    save_vlm(model, tmp_path)
    processor = AutoProcessor.from_pretrained(tmp_path)
    opened = LlavaForConditionalGeneration.from_pretrained(tmp_path)
    turns = [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "is it red?"}]},
        {"role": "assistant", "content": "no"},
        {"role": "user", "content": "how many?"},
        {"role": "assistant", "content": "two"},
    ]
    text = processor.apply_chat_template(turns)
    given = processor(images=Image.fromarray(pixels[0].permute(1, 2, 0).numpy()), text=text, return_tensors="pt")
    assert (
        given["input_ids"][0].tolist() == model.coder.conversation(("is it red?", "no", "how many?", "two"), True).ids
    )
    np.testing.assert_allclose(given["pixel_values"], model.normalise_pixels(pixels), atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(opened(**given).logits, model.llava(**given).logits)


def test_any_causal_language_model_by_its_folder(tmp_path: Path) -> None:
    """One whose vocabulary is full: `<image>` gets a row, and nothing else changes."""
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    words = petri_words()
    words_without = len(words)
    config = GPTNeoXConfig(
        vocab_size=words_without, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=64,
    )  # fmt: skip
    GPTNeoXForCausalLM(config).save_pretrained(tmp_path)
    content = words.backend_tokenizer.to_str().replace("<image>", "<other>")
    words.save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_text(content, encoding="utf-8")
    settings = (tmp_path / "tokenizer_config.json").read_text(encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text(settings.replace("<image>", "<other>"), encoding="utf-8")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path)
    model = create_vlm(encoder("clip"), str(tmp_path), seed=0)
    old, new = plain.get_input_embeddings().weight, model.llava.get_input_embeddings().weight
    assert model.coder.image_id == words_without and len(new) == words_without + 1
    assert torch.equal(new[:-1], old) and torch.allclose(new[-1], old.mean(dim=0))
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        torch.testing.assert_close(model.llava(input_ids=ids).logits[..., :-1], plain(input_ids=ids).logits)
    with pytest.raises(UserError, match=r"`task.max_tokens` is 65, and 'vlm' has 64 positions"):
        model.require_positions(65, "task.max_tokens")


def test_put_together_by_name() -> None:
    one = start_vlm("vlm:random:petri-student+petri-lm-tiny", seed=1)
    same, other = (start_vlm("vlm:random:petri-student+petri-lm-tiny", seed=seed) for seed in (1, 2))
    assert one.fingerprint() == same.fingerprint() != other.fingerprint()
    trained = start_vlm("vlm:petri-teacher-small+petri-lm-tiny", seed=1)
    assert trained.image_tokens == 4 and trained.name == "vlm:petri-teacher-small+petri-lm-tiny"
    assert start_vlm("vlm:drop-first:petri-teacher-small+petri-lm-tiny", seed=1).image_tokens == 3
    assert start_vlm("vlm:blind+petri-lm-tiny", seed=1).image_tokens == 1


@pytest.mark.parametrize(
    ("name", "pieces"),
    [
        ("vlm:petri-student", ["name an image tower and a language model"]),
        ("vlm:petri-student+petri-lm", ["random weights", "random:petri-student"]),
        ("vlm:blind+petri-ml", ["'petri-ml'", "can't be opened", "petri-lm"]),
        ("vlm:blind+./nowhere", ["'./nowhere'", "no such folder"]),
        ("vlm:nothing-like-it+petri-lm", ["nothing-like-it"]),
    ],
)
def test_a_wrong_name_in_one_line(name: str, pieces: list[str]) -> None:
    with pytest.raises(UserError) as said:
        start_vlm(name, seed=0)
    assert all(piece in str(said.value) for piece in pieces), said.value
    assert "\n" not in str(said.value)


def test_a_folder_that_is_damaged_in_one_line(tmp_path: Path) -> None:
    save_vlm(tiny(), tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match="can't be read as a VLM") as said:
        load_vlm(tmp_path)
    assert "\n" not in str(said.value)
    with pytest.raises(UserError, match="its connector is new"):
        load_vlm("vlm:blind+petri-lm")


def test_a_processor_that_counts_otherwise_is_refused() -> None:
    model = tiny("resnet")
    model.llava.config.vision_config.patch_size = 16
    with pytest.raises(ValueError, match="counts 16 tokens a picture, and the tower gives 4"):
        make_processor(model)


def test_before_its_training_a_vlm_was_its_towers_clip() -> None:
    kind = KINDS["vlm"]
    assert kind.before(ModelSpec(model="vlm:blind+petri-lm-tiny"), 0) is None
    assert kind.before(ModelSpec(model="vlm:petri-teacher-small+petri-lm-tiny"), 0).name == "petri-teacher-small"
    drawn = [kind.before(ModelSpec(model="vlm:random:petri-student+petri-lm-tiny"), seed) for seed in (1, 1, 2)]
    weights = [next(each.clip.visual.parameters()) for each in drawn]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    # The same tower that the VLM of that seed sees through.
    vlm = kind.new(ModelSpec(model="vlm:random:petri-student+petri-lm-tiny"), 2)
    inside = dict(vlm.named_parameters())
    assert any(torch.equal(weights[2], value) for value in inside.values())
