"""Shortcut-mitigated VCR by rule (SM): right answers lose the question's tag, wrong answers get it.

Source: "A case study of the shortcut effects in visual commonsense reasoning" (2021), its rules Rule-Singular and
Rule-Plural. Both are applied to what is measured, never to training data. Answers and rationales are treated alike,
against the question's persons.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from clipdistill.mitigate.vcr_files import LISTS, Change, Outcome, Record, Token, labelled

PERSON = "person"
HE, SHE = ("he", "his", "him"), ("she", "her", "hers")
UNLABELLED = "it has no labels"
Edit = tuple[list[Token], str] | None
"""The new tokens of an option and why, one for one; None = it stays."""


def singular(one: str, record: Record) -> Outcome:
    """Rule-Singular, for a question that mentions exactly one person, whatever else it mentions.

    An option is changed only if its distinct persons and its distinct pronouns among he and she are together exactly
    one. Wrong options: their person's own tag list, or he / she / He / She, becomes the question's person. Right
    options: their person's tag list becomes "he" or "she" ("He", "She" as the first token), by what `gender` finds.

    Left as they are: a right option with a pronoun; groups ([0, 1]) and lists of a person with things; possessives;
    and a wrong option that has the question's tag already.
    """
    persons = _persons(record["question"], record)
    if len(persons) != 1:
        return Outcome(None, why=f"its question mentions {len(persons) or 'no'} persons, not one")
    return _changed(one, record, lambda option, right: _singular(option, right, sorted(persons), record))


def plural(one: str, record: Record) -> Outcome:
    """Rule-Plural, for a question whose only tag list is a group of two or more, all persons.

    An option qualifies if it has one such group and no other tag list, or has they / They. Wrong options: group and
    they / They become the question's group, sorted. Right options: the group becomes "they" / "They". An option's
    group is sorted before it is compared, so a token whose numbers aren't in order is left as it is.
    """
    group = _group(record["question"], record)
    if group is None:
        return Outcome(None, why="its question isn't about one group of persons")
    return _changed(one, record, lambda option, right: _plural(option, right, group, record))


def either(one: str, record: Record) -> Outcome:
    """Rule-Singular and Rule-Plural together (their questions are disjoint): the default, which CLIP-TD leaves open."""
    if len(_persons(record["question"], record)) == 1:
        return singular(one, record)
    found = plural(one, record)
    return found if found.record is not None or found.why == UNLABELLED else replace(
        found, why="its question is about neither one person nor one group of persons"
    )  # fmt: skip


def gender(option: Sequence[Token], question: Sequence[Token]) -> str:
    """ "he" or "she": by the pronouns (he his him, she her hers) of the option; on a tie the question's count too; then
    "he"."""
    for tokens in (list(option), [*option, *question]):
        words = [token.lower() for token in tokens if isinstance(token, str)]
        his, hers = (sum(word in forms for word in words) for forms in (HE, SHE))
        if his != hers:
            return "he" if his > hers else "she"
    return "he"


def _changed(one: str, record: Record, edit: Callable[[list[Token], bool], Edit]) -> Outcome:
    if not labelled(record):
        return Outcome(None, why=UNLABELLED)
    made, changes = dict(record), []
    for name, label in LISTS.items():
        options: list[list[Token]] = []
        for number, option in enumerate(record[name]):
            edited = edit(option, number == record[label])
            new, why = edited if edited is not None else (option, "")
            options.append(new)
            changes += [
                Change(one, name, number, position, [before], [after], why)
                for position, (before, after) in enumerate(zip(option, new, strict=True)) if before != after
            ]  # fmt: skip
        made[name] = options
    return Outcome(made, changes)


def _singular(option: list[Token], right: bool, person: list[int], record: Record) -> Edit:
    own = sorted(_persons(option, record))
    pronouns = {token.lower() for token in option if isinstance(token, str) and token.lower() in ("he", "she")}
    if len(own) + len(pronouns) != 1:
        return None
    if right:
        pronoun = gender(option, record["question"])
        return [
            _cased(pronoun, place) if token == own else token for place, token in enumerate(option)
        ], "right: pronoun"

    def is_person(token: Token) -> bool:
        return token in ("he", "she", "He", "She") if isinstance(token, str) else token == own

    return [list(person) if is_person(token) else token for token in option], "wrong: the question's person"


def _plural(option: list[Token], right: bool, group: list[int], record: Record) -> Edit:
    own = _group(option, record)
    they = any(token in ("they", "They") for token in option)
    if own is None and not they:
        return None
    if right:
        new = [_cased("they", place) if token == own else token for place, token in enumerate(option)]
        return new, "right: they"
    return (
        [list(group) if token == own or token in ("they", "They") else token for token in option],
        "wrong: the question's group",
    )


def _tag_lists(tokens: Sequence[Token]) -> Iterator[list[int]]:
    return (token for token in tokens if isinstance(token, list))


def _persons(tokens: Sequence[Token], record: Record) -> set[int]:
    return {tag for tags in _tag_lists(tokens) for tag in tags if _is_person(tag, record)}


def _group(tokens: Sequence[Token], record: Record) -> list[int] | None:
    """The only tag list, sorted, if it is a group of persons."""
    lists = list(_tag_lists(tokens))
    if len(lists) != 1 or len(lists[0]) < 2 or not all(_is_person(tag, record) for tag in lists[0]):
        return None
    return sorted(lists[0])


def _is_person(tag: int, record: Record) -> bool:
    return tag < len(record["objects"]) and record["objects"][tag] == PERSON  # a masked tag names nobody


def _cased(word: str, place: int) -> str:
    return word.capitalize() if place == 0 else word
