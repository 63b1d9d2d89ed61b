"""The language model of a VLM: any causal one of transformers', or a small new one over the petri world's words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from clipdistill.errors import UserError, nearest
from clipdistill.models.named import PETRI_WORDPIECE
from clipdistill.models.vlm_names import NEW_LANGUAGE_MODELS as NAMED

IMAGE = "<image>"
"""The token that stands where a picture is shown."""
POSITIONS = 512
_MORE_WORDS = (
    "user assistant a chat between curious artificial intelligence the gives helpful detailed and polite answers to "
    "question questions using single word or phrase please answer describe briefly in short what do you see"
)
"""What questions are asked with, beside the world's words."""


def open_language_model(name: str, seed: int | None = None) -> tuple[Any, Any]:
    """A causal language model and its tokenizer, with `IMAGE` among the tokens and weights in float32.

    Args:
        name: one of `NEW_LANGUAGE_MODELS` (weights drawn from the seed), a folder in transformers' layout, or a name on
            the hub.

    Raises:
        UserError: it isn't there, isn't a causal language model, or has no mark for the end of an answer.
    """
    model, tokenizer = _made(name, seed) if name in NAMED else _opened(name)
    if tokenizer.eos_token_id is None:
        raise UserError(f"language model '{name}': its tokenizer has no end-of-text token, so no answer would ever end")
    if IMAGE not in tokenizer.get_vocab():
        tokenizer.add_tokens([IMAGE], special_tokens=True)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    _grow(model, len(tokenizer))
    return model, tokenizer


def _grow(model: Any, words: int) -> None:
    """Make room for new tokens: rows that are the mean of the others, which are never read and seldom said."""
    there = model.get_input_embeddings().weight.shape[0]
    if words <= there:
        return
    model.resize_token_embeddings(words, mean_resizing=False)
    with torch.no_grad():
        for part in (model.get_input_embeddings(), model.get_output_embeddings()):
            part.weight[there:] = part.weight[:there].mean(dim=0)


def _made(name: str, seed: int | None) -> tuple[Any, Any]:
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = petri_words()
    sizes = NAMED[name]
    config = LlamaConfig(
        vocab_size=len(tokenizer), max_position_embeddings=POSITIONS, tie_word_embeddings=True,
        # 0.02 is made for wider models
        initializer_range=0.5 / sizes["hidden_size"] ** 0.5, pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None, eos_token_id=tokenizer.eos_token_id, **sizes,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        if seed is not None:
            torch.manual_seed(seed)
        return LlamaForCausalLM(config).eval(), tokenizer


def petri_words() -> Any:
    """A tokenizer whose tokens are words of the petri world and of those who ask about it, in lower case."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    marks = ["<pad>", "<unk>", "</s>", IMAGE]
    lines = (PETRI_WORDPIECE / "vocab.txt").read_text(encoding="utf-8").split("\n")
    words = [one for one in lines if one and not one.startswith(("##", "["))]
    words += [one for one in _MORE_WORDS.split() if one not in words]
    table = {word: number for number, word in enumerate(dict.fromkeys([*marks, *words]))}
    inner = Tokenizer(models.WordLevel(table, unk_token="<unk>"))
    inner.normalizer = normalizers.Lowercase()
    inner.pre_tokenizer = pre_tokenizers.Split(Regex(r"\w+|[^\w\s]"), behavior="removed", invert=True)
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", unk_token="<unk>", eos_token="</s>",
        additional_special_tokens=[IMAGE], model_max_length=POSITIONS, clean_up_tokenization_spaces=False,
    )  # fmt: skip


def _opened(name: str) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from clipdistill.models.quiet import quiet

    advice = f"`hf download {name}` fetches one of the hub, or give a folder"
    if name.startswith((".", "/", "~")) and not Path(name).expanduser().is_dir():
        raise UserError(f"language model '{name}': there is no such folder")
    place = str(Path(name).expanduser()) if Path(name).expanduser().is_dir() else name
    try:
        with quiet():
            model = AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32)
            tokenizer = AutoTokenizer.from_pretrained(place)
    except (OSError, ValueError, KeyError) as error:
        if "/" not in name:
            advice += f"; new ones are {', '.join(NAMED)}.{nearest(name, NAMED)}".rstrip(".")
        line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"language model '{name}': can't be opened ({line[:160]}); {advice}") from error
    return model.eval(), tokenizer
