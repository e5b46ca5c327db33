"""Passages of the sample corpus: subjects, their facts, and sentences with known offsets."""

from __future__ import annotations

import random
import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from spanqa.data import Reference
from spanqa.synthetic_names import MONTHS, Names

ALIASES = {"date": "year", "distance": "length", "height": "length", "mass": "weight"}
"""Prefixes of slots whose values can be mistaken for each other."""
PRONOUNS = {"it": "It", "they": "They", "she": "She", "woman": "She", "man": "He"}
POSSESSIVES = {"woman": "Her", "man": "His"}
SLOT = re.compile(r"(?:\[(?P<before>[^\]]*)\])?{(?P<slot>\w+)}(?:\[(?P<after>[^\]]*)\])?")


@dataclass(frozen=True, slots=True)
class Ask:
    """Questions for one value of a fact."""

    type: str
    """Question type: "who", "when", "how many"..."""
    slot: str
    """Value asked for."""
    questions: tuple[str, ...]
    antonym: tuple[str, ...]
    negated: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fact:
    """What can be said of a subject, and asked."""

    say: tuple[str, ...]
    asks: tuple[Ask, ...]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of subject; `synthetic.toml` explains the templates."""

    name: str
    forms: tuple[str, ...]
    """How a subject of this kind is named."""
    noun: str
    pronoun: str
    years: tuple[int, int]
    """Range of the first year in a subject's history."""
    rival: tuple[str, ...]
    slots: dict[str, str | list[str]]
    """Lists and ranges that values are drawn from."""
    intro: Fact
    facts: tuple[Fact, ...]


@cache
def kinds() -> tuple[Kind, ...]:
    """Read the kinds of subject from `synthetic.toml`."""
    text = files("spanqa").joinpath("synthetic.toml").read_text(encoding="utf-8")
    return tuple(_kind(name, table) for name, table in tomllib.loads(text).items())


def _kind(name: str, table: dict[str, Any]) -> Kind:
    intro, *facts = (_fact(fact) for fact in table["fact"])
    return Kind(
        name=name,
        forms=tuple(table.get("name", ("{woman}", "{man}"))),
        noun=table["noun"],
        pronoun=table.get("pronoun", "it"),
        years=tuple(table["years"]),
        rival=tuple(table["rival"]),
        slots=table["slots"],
        intro=intro,
        facts=tuple(facts),
    )


def _fact(table: dict[str, Any]) -> Fact:
    return Fact(tuple(table["say"]), tuple(_ask(ask) for ask in table["ask"]))


def _ask(table: dict[str, Any]) -> Ask:
    (sort,) = table.keys() - {"answer", "antonym", "negated"}
    antonym, negated = (tuple(table.get(key, ())) for key in ("antonym", "negated"))
    return Ask(sort, table["answer"], tuple(table[sort]), antonym, negated)


def class_of(slot: str) -> str:
    """Class of a slot's values: those of one class can be mistaken for each other."""
    prefix = slot.partition("_")[0]
    return ALIASES.get(prefix, prefix)


class Subject:
    """A subject with its name and its values, which are drawn when first needed.

    Args:
        kind: Kind of subject.
        names: Where its names come from.
        since: First year of its history; drawn if None.
    """

    def __init__(self, kind: Kind, names: Names, since: int | None = None) -> None:
        self.kind = kind
        self._names = names
        self.rng = names.rng
        form = self.rng.choice(kind.forms)
        self.name = names.fill(form)
        self.pronoun = form.strip("{}") if kind.pronoun == "person" else kind.pronoun
        self.since = self.rng.randint(*kind.years) if since is None else since
        self._years = [self.since + i * 11 + self.rng.randint(0, 8) for i in range(5)]
        self._values: dict[str, str] = {}

    @property
    def bare(self) -> str:
        """The name without its article."""
        return self.name.removeprefix("the ")

    @property
    def title(self) -> str:
        """The name as an article would be headed."""
        return self.bare.strip('"')

    @property
    def short(self) -> str:
        """A second mention: the surname of a person, "the river" for a river."""
        person = self.pronoun in POSSESSIVES
        return self.name.split()[-1] if person else f"the {self.kind.noun}"

    def value(self, slot: str) -> str:
        """The value of a slot, the same each time."""
        if slot not in self._values:
            self._values[slot] = self._draw(slot)
        return self._values[slot]

    def _draw(self, slot: str) -> str:
        rule = self.kind.slots.get(slot)
        prefix, _, role = slot.partition("_")
        if isinstance(rule, list):
            value = self.rng.choice([v for v in rule if v not in self._names.values] or rule)
            self._names.values.add(value)
            return value
        if rule is not None:
            return _number(self.rng, rule)
        if prefix not in {"year", "date"}:
            return self._names.draw(prefix)
        year = str(self._years[int(role) - 1])
        day = f"{self.rng.randint(1, 28)} {self.rng.choice(MONTHS)} "
        return day + year if prefix == "date" else year


