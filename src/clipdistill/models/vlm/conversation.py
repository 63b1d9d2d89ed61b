"""From a conversation to token numbers: who says what, where the picture stands, and what is learnt from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

IGNORED = -100
"""Label of what isn't learnt, as in transformers."""
SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    "and polite answers to the user's questions."
)
"""Vicuna's, which LLaVA 1.5 and TinyLLaVA open every conversation with."""
Style = Literal["chat", "plain"]
"""How conversations are laid out. chat: SYSTEM, then "USER: question ASSISTANT: answer" and the end-of-text token, turn
by turn. plain: the picture and the answer, nothing of the question (LLaVA's first stage)."""

CHAT_TEMPLATE = (
    "{% if messages and messages[0]['role'] == 'system' %}"
    "{{ messages[0]['content'] if messages[0]['content'] is string else messages[0]['content'][0]['text'] }} "
    "{% else %}" + SYSTEM + " {% endif %}"
    "{% for message in messages %}{% if message['role'] != 'system' %}"
    "{{ 'USER: ' if message['role'] == 'user' else 'ASSISTANT: ' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] if part['type'] == 'image' %}{{ '<image>\n' }}{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}{% endif %}"
    "{{ ' ' if message['role'] == 'user' else eos_token }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
"""The same for transformers' `processor.apply_chat_template`."""


@dataclass(frozen=True)
class Coded:
    """Token numbers of a conversation, and of each what is learnt there: its own number, or `IGNORED`."""

    ids: list[int]
    labels: list[int]

    def cut(self, most: int) -> Coded:
        """Its first `most` tokens."""
        return self if len(self.ids) <= most else Coded(self.ids[:most], self.labels[:most])


class ConversationCoder:
    """Lays conversations out as one model reads them; small, so that it can be sent to a loader's workers.

    Texts on both sides of a picture and of the point where an answer begins are tokenised by themselves, so a question
    has the same numbers in training and when it is asked.

    Args:
        tokenizer: of transformers'. image_id: the number of `<image>`. image_tokens: how many stand for a picture.
    """

    def __init__(self, tokenizer: Any, image_id: int, image_tokens: int) -> None:
        self.tokenizer, self.image_id, self.image_tokens = tokenizer, image_id, image_tokens
        plain = self._numbers(["a"])[0]
        whole = list(tokenizer("a")["input_ids"])
        self.start = whole[: -len(plain)] if whole[-len(plain) :] == plain else []
        """What the tokenizer puts in front of every text (a begin-of-text token), if anything."""

    def key(self) -> tuple[Any, ...]:
        """Equal keys mean that every conversation gets equal numbers."""
        return self.image_id, self.image_tokens, self.tokenizer.backend_tokenizer.to_str()

    def conversation(self, turns: Sequence[str], picture: bool, style: Style = "chat") -> Coded:
        """Code a conversation to learn from.

        Args:
            turns: question, answer, question, answer, ...; without `<image>`. picture: whether it is about one, which
                then stands before the first question.
        """
        pieces: list[list[str | None]] = []
        learnt: list[str] = []
        for number in range(0, len(turns), 2):
            pieces.append(self._asked(turns[number], picture and number == 0, number == 0, style))
            learnt.append(f"{turns[number + 1]}\n" if style == "plain" else f" {turns[number + 1]}")
        # One call for all of them: the tokenizer's own work is a fraction of what a call costs.
        coded = iter(
            self._numbers([text for asked, said in zip(pieces, learnt, strict=True) for text in [*asked, said]])
        )
        end = [] if style == "plain" else [self.tokenizer.eos_token_id]
        ids, labels = list(self.start), [IGNORED] * len(self.start)
        for asked in pieces:
            before = [number for _ in asked for number in next(coded)]
            said = next(coded) + end
            ids += before + said
            labels += [IGNORED] * len(before) + said
        return Coded(ids, labels)

    def prompt(self, question: str, picture: bool) -> list[int]:
        """Code a question, up to where its answer begins."""
        asked = self._numbers(self._asked(question, picture, True, "chat"))
        return self.start + [number for piece in asked for number in piece]

    def _asked(self, question: str, picture: bool, first: bool, style: Style) -> list[str | None]:
        """What comes before an answer, in pieces that are tokenised by themselves; None is the picture."""
        if style == "plain":
            return [None] if picture else []
        head = f"{SYSTEM} USER: " if first else "USER: "
        if not picture:
            return [f"{head}{question} ASSISTANT:"]
        return [head, None, f"\n{question} ASSISTANT:"]

    def _numbers(self, pieces: Sequence[str | None]) -> list[list[int]]:
        texts = [piece for piece in pieces if piece is not None]
        coded = iter(self.tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else [])
        return [[self.image_id] * self.image_tokens if piece is None else list(next(coded)) for piece in pieces]
