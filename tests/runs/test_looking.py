"""A look at the data before a training: missing pictures all at once, captions that are cut or become one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clipdistill.data import Mixture, open_source
from clipdistill.errors import UserError
from clipdistill.models import create_model
from clipdistill.runs.looking import MOST_PICTURES, evenly, look_at

TOKENIZER = create_model("petri-tiny-student", seed=0).tokenizer


def mixture(folder: Path, captions: list[str], missing: int = 0) -> Mixture:
    folder.mkdir(exist_ok=True)
    rows = []
    for number, caption in enumerate(captions):
        rows.append(f'{number:03d}.png,"{caption}"')
        if number < len(captions) - missing:
            Image.new("RGB", (4, 4)).save(folder / f"{number:03d}.png")
    (folder / "t.csv").write_text("\n".join(["image,caption", *rows]))
    return Mixture([(open_source(str(folder / "t.csv")), None)])


def seen(data: Mixture, share: float = 0.01, tokenizer: Any = TOKENIZER) -> dict[str, str]:
    return dict(look_at(data, tokenizer, share))


def test_nothing_is_said_of_sound_data(tmp_path: Path) -> None:
    assert seen(mixture(tmp_path, ["a red disc", "a blue ring", "a red disc"])) == {}


def test_missing_pictures_are_named_all_at_once(tmp_path: Path) -> None:
    captions = [f"a red disc {number}" for number in range(40)]
    with pytest.raises(UserError) as error:
        seen(mixture(tmp_path / "few", captions, missing=15))
    assert "15 of 40 that were looked for aren't there: t/025.png, t/026.png" in str(error.value)
    assert str(error.value).endswith("t/039.png; more than data.max_bad_share = 0.01")
    with pytest.raises(UserError, match=r"t/015.png, .*t/034.png and 5 more; more than"):
        seen(mixture(tmp_path / "many", captions, missing=25))
    said = seen(mixture(tmp_path / "some", captions, missing=2), share=0.1)
    assert said["pictures"] == "2 of 40 that were looked for aren't there: t/038.png, t/039.png"


def test_captions_that_lose_words_or_become_one(tmp_path: Path) -> None:
    long = " ".join(["a red disc and a blue ring"] * 12)
    said = seen(mixture(tmp_path, [long, f"{long} and a green star", "a red disc", "a blue ring"]))
    tokens = TOKENIZER.context_length
    assert said["captions"] == (
        f"50 % of 4 fill the student's {tokens} tokens and lose what is behind; 1 become the same tokens as another one"
    )
    assert seen(mixture(tmp_path, [long]), tokenizer=None) == {}


def test_a_look_is_spread_over_all_of_the_data() -> None:
    rows = evenly(10 * MOST_PICTURES, MOST_PICTURES)
    assert len(np.unique(rows)) == MOST_PICTURES and rows[0] == 0 and rows[-1] == 10 * MOST_PICTURES - 1
    assert evenly(3, MOST_PICTURES).tolist() == [0, 1, 2]