def _number(rng: random.Random, rule: str) -> str:
    """Draw from a range such as `2-9`, `12-480 miles` or `0.6-9.8 metres`."""
    span, _, unit = rule.partition(" ")
    low, high = span.split("-")
    if "." in low:
        number = f"{rng.uniform(float(low), float(high)):.1f}"
    else:
        # Even over the orders of magnitude, as counts of people and things are.
        number = f"{round(int(low) * (int(high) / int(low)) ** rng.random()):,}"
    return f"{number} {unit}".rstrip()


@dataclass(frozen=True, slots=True)
class Span:
    """Where a value stands in a passage; character offsets, half-open."""

    subject: Subject
    slot: str
    start: int
    end: int
    wide_start: int
    """With the words around it that an annotator may count in, such as "in 1896" for "1896"."""
    wide_end: int


class Passage:
    """Text written sentence by sentence, with the place of every value."""

    def __init__(self) -> None:
        self.text = ""
        self.spans: list[Span] = []
        self.sentence = 0
        """Offset of the last sentence."""

    def write(self, template: str, subject: Subject, mention: str) -> None:
        """Add a sentence about a subject, which it names by `mention`."""
        self.text += " " if self.text and not self.text.endswith("\n") else ""
        begin, last = len(self.text), 0
        self.sentence = begin
        for match in SLOT.finditer(template):
            self.text += template[last : match.start()]
            last = match.end()
            if match["slot"] in {"S", "s"}:
                self.text += mention
            else:
                self._write_value(subject, match)
        self.text += template[last:]
        self.text = self.text[:begin] + self.text[begin].upper() + self.text[begin + 1 :]

    def _write_value(self, subject: Subject, match: re.Match[str]) -> None:
        value = subject.value(match["slot"])
        if value[0] in "aeiou" and re.search(r"\b[Aa] $", self.text):
            self.text = f"{self.text[:-1]}n "
        wide_start = len(self.text)
        self.text += match["before"] or ""
        start = len(self.text)
        self.text += value
        end = len(self.text)
        self.text += match["after"] or ""
        self.spans.append(Span(subject, match["slot"], start, end, wide_start, len(self.text)))

    def find(self, subject: Subject, slot: str) -> Span | None:
        """The place of a subject's value, if it stands in the passage."""
        found = (span for span in self.spans if span.subject is subject and span.slot == slot)
        return next(found, None)

    def reference(self, span: Span, wide: bool = False) -> Reference:
        """The answer at a span."""
        start, end = (span.wide_start, span.wide_end) if wide else (span.start, span.end)
        return Reference(self.text[start:end], start)


@dataclass(frozen=True, slots=True)
class Section:
    """What a passage, or a part of a long one, has said of whom."""

    subject: Subject
    stated: tuple[Fact, ...]
    """Facts told of the subject."""
    rival: Subject | None
    rival_fact: Fact | None
    """The one fact told of its rival."""


def tell(passage: Passage, kind: Kind, names: Names, headed: bool = False) -> Section:
    """Write a section about a new subject of a kind, under a heading or not."""
    rng = names.rng
    subject = Subject(kind, names)
    if headed:
        passage.text += ("\n\n" if passage.text else "") + f"{subject.title}\n"
    told = rng.sample(kind.facts, rng.choice((1, 1, 2)))
    rival = Subject(kind, names, subject.since + 9) if rng.random() < 0.65 else None
    rival_fact = rng.choice((rng.choice(told), rng.choice(kind.facts))) if rival else None
    rival_turn = rng.randint(1, len(told))
    passage.write(rng.choice(kind.intro.say), subject, subject.name)
    fresh = False
    for turn, fact in enumerate(told, start=1):
        template = rng.choice(fact.say)
        passage.write(template, subject, _mention(passage, subject, template, fresh))
        fresh = rival is not None and turn == rival_turn
        if rival and rival_fact and fresh:
            _tell_rival(passage, subject, rival, rival_fact)
    return Section(subject, (kind.intro, *told), rival, rival_fact)


def _mention(passage: Passage, subject: Subject, template: str, fresh: bool) -> str:
    """Name the subject: in full where another one was named last, so that it stays clear."""
    choices = [subject.name] if fresh else [subject.name, subject.short, subject.short]
    # "She" would be unclear where a captain or a teacher was named last.
    person = any(s.start >= passage.sentence and s.slot[:6] == "person" for s in passage.spans)
    if "{S}" in template and not fresh and not person:
        choices += [PRONOUNS[subject.pronoun]] * 3
    return subject.rng.choice(choices)


def _tell_rival(passage: Passage, subject: Subject, rival: Subject, fact: Fact) -> None:
    rng = subject.rng
    template = rng.choice([say for say in fact.say if say.startswith("{S} ")])
    phrase = rng.choice(subject.kind.rival)
    phrase = phrase.replace("{rival}", rival.name).replace("{bare}", rival.bare)
    passage.write(template, rival, phrase.replace("{Its}", POSSESSIVES.get(subject.pronoun, "Its")))
