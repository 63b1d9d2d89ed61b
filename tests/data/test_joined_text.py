"""What a dual encoder reads of a question and its options: joined, the last part, or a statement; words keep places."""

from __future__ import annotations

import pytest

from clipdistill.data.joined_text import READ_AS, Joined, joined, last_part, statement
from clipdistill.data.keywords import words_of
from clipdistill.data.question_texts import PARTS, Parts
from clipdistill.data.tagged_text import TaggedText, tagged_text

OBJECTS = ("person", "person", "dog")


def parts(question: str, answer: str, rationale: str = "") -> Parts:
    """Parts of texts in which 0, 1 and 2 are tags."""
    texts = {"question": question, "answer": answer, "rationale": rationale}
    return {
        name: tagged_text([[int(word)] if word.isdigit() else word for word in text.split()], OBJECTS)
        for name, text in texts.items()
        if text
    }


def words_where_they_say(text: Joined, read: Parts) -> int:
    """How many words say where they stand, each of which must stand there."""
    count = 0
    for word in words_of(text.plain):
        place = text.place(word)
        if place is not None:
            part, start, end = place
            assert read[PARTS[part]].text[start:end].lower() == word.text.lower(), (text.text, word)
            count += 1
    return count


def test_parts_stand_one_behind_the_other_and_words_know_their_own() -> None:
    read = parts("Why is 0 's well-known dog sad ?", "It is n't 🙂 yellow-red .")
    text = joined(read)
    assert text.text == "Why is Casey's well-known dog sad? It isn't 🙂 yellow-red."
    assert text.plain == text.text.replace("Casey", "casey")
    assert words_where_they_say(text, read) == len(words_of(text.plain))


def test_the_last_part_alone_keeps_its_places() -> None:
    read = parts("Where is 0 ?", "He is in 1 's house .", "1 opens the door .")
    text = last_part(read)
    assert text.text == "Riley opens the door." and words_where_they_say(text, read) == 5


@pytest.mark.parametrize(
    ("question", "answer", "said"),
    [
        ("What is behind 0 , the red star ?", "he is on sand .", "the red star is on sand."),
        ("What is behind 0 , the red star ?", "0 is on sand .", "the red star is on sand."),
        ("What is behind 0 , the red star ?", "0 , the red star , is on sand .", "the red star is on sand."),
        ("What is behind 0 , the red star ?", "he , the red star , is on sand .", "the red star is on sand."),
        ("What is 0 doing ?", "She is eating .", "a person is eating."),
        ("What is 0 doing ?", "0 is eating .", "a person is eating."),
        ("What is 2 doing ?", "It is eating .", "dog is eating."),
        ("Who is with 1 , the nurse , and 2 ?", "2 is .", "dog is."),  # the object that the answer names
        ("What is 0 doing ?", "1 is eating .", "Riley is eating."),  # which its question doesn't name
        ("What is 0 doing ?", "Eating with 1 .", "Eating with Riley."),
        ("What is 0 doing ?", "He , I think , eats", "a person eats"),
        ("What is 0 doing ?", "He sits , then eats .", "a person sits, then eats."),  # no name between commas
        ("Is it late ?", "It is .", "It is."),  # nothing is named
    ],
)
def test_a_statement_says_of_whom_its_question_speaks(question: str, answer: str, said: str) -> None:
    read = parts(question, answer)
    text = statement(read)
    assert text.text == said
    words_where_they_say(text, read)
    made_up = [word.text for word in words_of(text.plain) if text.place(word) is None]
    assert made_up == (["a", "person"] if said.startswith("a person") else [])


def test_a_reason_is_a_statement_behind_that_of_its_answer() -> None:
    read = parts("What shape is 0 , the red one ?", "he is a star .", "0 is large , and striped .")
    text = statement(read)
    assert text.text == "the red one is a star. the red one is large, and striped."
    assert words_where_they_say(text, read) == len(words_of(text.plain))


def test_a_planted_shortcut_isnt_in_a_statement() -> None:
    """How often an option repeats its question says which is right; statements repeat it all alike."""
    question, rest = "Whereabouts is 0 , the red star ?", "is at the top ."
    heads = ("he", "0", "she , the red star ,", "0 , the red star ,")
    assert len({statement(parts(question, f"{head} {rest}")).text for head in heads}) == 1


@pytest.mark.parametrize("read", ["caption", "hypothesis", "question"])
def test_texts_of_one_part_are_read_alike(read: str) -> None:
    one: Parts = {read: TaggedText("a red star.")}
    assert {found(one).text for found in READ_AS.values()} == {"a red star."}
