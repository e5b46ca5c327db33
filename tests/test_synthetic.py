from __future__ import annotations

import json
import re
from collections import Counter
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanqa.errors import RecipeError
from spanqa.synthetic import (
    EVAL_SIZE,
    FLAWS,
    LONG_EVERY,
    LONG_SECTIONS,
    TRAIN_SIZE,
    Part,
    Record,
    generate,
    iter_examples,
    iter_records,
    write,
)
from spanqa.synthetic_names import FORMS, MONTHS, belongs
from spanqa.synthetic_passages import SLOT, class_of, kinds

PARTS: tuple[Part, Part] = ("train", "eval")
# By script and not by letter: the names have accents.
CAPITALISED = re.compile(r"(?<!\w)[^\W\d_a-z]\w*")


@pytest.fixture(scope="module")
def records() -> dict[str, tuple[Record, ...]]:
    sizes = {"train": TRAIN_SIZE, "eval": EVAL_SIZE}
    return {part: tuple(islice(iter_records(part), sizes[part])) for part in PARTS}


def capitalised(text: str) -> set[str]:
    return {word for word in CAPITALISED.findall(text) if word[0].isupper()}


@settings(max_examples=10, deadline=None)
@given(part=st.sampled_from(PARTS), seed=st.integers(0, 10**6), size=st.integers(0, 150))
def test_same_arguments_same_corpus_and_prefix(part: Part, seed: int, size: int) -> None:
    corpus = generate(part, size, seed)
    assert len(corpus) == size
    assert corpus == generate(part, size, seed)
    assert corpus == generate(part, size + 40, seed)[:size]


@settings(max_examples=10, deadline=None)
@given(part=st.sampled_from(PARTS), seed=st.integers(0, 10**6))
def test_offsets_and_flaws_hold(part: Part, seed: int) -> None:
    for record in islice(iter_records(part, seed), 120):
        example = record.example
        for reference in (*example.answers, *filter(None, [record.plausible])):
            assert reference.text == reference.text.strip() != ""
            assert example.context[reference.start : reference.end] == reference.text
        # A plausible wrong answer stands in the text where there is no right one, and only there.
        assert bool(example.answers) == (record.plausible is None) == (record.flaw == "")


def test_seeds_and_parts_differ() -> None:
    corpora = [generate(part, 30, seed) for part in PARTS for seed in (0, 1)]
    contexts = [{example.context for example in corpus} for corpus in corpora]
    assert len(set.union(*contexts)) == sum(map(len, contexts))


def test_ids_are_unique_and_say_where_they_come_from() -> None:
    ids = [e.id for part in PARTS for seed in (0, 1) for e in generate(part, 200, seed)]
    assert len(set(ids)) == len(ids)
    assert generate("train", 124)[123].id == "synthetic-train-0-000123"


def test_makes_any_number_one_at_a_time() -> None:
    # The iterator has no end; a far question costs no more than the ones before it.
    example = next(islice(iter_examples("eval", 3), 5000, None))
    assert example.id == "synthetic-eval-3-005000"


def test_words_of_names_are_shared_by_no_two_parts(records: dict[str, tuple[Record, ...]]) -> None:
    train, evaluation = (
        {word for record in records[part] for word in record.names} for part in PARTS
    )
    assert len(train) > 1000
    assert len(evaluation) > 400
    assert not train & evaluation
    # Plurals go with their singulars.
    assert all(belongs(word, "train") or belongs(word[:-1], "train") for word in train)


def test_no_capitalised_word_but_a_template_s_is_in_both_parts(
    records: dict[str, tuple[Record, ...]],
) -> None:
    # Independent of the record of names: reads the texts themselves.
    texts = {
        part: " ".join(f"{r.example.context} {r.example.question}" for r in records[part])
        for part in PARTS
    }
    templates = files("spanqa").joinpath("synthetic.toml").read_text(encoding="utf-8")
    forms = " ".join(form for sort in FORMS.values() for form in sort)
    allowed = capitalised(" ".join([templates, forms, *MONTHS]))
    # A sentence may begin with a mention or a value that is no name.
    allowed |= {"O", "Her", "His", "She", "He", "It", "They", "The"}
    shared = (capitalised(texts["train"]) & capitalised(texts["eval"])) - allowed
    assert not shared
    assert len(capitalised(texts["eval"]) - allowed) > 500


def test_kinds_question_types_and_flaws_are_many(records: dict[str, tuple[Record, ...]]) -> None:
    for part in PARTS:
        assert len({record.kind for record in records[part]}) == len(kinds()) >= 10
        types = Counter(record.type for record in records[part])
        assert types.keys() >= {"who", "when", "where", "how many", "what", "which", "why", "how"}
        assert types.keys() >= {"whose", "how long", "how far", "how much"}
        assert {record.flaw for record in records[part]} == {"", *FLAWS}
        unanswerable = sum(not record.example.answers for record in records[part])
        assert 0.28 < unanswerable / len(records[part]) < 0.4


def test_a_flawed_question_asks_for_what_the_text_does_not_say(
    records: dict[str, tuple[Record, ...]],
) -> None:
    # No question is answerable in one place and flawed in another over the same text.
    for part in PARTS:
        flaws: dict[tuple[str, str], set[str]] = {}
        for record in records[part]:
            key = (record.example.context, record.example.question)
            flaws.setdefault(key, set()).add(record.flaw)
        assert all(len(found) == 1 for found in flaws.values())


