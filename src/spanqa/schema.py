"""JSON Schema of what `spanqa.request` reads and writes, with examples, for `/openapi.json`."""

from __future__ import annotations

from typing import Any

from spanqa.request import MAX_ID_LENGTH
from spanqa.settings import ServerSettings

ID_PATTERN = r"^[^\u0000]*$"
TEXT_PATTERN = r"^[^\u0000]*[^\s\u0000][^\u0000]*$"
"""Not empty. Patterns have no flags in JSON Schema, and `.` would leave out line ends."""


def request_schema(limits: ServerSettings) -> dict[str, Any]:
    """JSON Schema of a request under these limits."""
    question = _text_schema(limits.max_question_length)
    text = _text_schema(limits.max_text_length)
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["question", "context"],
        "properties": {
            "question": {
                "description": "One question, or several over the same texts.",
                "anyOf": [question, _list_schema(question, limits.max_questions)],
            },
            "context": {
                "description": "The text, or several, or several by their ids; the ids of a list "
                "are its indices. Answers of all texts are ranked together.",
                "anyOf": [
                    text,
                    _list_schema(text, limits.max_texts),
                    {
                        "type": "object",
                        "additionalProperties": text,
                        "propertyNames": {"maxLength": MAX_ID_LENGTH, "pattern": ID_PATTERN},
                        "minProperties": 1,
                        "maxProperties": limits.max_texts,
                    },
                ],
            },
            "top_k": {
                "description": 'Answers wanted for each question; "no answer" counts as one.',
                "type": "integer",
                "minimum": 1,
                "maximum": limits.max_top_k,
                "default": 1,
            },
        },
    }


def _text_schema(limit: int) -> dict[str, Any]:
    return {"type": "string", "minLength": 1, "maxLength": limit, "pattern": TEXT_PATTERN}


def _list_schema(items: dict[str, Any], limit: int) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": 1, "maxItems": limit}


_OFFSET = {"type": "integer", "minimum": 0}
_PROBABILITY = {"type": "number", "minimum": 0, "maximum": 1.000001}
_ANSWER = {
    "text": {
        "description": 'The slice of the text from start to end; "" = it does not answer.',
        "type": "string",
    },
    "start": _OFFSET | {"description": "Offset in Unicode code points; 0 for no answer."},
    "end": _OFFSET | {"description": "Offset behind the answer; 0 for no answer."},
    "probability": _PROBABILITY
    | {"description": 'Over all spans of all texts of the request and "no answer".'},
    "null_probability": _PROBABILITY | {"description": 'That of "no answer".'},
    "document": {
        "description": 'Id of the text; "" for no answer, and for a text without an id.',
        "type": "string",
    },
    "window": {
        "description": "Offsets of the part of the text that was read with the question.",
        "type": "array",
        "items": _OFFSET,
        "minItems": 2,
        "maxItems": 2,
    },
}


def _object_schema(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}


RESPONSE_SCHEMA = _object_schema(
    {
        "results": {
            "description": "One for every question, in their order.",
            "type": "array",
            "items": _object_schema(
                {
                    "question": {"type": "string"},
                    "answers": {
                        "description": 'Best first; "no answer" stands where it ranks.',
                        "type": "array",
                        "items": _object_schema(_ANSWER),
                    },
                }
            ),
        }
    }
)
ERROR_SCHEMA = _object_schema({"error": {"description": "One sentence.", "type": "string"}})
EXAMPLES = {
    "one": {
        "summary": "One question over one text",
        "value": {
            "question": "Who founded the observatory?",
            "context": "The Torrin Observatory was founded in 1887 by Ada Mbeki.",
        },
    },
    "several": {
        "summary": "Questions over texts with ids, and their runners-up",
        "value": {
            "question": ["Who founded the observatory?", "How long is the Lenna?"],
            "context": {
                "observatory": "The Torrin Observatory was founded in 1887 by Ada Mbeki.",
                "river": "The Lenna rises in the northern hills and is 412 km long.",
            },
            "top_k": 3,
        },
    },
}
