"""The bundled sample corpus: made-up passages with questions, in the manner of SQuAD 2.0.

A passage is about one subject (a river, a battle, a band...). It states some of the facts that
`synthetic.toml` has for such a subject, in varying order and wording, and mostly one fact about a
second subject of the same kind, so that being a name, a date or a number alone makes no answer.
Every thirtieth passage is an almanac of several such sections, longer than 384 tokens.

About a third of the questions have no answer, though the passage holds a plausible wrong one:

    entity    asks about another subject for a fact that the passage states of this one
    relation  asks for a fact that the passage does not state
    antonym   asks about the opposite of a stated fact, or about a neighbouring event
    negated   asks about the refusal or the failure of a stated fact

A passage depends on its number, its part and its seed only. So the first questions of a longer
corpus are the shorter corpus, and the longest needs no more memory than one passage.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count, groupby, islice
from operator import attrgetter
from pathlib import Path
from typing import Literal, get_args

from spanqa.data import Example, Reference
from spanqa.errors import RecipeError
from spanqa.synthetic_names import Names
from spanqa.synthetic_passages import (
    Ask,
    Kind,
    Passage,
    Section,
    Span,
    Subject,
    class_of,
    kinds,
    tell,
)

Part = Literal["train", "eval"]

TRAIN_SIZE = 1700
"""Questions in `synthetic:train`."""
EVAL_SIZE = 300
"""Questions in `synthetic:eval`."""
LONG_EVERY = {"train": 400, "eval": 30}
"""One passage in so many is longer than a window; rarer where it costs training time."""
LONG_SECTIONS = 9
"""Sections of such a passage."""
UNANSWERABLE = 0.34
"""Chance that a question has no answer."""
FLAWS = {"entity": 0.2, "relation": 0.65, "antonym": 0.1, "negated": 0.05}
"""Why a question has no answer, and how often."""
EXTRA_REFERENCE = 0.5
"""Chance of a wider second reference in the eval part, where the words around it allow one."""


@dataclass(frozen=True, slots=True)
class Record:
    """An example and how it was made."""

    example: Example
    kind: str
    """Kind of its subject, such as "river"."""
    type: str
    """Question type, such as "who" or "how many"."""
    flaw: str
    """One of `FLAWS`; empty for an answerable question."""
    plausible: Reference | None
    """The wrong answer that an unanswerable question invites; None for an answerable one."""
    names: frozenset[str]
    """Names in its passage and its questions, word by word."""


@dataclass(frozen=True, slots=True)
class _Question:
    """A question to put: about whom, which fact of it, and the span that answers or misleads."""

    subject: Subject
    ask: Ask
    span: Span
    wording: tuple[str, ...]
    flaw: str = ""

    def text(self, rng: random.Random) -> str:
        """Word it."""
        name = self.subject.name
        if self.subject.kind.pronoun == "person" and rng.random() < 0.25:
            name = self.subject.short
        return rng.choice(self.wording).replace("{subject}", name)


def generate(part: Part, size: int, seed: int = 0) -> tuple[Example, ...]:
    """Make a corpus of `size` questions, the same each time.

    Args:
        part: "train" or "eval"; the two share no name.
        size: Number of questions, 0 or more.
        seed: Another seed makes another corpus of the same part.

    Raises:
        RecipeError: If there is no such part, or if `size` is negative.
    """
    return tuple(record.example for record in _records(part, size, seed))


def iter_examples(part: Part, seed: int = 0) -> Iterator[Example]:
    """Make questions without end; `generate` says more."""
    return map(attrgetter("example"), iter_records(part, seed))


def iter_records(part: Part, seed: int = 0) -> Iterator[Record]:
    """Make questions without end, each with a record of how it was made.

    Raises:
        RecipeError: If there is no such part.
    """
    if part not in get_args(Part):
        raise RecipeError(f"there is no part {part!r} of the synthetic corpus: take train or eval")
    return _numbered(part, seed)


def write(path: Path, part: Part, size: int, seed: int = 0) -> None:
    """Write a corpus as SQuAD 2.0 JSON, `plausible_answers` included.

    Raises:
        RecipeError: As `generate` does.
    """
    articles = []
    records = _records(part, size, seed)
    for context, group in groupby(records, key=lambda record: record.example.context):
        questions = list(group)
        paragraph = {"context": context, "qas": [_squad(record) for record in questions]}
        articles.append({"title": questions[0].example.title, "paragraphs": [paragraph]})
    corpus = {"version": "v2.0", "data": articles}
    path.write_text(json.dumps(corpus, ensure_ascii=False), encoding="utf-8")


def _squad(record: Record) -> dict[str, object]:
    def plain(reference: Reference) -> dict[str, object]:
        return {"text": reference.text, "answer_start": reference.start}

    example = record.example
    qa: dict[str, object] = {
        "id": example.id,
        "question": example.question,
        "is_impossible": not example.answers,
        "answers": [plain(reference) for reference in example.answers],
    }
    if record.plausible:
        qa["plausible_answers"] = [plain(record.plausible)]
    return qa


def _records(part: Part, size: int, seed: int) -> Iterator[Record]:
    if size < 0:
        raise RecipeError(f"size is {size}: a synthetic corpus has 0 questions or more")
    return islice(iter_records(part, seed), size)


def _numbered(part: Part, seed: int) -> Iterator[Record]:
    number = 0
    for index in count():
        rng = random.Random(f"spanqa {part} {seed} {index}")
        long = index % LONG_EVERY[part] == LONG_EVERY[part] // 2
        for record in _about_one_passage(rng, part, _kinds_of(part, seed, index, long)):
            example_id = f"synthetic-{part}-{seed}-{number:06d}"
            yield replace(record, example=replace(record.example, id=example_id))
            number += 1


def _kinds_of(part: Part, seed: int, index: int, long: bool) -> list[Kind]:
    """Deal the kinds out like a pack of cards, so that a small corpus has them all."""
    turn, place = divmod(index, len(kinds()))
    pack = random.Random(f"spanqa {part} {seed} pack {turn}").sample(kinds(), len(kinds()))
    dealt = pack[place:] + pack[:place]
    return dealt[: LONG_SECTIONS if long else 1]


def _about_one_passage(rng: random.Random, part: Part, of: list[Kind]) -> list[Record]:
    """Write a passage and ask 2 to 4 questions about it, one more if it has sections."""
    names = Names(rng, part)
    passage = Passage()
    long = len(of) > 1
    title = f"Almanac of {names.draw('place')}" if long else ""
    sections = [tell(passage, kind, names, headed=long) for kind in of]
    asked: list[_Question] = []
    for flawed in [rng.random() < UNANSWERABLE for _ in range(rng.randint(2, 4) + long)]:
        options = _flawed if flawed else _answerable
        possible = options(passage, rng.choice(sections), names)
        # A value is asked for once; a short passage may have no other one left.
        taken = {(question.subject.name, question.ask.slot) for question in asked}
        fresh = [q for q in possible if (q.subject.name, q.ask.slot) not in taken]
        asked += [rng.choice(fresh)] if fresh else []
    title = title or sections[0].subject.title
    # Only now: the questions have drawn names as well.
    words = frozenset(names.words)
    return [_record(rng, part, passage, title, question, words) for question in asked]


def _answerable(passage: Passage, section: Section, names: Names) -> list[_Question]:
    """Questions that the section answers, about its subject or about the rival."""
    about = [(section.subject, section.stated)]
    if section.rival and section.rival_fact and names.rng.random() < 0.15:
        about = [(section.rival, (section.rival_fact,))]
    return [
        _Question(subject, ask, span, ask.questions)
        for subject, facts in about
        for fact in facts
        for ask in fact.asks
        if (span := passage.find(subject, ask.slot))
    ]


def _flawed(passage: Passage, section: Section, names: Names) -> list[_Question]:
    """Questions that the section only seems to answer, all with one flaw."""
    options = {
        "entity": _of_another(passage, section, names),
        "relation": _of_unstated(passage, section, names.rng),
        "antonym": _twisted(passage, section, "antonym"),
        "negated": _twisted(passage, section, "negated"),
    }
    flaws = [flaw for flaw in FLAWS if options[flaw]]
    (flaw,) = names.rng.choices(flaws, weights=[FLAWS[flaw] for flaw in flaws])
    return options[flaw]


def _of_another(passage: Passage, section: Section, names: Names) -> list[_Question]:
    """Ask about the rival, or about a stranger to the text, what is told of the subject."""
    other, known = Subject(section.subject.kind, names), None
    if section.rival and names.rng.random() < 0.5:
        other, known = section.rival, section.rival_fact
    return [
        _Question(other, ask, span, ask.questions, "entity")
        for fact in section.stated
        if fact is not known
        for ask in fact.asks
        if (span := passage.find(section.subject, ask.slot))
    ]


def _of_unstated(passage: Passage, section: Section, rng: random.Random) -> list[_Question]:
    """Ask for facts that are not told of the subject, where another value could be mistaken."""
    here = [s for s in passage.spans if s.subject in (section.subject, section.rival)]
    questions = []
    for ask in (a for f in section.subject.kind.facts if f not in section.stated for a in f.asks):
        spans = [span for span in here if class_of(span.slot) == class_of(ask.slot)]
        # The rival's value for the very fact is the most tempting.
        spans = [span for span in spans if span.slot == ask.slot] or spans
        if spans:
            span = rng.choice(spans)
            questions.append(_Question(section.subject, ask, span, ask.questions, "relation"))
    return questions


def _twisted(passage: Passage, section: Section, flaw: str) -> list[_Question]:
    """Ask for the opposite or the refusal of what is told of the subject."""
    return [
        _Question(section.subject, ask, span, wording, flaw)
        for fact in section.stated
        for ask in fact.asks
        if (wording := ask.antonym if flaw == "antonym" else ask.negated)
        and (span := passage.find(section.subject, ask.slot))
    ]


def _record(
    rng: random.Random,
    part: Part,
    passage: Passage,
    title: str,
    question: _Question,
    names: frozenset[str],
) -> Record:
    answer = passage.reference(question.span)
    wide = passage.reference(question.span, wide=True)
    answers: tuple[Reference, ...] = (answer,)
    if part == "eval" and wide != answer and rng.random() < EXTRA_REFERENCE:
        answers = (answer, wide)
    example = Example(
        id="",
        question=question.text(rng),
        context=passage.text,
        answers=() if question.flaw else answers,
        title=title,
        article=title,
    )
    return Record(
        example=example,
        kind=question.subject.kind.name,
        type=question.ask.type,
        flaw=question.flaw,
        plausible=answer if question.flaw else None,
        names=names,
    )