def test_texts_have_distractors_of_the_answer_s_class(
    records: dict[str, tuple[Record, ...]],
) -> None:
    # The first year of the text is often the wrong one.
    first = right = 0
    for record in records["train"]:
        answers = record.example.answers
        if answers and re.fullmatch(r"1\d{3}", answers[0].text):
            first += 1
            match = re.search(r"\b1\d{3}\b", record.example.context)
            right += match is not None and match.start() == answers[0].start
    assert first > 100
    assert right / first < 0.85


def test_some_texts_are_longer_than_a_window(records: dict[str, tuple[Record, ...]]) -> None:
    for part in PARTS:
        lengths = {r.example.context: len(r.example.context.split()) for r in records[part]}
        # The sections of an almanac begin with a heading.
        long = [words for text, words in lengths.items() if text.count("\n\n") > 1]
        assert len(long) / len(lengths) == pytest.approx(1 / LONG_EVERY[part], abs=0.012)
        assert long
        # A word and its punctuation make 1.4 word-pieces and more here, so 384 are exceeded.
        assert min(long) > 280
        short = [words for text, words in lengths.items() if "\n" not in text]
        assert 35 < sum(short) / len(short) < 60


def test_answers_stand_anywhere_in_a_long_text() -> None:
    places = [
        reference.start / len(example.context)
        for example in generate("eval", 1000)
        if example.context.count("\n\n") == LONG_SECTIONS - 1
        for reference in example.answers
    ]
    assert min(places) < 0.2
    assert max(places) > 0.8


def test_eval_has_annotators_who_mark_more_or_less(records: dict[str, tuple[Record, ...]]) -> None:
    several = [r.example for r in records["eval"] if len(r.example.answers) > 1]
    assert len(several) > 20
    for example in several:
        inner, outer = example.answers
        assert outer.start <= inner.start <= inner.end <= outer.end
    assert all(len(record.example.answers) < 2 for record in records["train"])


def test_texts_have_hard_characters(records: dict[str, tuple[Record, ...]]) -> None:
    answers = " ".join(a.text for r in records["train"] for a in r.example.answers)
    for character in ("ö", "é", "ł", "O'", "-", ","):
        assert character in answers.replace("Ł", "ł")
    assert any('"' in record.example.context for record in records["train"])


def test_no_slot_is_left_open_and_articles_agree(records: dict[str, tuple[Record, ...]]) -> None:
    for part in PARTS:
        for example in (record.example for record in records[part]):
            for text in (example.context, example.question, example.title):
                assert not re.search(r"[{}\[\]]|  |\ba [aeiou](?!ne )|\ban [^aeiou]|the the", text)
            assert example.question[0].isupper()
            assert example.question.endswith("?")
            assert example.article == example.title != ""


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.name)
def test_templates_are_complete(kind: Any) -> None:
    assert len(kind.facts) >= 4
    slots: list[str] = []
    for fact in (kind.intro, *kind.facts):
        assert len(set(fact.say)) == len(fact.say) >= 2
        # The rival's sentence puts its own opening in place of {S}.
        assert fact.say[0].startswith(("{S} ", "{S}, "))
        stated = [{match["slot"] for match in SLOT.finditer(say)} - {"S", "s"} for say in fact.say]
        asked = {ask.slot for ask in fact.asks}
        assert all(asked <= found for found in stated)
        assert all("{S}" in say or "{s}" in say for say in fact.say)
        slots += set.union(*stated)
        for ask in fact.asks:
            wordings = (*ask.questions, *ask.antonym, *ask.negated)
            assert len(set(wordings)) == len(wordings)
            assert len(ask.questions) >= 2
            assert all("{subject}" in wording for wording in wordings)
    # A value belongs to one fact, so that no fact gives another one away.
    assert len(set(slots)) == len(slots)
    assert set(kind.slots) <= set(slots)


def test_classes_put_together_what_can_be_mistaken() -> None:
    assert class_of("date_2") == class_of("year_1") == "year"
    assert class_of("person_design") != class_of("place_at")


def test_written_file_is_squad_2(tmp_path: Path) -> None:
    path = tmp_path / "corpus.json"
    write(path, "eval", 90)
    corpus = json.loads(path.read_text(encoding="utf-8"))
    examples = {example.id: example for example in generate("eval", 90)}
    paragraphs = [p for article in corpus["data"] for p in article["paragraphs"]]
    rows = [(p["context"], qa) for p in paragraphs for qa in p["qas"]]
    assert corpus["version"] == "v2.0"
    assert [qa["id"] for _, qa in rows] == list(examples)
    for context, qa in rows:
        example = examples[qa["id"]]
        assert (context, qa["question"]) == (example.context, example.question)
        assert [a["text"] for a in qa["answers"]] == [a.text for a in example.answers]
        assert qa["is_impossible"] == (not qa["answers"]) == ("plausible_answers" in qa)
        for answer in qa["answers"] or qa["plausible_answers"]:
            assert context[answer["answer_start"] :].startswith(answer["text"])


def test_wrong_arguments_are_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="'dev'"):
        generate("dev", 5)  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="size is -1"):
        generate("train", -1)
    with pytest.raises(RecipeError, match="size is -1"):
        write(tmp_path / "corpus.json", "train", -1)
