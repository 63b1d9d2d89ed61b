"""Train the petri tokenizer: CLIP's byte-level BPE with a vocabulary as small as the petri world's language."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from clipdistill.files import write_json, write_text
from clipdistill.petri.captions import captions
from clipdistill.petri.scenes import SceneRules
from clipdistill.petri.splits import split_scenes
from clipdistill.petri.vocabulary import BACKGROUNDS, COLOURS, PATTERNS, SHAPES, SIZES

START, END, PAD = "<|startoftext|>", "<|endoftext|>", "<|pad|>"
SUFFIX = "</w>"
CONTEXT_LENGTH = 32  # no petri caption is longer than 30 tokens, the two special ones included
_SCENES = 1500
# Words of questions and prompts about petri pictures, so that they too are one token each.
_OTHER_WORDS = (
    "what which where how many color colour size pattern shape shapes object objects is are there does it not no yes "
    "same different than between next near behind front of both each other most least photo image drawing sketch night"
)
# CLIP's own way of cutting a text into words, which `transformers.CLIPTokenizer` applies whatever the files say.
_WORDS = r"""<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""


def corpus() -> Iterator[str]:
    """Yield the texts the tokenizer is trained on: petri training captions, and the words of prompts and questions."""
    for scene in split_scenes(SceneRules(), 0, "train", _SCENES):
        yield from captions(scene)
    words = [*SHAPES, *COLOURS, *SIZES, *PATTERNS, *BACKGROUNDS]
    for word in words * 20 + _OTHER_WORDS.split() * 5:
        yield f"a photo of a {word}. an image of the {word}."


def train_tokenizer(folder: str | Path) -> list[str]:
    """Write the petri tokenizer into `folder` and return the names of its files.

    A byte-level BPE (lower case, "</w>" ends a word) in CLIP's layout, opened by `transformers.CLIPTokenizer` and
    `AutoTokenizer`. Ids: 0 is the padding, 1-512 the bytes within and at the end of a word (so any text at all can be
    encoded), then one id for every merge, and last <|startoftext|> = V - 2 and <|endoftext|> = V - 1: open_clip and
    transformers find a text's feature at the highest id. Every word of the petri world is one token.

    The same bytes come out on every machine: the merges are counted here, in a fixed order.
    """
    folder = Path(folder)
    letters = _byte_letters()
    merges = _merges(_word_counts(corpus(), letters))
    tokens = [PAD, *letters, *(letter + SUFFIX for letter in letters), *(a + b for a, b in merges), START, END]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    assert len(vocabulary) == len(tokens), "a merge gave a token that was there already"
    write_text(folder / "vocab.json", json.dumps(vocabulary, ensure_ascii=False) + "\n")
    write_text(folder / "merges.txt", "#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": PAD}
    write_json(folder / "special_tokens_map.json", special)
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "CLIPTokenizer",
            **special,
            "do_lower_case": True,
            "errors": "replace",
            "add_prefix_space": False,
            "model_max_length": CONTEXT_LENGTH,
        },
    )
    write_text(folder / "tokenizer.json", _fast(vocabulary, merges))
    return ["vocab.json", "merges.txt", "special_tokens_map.json", "tokenizer_config.json", "tokenizer.json"]


def _byte_letters() -> list[str]:
    """Return the 256 printable letters that stand for bytes 0-255 in every byte-level BPE since GPT-2.

    Printable Latin-1 bytes stand for themselves; the others, in order, take the code points from 256 on.
    """
    visible = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = [byte for byte in range(256) if byte not in visible]
    return [chr(byte) if byte in visible else chr(256 + others.index(byte)) for byte in range(256)]


def _word_counts(texts: Iterator[str], letters: list[str]) -> dict[tuple[str, ...], int]:
    import re

    counts: dict[tuple[str, ...], int] = {}
    for text in texts:
        for word in re.findall(r"[a-z]+|[^a-z\s]+", text):
            symbols = [letters[byte] for byte in word.encode()]
            symbols[-1] += SUFFIX
            counts[tuple(symbols)] = counts.get(tuple(symbols), 0) + 1
    return counts


def _merges(words: dict[tuple[str, ...], int]) -> list[tuple[str, str]]:
    """Return BPE merges, most frequent pair first (ties by spelling), until every word is one token."""
    merges: list[tuple[str, str]] = []
    while True:
        pairs: dict[tuple[str, str], int] = {}
        for word, count in words.items():
            for pair in zip(word, word[1:], strict=False):
                pairs[pair] = pairs.get(pair, 0) + count
        if not pairs:
            return merges
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        merged: dict[tuple[str, ...], int] = {}
        for word, count in words.items():
            new = _apply(word, best)
            merged[new] = merged.get(new, 0) + count
        words = merged


def _apply(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    out: list[str] = []
    for symbol in word:
        if out and (out[-1], symbol) == pair:
            out[-1] += symbol
        else:
            out.append(symbol)
    return tuple(out)


def _fast(vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> str:
    """Return tokenizer.json: the same tokenizer for readers that use the `tokenizers` library alone."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    fast = Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, unk_token=END, end_of_word_suffix=SUFFIX, fuse_unk=False)
    )
    fast.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    fast.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    fast.decoder = decoders.ByteLevel()
    fast.post_processor = processors.RobertaProcessing(
        (END, vocabulary[END]), (START, vocabulary[START]), trim_offsets=False, add_prefix_space=False
    )
    fast.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in (PAD, START, END)])
    return fast.to_str(pretty=True) + "\n"
