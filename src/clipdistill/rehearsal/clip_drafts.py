"""Dual encoders with random weights: open_clip's and our configurations, and what other recipes train."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from clipdistill.errors import UserError
from clipdistill.export.student import portable_config
from clipdistill.export.tokenizer_files import save_tokenizer
from clipdistill.files import write_json
from clipdistill.models import list_models
from clipdistill.models.building import build_clip
from clipdistill.models.hub import in_hub_cache
from clipdistill.models.loading import HUB, SHIPPED, assemble
from clipdistill.models.named import SHIPPED_TOKENIZER, WEIGHTS_FOLDER, model_config
from clipdistill.recipe_files import load_recipe, recipe_of_run
from clipdistill.rehearsal.drafts import Draft, fewer, there, unknown, weights_of
from clipdistill.rehearsal.words import write_words


def clip_draft(name: str, divide: int = 1, trained: bool = False) -> list[Draft]:
    """The model of a name, and the tokenizer that it needs where that isn't here.

    Args:
        divide: how many times fewer layers it gets, where it is one whose layers can be counted.

    Raises:
        UserError: nothing here says what shape it has.
    """
    if there(name) or (WEIGHTS_FOLDER / name.removesuffix(SHIPPED)).is_dir():
        return [Draft(name, 0)]
    config = _config(name)
    cfg = config["model_cfg"]
    words = _tokenizer(cfg["text_cfg"])
    if name.replace("/", "-") in list_models():  # by its plain name a model is drawn from the recipe's seed
        return [*words, Draft(name, weights_of(lambda: build_clip(_without_words(cfg), name)), None, trained)]
    smaller = 1
    if divide > 1 and "layers" in cfg["vision_cfg"] and isinstance(cfg["vision_cfg"]["layers"], int):
        for part in ("vision_cfg", "text_cfg"):
            cfg[part]["layers"] = fewer(cfg[part]["layers"], divide)
        smaller = divide
    count = weights_of(lambda: build_clip(_without_words(cfg), name))
    said = f"{name}: {smaller} times fewer layers than it has, for want of memory" if smaller > 1 else ""
    return [*words, Draft(name, count, lambda: _write(name, config), trained, said)]


def _config(name: str) -> dict[str, Any]:
    """What its `open_clip_config.json` will say."""
    if (recipe := recipe_of_run(name)) is not None:
        student = load_recipe(recipe).student.model
        if student is None:
            raise unknown(name, f"the run of {recipe}")
        return _config(student)
    if name.startswith(HUB):
        return _of_hub(name.removeprefix(HUB))
    import open_clip

    plain, _, tag = name.partition(":")
    config: dict[str, Any] = {"model_cfg": model_config(plain)}
    if not tag:
        return config
    pretrained = open_clip.get_pretrained_cfg(plain.replace("/", "-"), tag)
    if not pretrained:
        raise unknown(name, "its weights file")
    if pretrained.get("quick_gelu"):
        config["model_cfg"]["quick_gelu"] = True
    return config | {"preprocess_cfg": {key: value for key, value in dict(pretrained).items() if key in _PREPROCESS}}


_PREPROCESS = ("mean", "std", "interpolation", "resize_mode", "fill_color", "size", "mode")


def _of_hub(repository: str) -> dict[str, Any]:
    found = in_hub_cache(repository, "open_clip_config.json")
    if found is None:
        raise unknown(f"{HUB}{repository}", f"`hf download {repository} open_clip_config.json`")
    config: dict[str, Any] = json.loads(Path(found).read_text(encoding="utf-8"))
    return config


def _tokenizer(text: dict[str, Any]) -> list[Draft]:
    """A vocabulary of the published size, under its hub name, where the real one isn't here."""
    name = text.get("hf_tokenizer_name")
    if not name or name == SHIPPED_TOKENIZER or in_hub_cache(name, "tokenizer.json", "tokenizer_config.json"):
        return []
    count = int(text["vocab_size"])
    if there(name):
        return []
    note = f"{name}: a made-up vocabulary of as many tokens ({count:,}), for its own isn't on this machine"
    return [Draft(name, 0, lambda: write_words(Path(name), count), note=note)]


def _without_words(cfg: dict[str, Any]) -> dict[str, Any]:
    """The configuration as its weights are counted by."""
    return {**cfg, "text_cfg": {key: value for key, value in cfg["text_cfg"].items() if key != "hf_tokenizer_name"}}


def _write(name: str, config: dict[str, Any]) -> None:
    """open_clip's layout alone: that is what is read."""
    from safetensors.torch import save_file

    folder = Path(name.removeprefix(HUB))
    try:
        model = assemble(name, config)
    except UserError as error:
        raise UserError(f"rehearsal: {error}") from error
    folder.mkdir(parents=True, exist_ok=True)
    state = {key: value.contiguous().clone() for key, value in model.clip.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors", {"format": "pt"})
    if model.tokenizer.is_hugging_face:
        save_tokenizer(model.tokenizer, folder)
    write_json(folder / "open_clip_config.json", portable_config(model))
