"""A rough reading of English captions: which words are things, what describes them, what is done. Word lists and rules.

It stands in for a part-of-speech tagger where a wrong word now and then costs little and a dependency would cost more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

DETERMINERS = frozenset(
    "a an the this that these those some another each every any no his her their its my our your one two three four "
    "five six seven eight nine ten eleven twelve several many few both other all lots".split()
)
ARTICLES = frozenset("a an the his her its their".split())
FUNCTION = frozenset(
    "about above across after against ahead along alongside amid among amongst and around as at away back before "
    "behind below beneath beside besides between beyond but by close despite down during facing for from how if in "
    "inside into like left near nearby next not of off on onto or out outside over past right so than then through "
    "throughout to together toward towards under underneath until up upon using via what when where which while who "
    "whom whose why with within without yet he she it they them him himself herself itself themselves i we us you me "
    "there here be been being is are was were am has have having had do does did can could will would may might must "
    "seem seems appear appears very too also just only more most less same something someone somebody nothing each's "
    "everyone others apart aside picture shows show see".split()
)
ADJECTIVES = frozenset(
    "red orange yellow green cyan blue purple pink brown white black grey gray gold golden silver beige tan maroon "
    "navy teal turquoise violet blond blonde colorful colourful multicolored dark light bright pale big small large "
    "little tiny huge giant tall short long wide narrow thick thin high low deep shallow heavy old young older "
    "younger elderly middle-aged new modern ancient adult teenage happy sad angry smiling busy crowded empty full "
    "open closed wet dry dirty clean muddy dusty sandy rocky grassy snowy snow-covered icy sunny cloudy rainy foggy "
    "hot cold warm cool fresh beautiful pretty cute handsome nice good bad bald bearded bare shirtless barefoot naked "
    "fluffy furry hairy smooth rough soft hard sharp flat round square striped spotted plaid checkered floral wooden "
    "metal metallic plastic stone concrete brick glass leather asian african american indian chinese japanese "
    "caucasian hispanic oriental male female fast slow quiet loud strong weak rich poor public private local foreign "
    "wild single double various different similar whole half front rear upper lower inner outer steep curvy fancy "
    "formal casual colored coloured lone numerous professional military traditional urban rural residential indoor "
    "outdoor".split()
)
# Verbs by their stem; the forms in -s, -es, -ed and -ing are made from it.
STEMS = (
    "act aim applaud approach argue arrive ask attack attempt bat bathe be beat begin bend bike bite blow board "
    "bounce bow bring brush build bump buy call carry carve cast catch celebrate chase chat check cheer chew clap "
    "clean climb close coach collect come compete conduct contain converse cook cover crawl cross crouch cry cut "
    "dance decorate demonstrate dig dine direct discuss display dive do drag draw dress drink drive eat embrace "
    "engage enjoy enter entertain examine exercise exit explore fall feature feed feel fight fill find finish fix "
    "float fold follow gather gaze gesture get give glance glide go grab greet grill grind grow guide hang have head "
    "help hike hit hold hop hug hurdle inspect interact jog join juggle jump kayak keep kick kiss kneel laugh launch "
    "lay lead leap lean leave lick lie lift listen load look make march measure meet mix mount move mow navigate "
    "operate overlook paddle paint parade participate pass pedal peek peer perform pet photograph pick pitch place "
    "play point pose pour practice prepare present pretend protest pull push put race raft raise reach read receive "
    "relax repair rest ride roll row run sail saw scale scream search seat sell serve sew shake shave shoot shop "
    "shovel sing sit skate ski skip slam sled sleep slide smell smile smoke sniff snowboard spar speak spin splash "
    "spray spread squat stack stand stare start stick stop stretch stroll strum study surf surround swim swing tackle "
    "take talk taste teach tend throw tie toss touch travel try tug tumble turn twirl type use view visit wade wait "
    "walk wander wash watch wave wear weld wheel work wrestle write yell".split()
)
NOT_VERBS = frozenset(
    "building clothing railing ceiling wedding king ring string evening morning thing spring wing swing painting "
    "sling earring sibling duckling railings buildings awning lettering siding bedding crossing opening something "
    "anything everything nothing sing bring bed seed weed shed sled red reed feed speed breed saws bats bows boards "
    "presents scales heads views wheels".split()
)
NOT_ADVERBS = frozenset(
    "family butterfly fly jelly belly bully lily curly ugly elderly lively friendly assembly".split()
)

_VOWEL = re.compile(r"(?!(?:uni|use|usu|eu|one|once)[a-z]*)(?:[aeiou]|hour|honest)", re.IGNORECASE)


def _forms(stem: str) -> set[str]:
    end = stem[:-1] if stem.endswith("e") else stem
    found = {f"{stem}s", f"{stem}es", f"{end}ing", f"{end}ed", f"{stem}{stem[-1]}ing", f"{stem}{stem[-1]}ed"}
    return found | ({f"{stem[:-1]}ies", f"{stem[:-1]}ied"} if stem.endswith("y") else set())


VERBS = frozenset(form for stem in STEMS for form in _forms(stem)) - NOT_VERBS | frozenset(
    "sat stood ran held wore rode flew made took went came sung drawn lying dying tied seen shown taken stands sit "
    "stand walk play look watch ride wait hold talk wear run smile pose jump perform work swim dance sing throw catch "
    "drive climb eat drink carry push pull dressed seated filled covered surrounded decorated dribbling kneels "
    "leading fallen thrown written broken worn ridden driven eaten given built lit".split()
)


@dataclass(frozen=True)
class Phrase:
    """A thing and what describes it: parts [start, stop), its last word at `head`, adjectives at `modifiers`."""

    start: int
    stop: int
    head: int
    modifiers: tuple[int, ...]


@dataclass(frozen=True)
class Reading:
    """A caption as parts (words and what lies between them in turn; joined they are the caption) and what they are."""

    parts: list[str]
    words: list[int]
    phrases: list[Phrase]
    verbs: list[int]
    adverbs: list[int]


def read_caption(caption: str) -> Reading:
    """Find the noun phrases, verbs and adverbs of a caption. A pure function of it."""
    parts = re.findall(r"\w+(?:[-'’]\w+)*|(?:(?!\w).)+", caption, re.DOTALL)
    words = [i for i, part in enumerate(parts) if part[0].isalnum()]
    tags = {i: _tag(parts[i].lower()) for i in words}
    phrases: list[Phrase] = []
    run: list[int] = []
    verbs = []
    for at, i in enumerate(words):
        gap = parts[words[at - 1] + 1 : i] if at else []
        if run and "".join(gap).strip():
            run = _close(run, tags, phrases)  # a mark ends a phrase
        tag = tags[i]
        if tag == "verb" and run and tags[run[-1]] in ("determiner", "adjective"):
            following = tags.get(words[at + 1], "") if at + 1 < len(words) else ""
            if following in ("thing", "adjective"):
                tags[i] = tag = "adjective"  # "a running dog", "a parked car": before its noun it describes
            elif parts[run[-1]].lower() in ARTICLES:
                tags[i] = tag = "thing"  # "a drink", "the race"
        if tag == "determiner":
            run = [*_close(run, tags, phrases), i]
        elif tag in ("thing", "adjective"):
            run.append(i)
        else:
            run = _close(run, tags, phrases)
            if tag == "verb":
                verbs.append(i)
    _close(run, tags, phrases)
    return Reading(parts, words, phrases, verbs, [i for i in words if tags[i] == "adverb"])


def _tag(word: str) -> str:
    if word in DETERMINERS or word.isdigit():
        return "determiner"
    if word in FUNCTION:
        return "function"
    if word in ADJECTIVES:
        return "adjective"
    if word in VERBS or (word.endswith("ing") and len(word) > 4 and word not in NOT_VERBS):
        return "verb"
    if word.endswith("ed") and len(word) > 4:
        return "adjective"  # "hooded"
    if word.endswith("ly") and len(word) > 4 and word not in NOT_ADVERBS:
        return "adverb"
    return "thing"


def _close(run: list[int], tags: dict[int, str], phrases: list[Phrase]) -> list[int]:
    """Add the phrase that `run` makes, if it ends in a thing; return an empty run."""
    if run and tags[run[0]] == "determiner" and all(tags[i] == "adjective" for i in run[1:]) and len(run) > 1:
        tags[run[-1]] = "thing"  # "a blue square", "the elderly"
    while run and tags[run[-1]] == "adjective":
        run = run[:-1]  # "a man in red": no thing to describe
    if run and tags[run[-1]] == "thing":
        modifiers = tuple(i for i in run[:-1] if tags[i] == "adjective")
        phrases.append(Phrase(run[0], run[-1] + 1, run[-1], modifiers))
    return []


def article(word: str) -> str:
    """ "an" before what sounds like a vowel, else "a"."""
    return "an" if _VOWEL.match(word) else "a"


def with_articles(parts: list[str]) -> str:
    """Join parts with "a" or "an" as the word behind each wants it, and a capital where the caption begins with one."""
    found = list(parts)
    for i in range(len(found) - 2):
        if found[i].lower() in ("a", "an"):
            wanted = article(found[i + 2])
            found[i] = wanted.capitalize() if found[i][0].isupper() else wanted
    return "".join(found)
