"""The application: what it answers, what it refuses, and that it never fails for a request."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import httpx2
import pytest
import schemathesis
from conftest import CORPUS
from fakes import ScriptedReader, random_reader
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from live import running
from schemathesis import GenerationMode
from schemathesis.config import SchemathesisConfig
from starlette.testclient import TestClient
from transformers import PreTrainedTokenizerFast

from spanqa.reader import Reader
from spanqa.server import create_app
from spanqa.settings import ServerSettings

TEXT = "The bridge of Vik was built in 1887."
ASKED: dict[str, Any] = {"question": "Where is Vik?", "context": TEXT}
JSON = {"content-type": "application/json"}
SMALL = ServerSettings(
    max_body=600,
    max_texts=3,
    max_text_length=80,
    max_questions=3,
    max_question_length=30,
    max_reading=200,
    max_top_k=5,
)
WAIT = 30


@pytest.fixture
def client() -> Iterator[TestClient]:
    """A client of a scripted server with small limits."""
    with TestClient(create_app(ScriptedReader(), SMALL)) as client:
        yield client


def sentence(response: httpx2.Response) -> str:
    """The one sentence of an error, which is all there is in it."""
    body = response.json()
    assert list(body) == ["error"]
    return str(body["error"])


@pytest.fixture
def reader(tiny_tokenizer: PreTrainedTokenizerFast) -> Reader:
    return random_reader(tiny_tokenizer)


@pytest.mark.parametrize(
    "context",
    [
        CORPUS[10],  # emoji, joined ones too
        "\r\n".join(CORPUS[:4]),
        list(CORPUS[:3]),
        {"é": CORPUS[2], "👩‍🚀": CORPUS[6]},
    ],
)
def test_answers_are_the_readers_own(reader: Reader, context: Any) -> None:
    questions = ["Who founded the observatory?", "Wo liegt Vík 🙂?"]
    with TestClient(create_app(reader)) as client:
        response = client.post(
            "/answer", json={"question": questions, "context": context, "top_k": 5}
        )
        single = client.post("/answer", json={"question": questions[0], "context": context})
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    results = response.json()["results"]
    assert [result["question"] for result in results] == questions
    for question, result in zip(questions, results, strict=True):
        own = reader.answer(question, context, top_k=5)
        assert [answer["text"] for answer in result["answers"]] == [answer.text for answer in own]
        for got, answer in zip(result["answers"], own, strict=True):
            assert got["window"] == list(answer.window)
            assert got["document"] == answer.document
            assert (got["start"], got["end"]) == (answer.start, answer.end)
            assert got["probability"] == pytest.approx(answer.probability)
            assert got["null_probability"] == pytest.approx(answer.null_probability)
            texts = {"": context} if isinstance(context, str) else context
            if isinstance(context, list):
                texts = {str(n): text for n, text in enumerate(context)}
            if answer.text:
                assert texts[got["document"]][got["start"] : got["end"]] == got["text"]
    assert single.json()["results"][0]["answers"] == results[0]["answers"][:1]


def test_a_long_text_is_answered_in_one_call(reader: Reader) -> None:
    text = " ".join(CORPUS[n % 6] for n in range(240))
    with TestClient(create_app(reader)) as client:
        response = client.post("/answer", json={"question": "Who?", "context": text, "top_k": 2})
    own = reader.answer("Who?", text, top_k=2)
    found = response.json()["results"][0]["answers"]
    assert [(a["start"], a["end"]) for a in found] == [(a.start, a.end) for a in own]


BAD_JSON = {
    b"": "Expecting value",
    b"[": "Expecting value",
    b'{"question": "a\0", "context": "b"}': "control character",
    b'{"question": "a", "context": NaN}': "holds NaN",
    b'{"question": "a", "context": -Infinity}': "holds -Infinity",
    b'{"question": "a", "question": "b", "context": "c"}': "'question' occurs twice",
    b'{"question": "\xff"}': "not UTF-8 (byte 14)",
    b"[" * 100_000: "nested too deeply",
    b'{"a":' * 100_000: "nested too deeply",
    b"1" * 10_000: "number that is too long",
}


@pytest.mark.parametrize("body", BAD_JSON, ids=range(len(BAD_JSON)))
def test_what_is_not_json_is_a_bad_request(body: bytes) -> None:
    with TestClient(create_app(ScriptedReader())) as client:
        response = client.post("/answer", content=body, headers=JSON)
    assert response.status_code == 400
    assert BAD_JSON[body] in sentence(response)


UNPROCESSABLE: tuple[tuple[Any, str], ...] = (
    ([], "the body must be an object, got a list"),
    (None, "the body must be an object, got null"),
    ({}, "question is missing"),
    ({"question": "a"}, "context is missing"),
    (ASKED | {"topk": 3}, "unknown key 'topk'; a request has question, context, top_k"),
    (ASKED | {"question": 1}, "question must be text, got a number"),
    (ASKED | {"question": []}, "question is empty"),
    (ASKED | {"question": ["a", " "]}, "question[1] is empty"),
    (ASKED | {"question": ["a", {}]}, "question[1] must be text, got an object"),
    (ASKED | {"question": "a" * 31}, "31 characters; the limit is 30 (max_question_length)"),
    (ASKED | {"question": ["a"] * 4}, "question holds 4; the limit is 3 (max_questions)"),
    (ASKED | {"context": True}, "context must be text, got true or false"),
    (ASKED | {"context": None}, "context must be text, got null"),
    (ASKED | {"context": {}}, "context is empty"),
    (ASKED | {"context": "a" * 81}, "81 characters; the limit is 80 (max_text_length)"),
    (ASKED | {"context": ["a"] * 4}, "context holds 4; the limit is 3 (max_texts)"),
    (ASKED | {"context": {"a": [TEXT]}}, "context['a'] must be text, got a list"),
    (ASKED | {"context": {"a" * 201: TEXT}}, "has more than 200 characters"),
    (ASKED | {"context": {"\ud800": TEXT}}, "holds a lone surrogate"),
    (ASKED | {"context": "half of \udc00"}, "context holds a lone surrogate"),
    (ASKED | {"question": "null \0"}, "question holds a null character"),
    (
        {"question": ["a", "b", "c"], "context": "a" * 70},
        "counted once for every question, have 210 characters; the limit is 200 (max_reading)",
    ),
    *(
        (ASKED | {"top_k": value}, f"from 1 to 5 (max_top_k), got {shown}")
        for value, shown in (
            (0, "0"),
            (6, "6"),
            (1.5, "1.5"),
            (10**300, "1000"),
            ("1", "text"),
            (True, "True"),
            (None, "null"),
        )
    ),
)


@pytest.mark.parametrize("body, message", UNPROCESSABLE)
def test_what_is_wrong_is_named(client: TestClient, body: Any, message: str) -> None:
    response = client.post("/answer", content=json.dumps(body), headers=JSON)
    assert response.status_code == 422
    assert message in sentence(response)


def test_hundreds_of_thousands_of_keys_are_looked_through_once() -> None:
    keys = ",".join(f'"k{n}":0' for n in range(200_000))
    body = f'{{{keys},"k199999":0}}'
    with TestClient(create_app(ScriptedReader(), ServerSettings())) as wide:
        response = wide.post("/answer", content=body, headers=JSON)
    assert (response.status_code, sentence(response)) == (400, "the key 'k199999' occurs twice")


def test_a_number_beyond_all_bounds_is_named(client: TestClient) -> None:
    body = json.dumps(ASKED)[:-1] + ', "top_k": 1e999}'
    response = client.post("/answer", content=body, headers=JSON)
    assert (response.status_code, "got inf" in sentence(response)) == (422, True)
    whole = client.post("/answer", content=body.replace("1e999", "2.0"), headers=JSON)
    assert len(whole.json()["results"][0]["answers"]) == 2


@pytest.mark.parametrize("headers", [JSON, JSON | {"content-length": "5000"}])
def test_a_body_that_is_too_large_is_not_read_to_its_end(headers: dict[str, str]) -> None:
    app = create_app(ScriptedReader(), SMALL)
    read = 0

    def body() -> Iterator[bytes]:
        nonlocal read
        for _ in range(50):
            read += 100
            yield b" " * 100

    async def scenario(client: httpx2.AsyncClient) -> httpx2.Response:
        async def chunks() -> Any:
            for chunk in body():
                yield chunk

        return await client.post("/answer", content=chunks(), headers=headers)

    response = run(app, scenario)
    assert response.status_code == 413
    assert sentence(response) == "the body is too large; the limit is 600 bytes (max_body)"
    assert read == (700 if headers == JSON else 0)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_other_content_types_are_refused(client: TestClient, kind: str) -> None:
    response = client.post("/answer", content=json.dumps(ASKED), headers={"content-type": kind})
    assert response.status_code == 415
    assert "must be application/json" in sentence(response)


def test_a_content_type_with_a_charset_is_fine(client: TestClient) -> None:
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    assert client.post("/answer", content=json.dumps(ASKED), headers=headers).status_code == 200


def test_errors_have_one_shape(client: TestClient) -> None:
    for method, path, status in (
        ("GET", "/nothing", 404),
        ("GET", "/docs", 404),
        ("POST", "/answer/", 404),
        ("GET", "/page/../settings.py", 404),
        ("GET", "/answer", 405),
        ("DELETE", "/health", 405),
    ):
        response = client.request(method, path)
        assert response.status_code == status, (method, path)
        assert sentence(response)


def test_health_and_readiness_differ_before_and_after() -> None:
    app = create_app(ScriptedReader())
    cold = TestClient(app)  # no lifespan: nothing was warmed up
    assert cold.get("/health").json() == {"status": "alive"}
    assert cold.get("/ready").status_code == 503
    with TestClient(app) as client:
        assert client.get("/ready").json() == {"status": "ready"}
        app.state.service.state.stopping = True
        for response in (client.get("/ready"), client.post("/answer", json=ASKED)):
            assert response.status_code == 503
            assert "being stopped" in sentence(response)
            assert response.headers["connection"] == "close"
        assert client.get("/health").status_code == 200


def test_a_failing_model_is_an_error_of_the_server(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "spanqa.server"):
        response = client.post("/answer", json=ASKED | {"question": "Does it fail"})
    assert response.status_code == 500
    assert sentence(response) == "the model failed; the server's log says why"
    assert "told to fail" in caplog.text
    assert client.post("/answer", json=ASKED).status_code == 200


def run(app: FastAPI, scenario: Callable[[httpx2.AsyncClient], Awaitable[Any]]) -> Any:
    """What a scenario returns that asks an application from within its own event loop."""

    async def main() -> Any:
        transport = httpx2.ASGITransport(app=app)
        async with (
            app.router.lifespan_context(app),
            httpx2.AsyncClient(transport=transport, base_url="http://test") as client,
        ):
            return await asyncio.wait_for(scenario(client), WAIT)

    return asyncio.run(main())


async def until(holds: Callable[[], bool]) -> None:
    """Let others run until something holds; `run` sets the time limit."""
    while not holds():
        await asyncio.sleep(0)


def busy(reader: ScriptedReader, client: httpx2.AsyncClient) -> asyncio.Task[httpx2.Response]:
    """A request that the reader begins and does not finish until it is told to go."""
    reader.go.clear()
    return asyncio.create_task(client.post("/answer", json=ASKED))


def test_concurrent_requests_are_read_together_and_not_mixed_up() -> None:
    reader = ScriptedReader()
    app = create_app(reader)

    async def scenario(client: httpx2.AsyncClient) -> list[Any]:
        first = busy(reader, client)
        await until(lambda: len(reader.batches) == 2)  # the first was the warm-up
        words = [f"word{n}" for n in range(20)]
        asked = [
            asyncio.create_task(
                client.post("/answer", json={"question": w, "context": f"a {w}", "top_k": n + 1})
            )
            for n, w in enumerate(words)
        ]
        await until(lambda: app.state.service.batcher.waiting == len(words))
        assert "spanqa_queue_requests 20.0" in (await client.get("/metrics")).text
        reader.go.set()
        assert (await first).status_code == 200
        found = [(await each).json()["results"][0]["answers"] for each in asked]
        assert [answers[0]["text"] for answers in found] == words
        assert [len(answers) for answers in found] == [min(n + 1, 3) for n in range(20)]
        return found

    run(app, scenario)
    assert [len(batch) for batch in reader.batches] == [1, 1, 20]


def test_a_full_queue_is_said_before_the_body_is_read() -> None:
    reader = ScriptedReader()
    app = create_app(reader, ServerSettings(queue_requests=1))

    async def scenario(client: httpx2.AsyncClient) -> None:
        running = busy(reader, client)
        await until(lambda: len(reader.batches) == 2)
        waiting = asyncio.create_task(client.post("/answer", json=ASKED))
        await until(lambda: app.state.service.batcher.waiting == 1)
        refused = await client.post("/answer", content=b"not even JSON", headers=JSON)
        assert refused.status_code == 429
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert "the queue is full" in sentence(refused)
        reader.go.set()
        assert [(await each).status_code for each in (running, waiting)] == [200, 200]
        assert 'spanqa_rejected_total{reason="full"} 1.0' in (await client.get("/metrics")).text

    run(app, scenario)


def test_a_late_request_is_told_so_and_not_read() -> None:
    reader = ScriptedReader()
    app = create_app(reader)

    async def scenario(client: httpx2.AsyncClient) -> None:
        running = busy(reader, client)
        await until(lambda: len(reader.batches) == 2)
        app.state.service.settings = ServerSettings(time_limit=0.01)
        late = await client.post("/answer", json=ASKED | {"question": "late"})
        assert late.status_code == 504
        assert sentence(late) == "the time limit of 0.01 s (time_limit) has passed"
        assert app.state.service.batcher.waiting == 0
        reader.go.set()
        assert (await running).status_code == 200

    run(app, scenario)
    assert ["late"] not in reader.batches


def test_a_client_that_goes_away_is_forgotten() -> None:
    reader = ScriptedReader()
    app = create_app(reader)
    sent: list[Any] = []

    async def scenario(client: httpx2.AsyncClient) -> None:
        running = busy(reader, client)
        await until(lambda: len(reader.batches) == 2)
        leave = asyncio.Event()
        body = json.dumps(ASKED | {"question": "gone"}).encode()
        messages = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive() -> Any:
            for message in messages:
                return message
            await leave.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/answer", "query_string": b""}
        headers = [(b"content-type", b"application/json")]
        gone = asyncio.create_task(app(scope | {"headers": headers}, receive, send))
        await until(lambda: app.state.service.batcher.waiting == 1)
        leave.set()
        await gone
        assert app.state.service.batcher.waiting == 0
        reader.go.set()
        assert (await running).status_code == 200
        metrics = (await client.get("/metrics")).text
        assert 'spanqa_rejected_total{reason="gone"} 1.0' in metrics
        assert 'spanqa_requests_total{route="/answer",status="499"} 1.0' in metrics

    run(app, scenario)
    assert ["gone"] not in reader.batches


def test_metrics_count_what_happened(client: TestClient) -> None:
    client.post("/answer", json=ASKED | {"question": ["a?", "b?"]})
    client.post("/answer", json={})
    client.get("/nothing")
    client.get("/somewhere-else")
    lines = client.get("/metrics").text.splitlines()
    for line in (
        'spanqa_requests_total{route="/answer",status="200"} 1.0',
        'spanqa_requests_total{route="/answer",status="422"} 1.0',
        'spanqa_requests_total{route="other",status="404"} 2.0',
        'spanqa_request_seconds_count{route="/answer"} 2.0',
        "spanqa_questions_answered_total 2.0",
        "spanqa_batch_questions_sum 3.0",  # the warm-up too
        "spanqa_queue_requests 0.0",
    ):
        assert line in lines


def test_a_key_opens_answers_and_metrics() -> None:
    with TestClient(create_app(ScriptedReader(), api_key="correct-horse")) as client:
        for given in ({}, {"authorization": "Bearer wrong"}, {"authorization": "correct-horse"}):
            for response in (
                client.post("/answer", json=ASKED, headers=given),
                client.get("/metrics", headers=given),
            ):
                assert response.status_code == 401
                assert response.headers["www-authenticate"] == "Bearer"
                assert "Authorization: Bearer KEY" in sentence(response)
        key = {"authorization": "Bearer correct-horse"}
        assert client.post("/answer", json=ASKED, headers=key).status_code == 200
        assert client.get("/metrics", headers=key).status_code == 200
        for path in ("/", "/health", "/ready", "/openapi.json"):
            assert client.get(path).status_code == 200


def test_a_key_is_asked_for_behind_a_prefix_too() -> None:
    app = create_app(ScriptedReader(), api_key="correct-horse")
    with TestClient(app, root_path="/qa") as client:
        for path in ("/qa/answer", "/answer"):
            assert client.post(path, json=ASKED).status_code == 401
        key = {"authorization": "Bearer correct-horse"}
        assert client.post("/qa/answer", json=ASKED, headers=key).status_code == 200


def test_other_sites_are_let_in_by_name_alone(client: TestClient) -> None:
    there = {"origin": "https://there.example"}
    assert (
        "access-control-allow-origin"
        not in client.post("/answer", json=ASKED, headers=there).headers
    )
    open_to = ServerSettings(cors_origin=("https://there.example",))
    with TestClient(create_app(ScriptedReader(), open_to)) as other:
        allowed = other.post("/answer", json=ASKED, headers=there).headers
        assert allowed["access-control-allow-origin"] == "https://there.example"
        asked = there | {
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,content-type",
        }
        assert other.options("/answer", headers=asked).status_code == 200
        foreign = asked | {"origin": "https://elsewhere.example"}
        assert other.options("/answer", headers=foreign).status_code == 400


def test_the_page_needs_nothing_from_elsewhere(client: TestClient) -> None:
    for path, kind in (("/", "html"), ("/page.css", "css"), ("/page.js", "javascript")):
        response = client.get(path)
        assert kind in response.headers["content-type"]
        assert "unsafe" not in response.headers["content-security-policy"]
        assert "default-src 'none'" in response.headers["content-security-policy"]
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "//" not in response.text.replace("// ", "")  # no address at all
    assert "innerHTML" not in client.get("/page.js").text


def test_the_interface_is_described_with_its_limits_and_examples(client: TestClient) -> None:
    described = client.get("/openapi.json").json()
    assert set(described["paths"]) == {"/answer", "/health", "/ready", "/metrics"}
    post = described["paths"]["/answer"]["post"]
    content = post["requestBody"]["content"]["application/json"]
    question = content["schema"]["properties"]["question"]["anyOf"]
    assert question[0]["maxLength"] == 30
    assert question[1]["maxItems"] == 3
    assert {"200", "400", "413", "415", "422", "429", "503", "504"} <= set(post["responses"])
    with TestClient(create_app(ScriptedReader())) as other:
        for example in content["examples"].values():
            assert other.post("/answer", json=example["value"]).status_code == 200


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_no_request_is_an_error_of_the_server(reader: Reader, mode: GenerationMode) -> None:
    """Schemathesis: requests made from the description, valid or invalid, checked against it."""
    roomy = ServerSettings(max_texts=3, max_text_length=80, max_questions=3)
    with running(create_app(reader, roomy)) as address:
        config = SchemathesisConfig.from_dict({"seed": 1})
        schema = schemathesis.openapi.from_url(f"{address}/openapi.json", config=config)
        strategy = schema["/answer"]["POST"].as_strategy(generation_mode=mode)
        statuses = set()

        @settings(
            max_examples=30,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=strategy)
        def check(case: Any) -> None:
            statuses.add(case.call_and_validate().status_code)

        check()
    assert (200 in statuses) == (mode == GenerationMode.POSITIVE)
    assert max(statuses) < 500
