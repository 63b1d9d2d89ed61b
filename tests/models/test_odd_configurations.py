"""Values in open_clip_config.json that no model has: one line that names the file, and none that is taken silently."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from tiny_models import encoder

from clipdistill.errors import UserError
from clipdistill.export import save_student
from clipdistill.models import load_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("model")
    save_student(encoder("clip"), place)
    return place


def with_value(folder: Path, keys: str, value: Any, config: dict[str, Any]) -> None:
    content = copy.deepcopy(config)
    at = content
    *above, last = keys.split(".")
    for key in above:
        at = at[key]
    at[last] = value
    (folder / "open_clip_config.json").write_text(json.dumps(content))


@pytest.mark.parametrize("value", [5, -1, "x", [], {}, [1, 2, 3, 4], [0, 0, 0], [1, float("inf"), 1], True])
@pytest.mark.parametrize(
    "key",
    ["preprocess_cfg.std", "preprocess_cfg.mean", "preprocess_cfg.interpolation", "preprocess_cfg.resize_mode",
     "preprocess_cfg.fill_color", "preprocess_cfg", "model_cfg", "model_cfg.vision_cfg", "model_cfg.text_cfg",
     "model_cfg.embed_dim", "model_cfg.vision_cfg.layers", "model_cfg.text_cfg.context_length"],
)  # fmt: skip
def test_a_value_that_no_model_has(folder: Path, key: str, value: Any) -> None:
    config = json.loads((folder / "open_clip_config.json").read_text())
    fine = {
        "preprocess_cfg.mean": [[0, 0, 0]], "preprocess_cfg.fill_color": [5, True], "preprocess_cfg": [[], {}],
        "model_cfg.vision_cfg.layers": [5, True], "model_cfg.text_cfg.context_length": [5, True],
        "model_cfg.embed_dim": [5, True],
    }  # fmt: skip
    with_value(folder, key, value, config)
    try:
        if value in fine.get(key, []):
            return
        with pytest.raises(UserError, match="open_clip_config.json|tiny-clip") as error:
            load_model(str(folder))
        assert "\n" not in str(error.value) and len(str(error.value)) < 600
    finally:
        (folder / "open_clip_config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("value", [[], "x", {"name": []}, None])
def test_a_name_that_is_none_is_the_folders(folder: Path, value: Any) -> None:
    file = folder / "open_clip_config.json"
    whole = file.read_text()
    try:
        file.write_text(json.dumps({**json.loads(whole), "clipdistill": value}))
        assert load_model(folder).name == folder.name
    finally:
        file.write_text(whole)
