from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from finemem_pipeline.generation import GeneratorError, Sampling
from finemem_pipeline.generation.endpoint import EndpointGenerator
from finemem_pipeline.stopping import RESUME_EXIT_CODE


@dataclass
class Fault:
    """One reply of the server that is not the expected one. Status 0 closes the connection without a word."""

    status: int = 200
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    drip: float = 0.0  # seconds before every byte of the body
    missing: int = 0  # bytes that are promised and do not come before the connection closes
    silence: float = 0.0  # seconds before it closes


class Server:
    """A chat server on 127.0.0.1 that echoes the last message in capitals, after the faults it was given."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.always: Fault | None = None
        self.models: list[str] | Fault = ["tiny"]
        self.reply: Callable[[str], dict[str, Any]] = lambda text: {"content": text.upper()}
        self.slowness = 0.0
        self.requests: list[dict[str, Any]] = []
        self.arrivals: list[float] = []
        self.together = self.most_together = 0
        self.keys: set[str | None] = set()
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if isinstance(server.models, Fault):
                    self._send(server.models)
                else:
                    self._send(Fault(body=json.dumps({"data": [{"id": name} for name in server.models]})))

            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with server._lock:
                    server.keys.add(self.headers["authorization"])
                    server.requests.append(request)
                    server.arrivals.append(time.monotonic())
                    server.together += 1
                    server.most_together = max(server.most_together, server.together)
                    fault = server.faults.pop(0) if server.faults else server.always
                try:
                    if fault is None:
                        text = request["messages"][-1]["content"]
                        time.sleep(server.slowness * (1 + len(text) % 3))
                        choice = {"message": server.reply(text), "finish_reason": "stop"}
                        if "finish_reason" in choice["message"]:
                            choice["finish_reason"] = choice["message"].pop("finish_reason")
                        fault = Fault(body=json.dumps({"choices": [choice]}))
                finally:
                    with server._lock:
                        server.together -= 1
                self._send(fault)

            def _send(self, fault: Fault) -> None:
                time.sleep(fault.delay)
                if fault.status == 0:
                    self.close_connection = True
                    self.connection.close()
                    return
                body = fault.body.encode()
                with suppress(OSError):  # the client may not have waited
                    self.send_response(fault.status)
                    self.send_header("content-type", "application/json")
                    self.send_header("content-length", str(len(body) + fault.missing))
                    for name, value in fault.headers.items():
                        self.send_header(name, value)
                    self.end_headers()
                    if not fault.drip:
                        self.wfile.write(body)
                        if fault.missing:
                            time.sleep(fault.silence)
                            self.close_connection = True
                        return
                    for byte in body:
                        time.sleep(fault.drip)
                        self.wfile.write(bytes([byte]))

            def finish(self) -> None:
                with suppress(OSError, ValueError):  # the connection may be gone
                    super().finish()

            def log_message(self, *args: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


def endpoint(server: Server, **changes: Any) -> EndpointGenerator:
    settings: dict[str, Any] = {"timeout": 5.0, "concurrency": 4, "attempts": 4, "first_wait": 0.01} | changes
    return EndpointGenerator(server.url, "tiny", **settings)


def say(*texts: str) -> list[list[dict[str, str]]]:
    return [[{"role": "user", "content": text}] for text in texts]


def texts(generator: EndpointGenerator, *said: str) -> list[str]:
    return [completion.text for completion in generator.generate(say(*said), Sampling())]


def test_replies_come_in_the_order_asked_with_no_more_requests_at_once_than_allowed(server: Server):
    server.slowness = 0.02
    said = [f"text {'x' * i}" for i in range(20)]
    assert texts(endpoint(server, concurrency=3), *said) == [text.upper() for text in said]
    assert server.most_together == 3


def test_a_request_carries_the_model_the_decoding_the_key_and_the_extra_body(server: Server):
    generator = endpoint(server, api_key="secret", extra_body={"chat_template_kwargs": {"enable_thinking": False}})
    generator.generate(say("hi"), Sampling(max_tokens=7, temperature=0.5, top_p=0.9, seed=3))
    assert server.requests == [
        {
            "model": "tiny",
            "messages": [{"role": "user", "content": "hi"}],
            "max_tokens": 7,
            "temperature": 0.5,
            "top_p": 0.9,
            "seed": 3,
            "chat_template_kwargs": {"enable_thinking": False},
        }
    ]
    assert server.keys == {"Bearer secret"}


def test_the_name_tells_models_servers_and_extra_bodies_apart(server: Server):
    plain, thinking = endpoint(server), endpoint(server, extra_body={"think": True})
    assert plain.name == f"tiny at {server.url}"
    assert thinking.name == f'tiny at {server.url} {{"think": true}}'


CHOICE = '{"choices": [{"message": %s, "finish_reason": "stop"}]}'


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault(500, "oops"), id="500"),
        pytest.param(Fault(503, "{}"), id="503"),
        pytest.param(Fault(429, "slow down"), id="429"),
        pytest.param(Fault(408), id="408"),
        pytest.param(Fault(0), id="connection dropped"),
        pytest.param(Fault(200, '{"choices', missing=90), id="dropped in the middle of the reply"),
        pytest.param(Fault(200, "<html>please log in</html>"), id="not JSON"),
        pytest.param(Fault(200, ""), id="nothing"),
        pytest.param(Fault(200, "[]"), id="a list"),
        pytest.param(Fault(200, '{"error": "overloaded"}'), id="no choices"),
        pytest.param(Fault(200, '{"choices": []}'), id="empty choices"),
        pytest.param(Fault(200, '{"choices": [{"text": "x"}]}'), id="no message"),
        pytest.param(Fault(200, CHOICE % '{"content": null}'), id="null content"),
        pytest.param(Fault(200, CHOICE % '{"content": {"text": "x"}}'), id="content no text"),
    ],
)
def test_a_passing_fault_is_asked_again(server: Server, fault: Fault):
    server.faults = [fault, fault]
    assert texts(endpoint(server), "hi") == ["HI"]
    assert len(server.requests) == 3


def test_a_server_that_hangs_is_asked_again_after_the_timeout(server: Server):
    server.faults = [Fault(delay=30.0)]
    begin = time.monotonic()
    assert texts(endpoint(server, timeout=0.5), "hi") == ["HI"]
    assert 0.5 <= time.monotonic() - begin < 15.0


def test_a_server_that_falls_silent_in_the_middle_of_a_reply_is_asked_again(server: Server):
    server.faults = [Fault(body='{"choices', missing=90, silence=5.0)]
    begin = time.monotonic()
    assert texts(endpoint(server, timeout=0.5), "hi") == ["HI"]
    assert 0.5 <= time.monotonic() - begin < 4.0


def test_a_reply_that_drips_is_given_up_after_the_timeout(server: Server):
    server.faults = [Fault(body=" " * 300, drip=0.1)]
    begin = time.monotonic()
    assert texts(endpoint(server, timeout=0.5), "hi") == ["HI"]
    assert 0.5 <= time.monotonic() - begin < 15.0


def test_retry_after_is_honoured(server: Server):
    server.faults = [Fault(429, headers={"retry-after": "0.6"})]
    assert texts(endpoint(server), "hi") == ["HI"]
    assert server.arrivals[1] - server.arrivals[0] >= 0.6


def test_retry_after_may_be_a_date(server: Server):
    server.faults = [Fault(503, headers={"retry-after": formatdate(time.time() + 2, usegmt=True)})]
    assert texts(endpoint(server), "hi") == ["HI"]
    assert server.arrivals[1] - server.arrivals[0] >= 0.5  # dates have whole seconds


def test_no_wait_is_longer_than_the_longest(server: Server):
    server.faults = [Fault(429, headers={"retry-after": "3600"})]
    begin = time.monotonic()
    assert texts(endpoint(server, longest_wait=0.2), "hi") == ["HI"]
    assert time.monotonic() - begin < 2


def test_an_empty_text_is_a_reply(server: Server):
    server.reply = lambda text: {"content": ""}
    assert texts(endpoint(server), "hi") == [""]
    assert len(server.requests) == 1


def test_a_thought_that_the_server_cut_off_is_told_as_an_unfinished_thought(server: Server):
    server.reply = lambda text: {"content": None, "reasoning_content": "well", "finish_reason": "length"}
    (completion,) = endpoint(server).generate(say("hi"), Sampling())
    assert (completion.text, completion.finish) == ("<think>well", "length")


def test_a_reply_that_was_cut_says_so(server: Server):
    server.reply = lambda text: {"content": "once upon a", "finish_reason": "length"}
    assert endpoint(server).generate(say("hi"), Sampling())[0].finish == "length"


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (Fault(500, "out of memory"), "after 4 attempts. Last: InternalServerError: .*500.*Look at the server's log"),
        (Fault(429), "after 4 attempts. Last: RateLimitError.*Lower the concurrency"),
        (Fault(0), "after 4 attempts. Last: APIConnectionError.*Is the server running"),
        (Fault(200, "<html>"), "after 4 attempts. Last: _NoText.*<html>.*chat API"),
    ],
)
def test_a_server_that_stays_down_raises_and_says_what_happened(server: Server, fault: Fault, told: str):
    server.always = fault
    with pytest.raises(GeneratorError, match=f"{server.url}, model 'tiny', gave no reply {told}"):
        endpoint(server).generate(say("hi"), Sampling())
    assert len(server.requests) == 4


def test_one_request_that_fails_for_good_ends_the_others_waits(server: Server):
    server.faults = [Fault(401)]
    server.always = Fault(429, headers={"retry-after": "30"})
    begin = time.monotonic()
    with pytest.raises(GeneratorError):
        endpoint(server, concurrency=2).generate(say(*map(str, range(50))), Sampling())
    assert time.monotonic() - begin < 5
    assert len(server.requests) < 10


def test_a_process_that_is_terminated_does_not_wait_for_a_request_that_hangs(server: Server):
    server.always = Fault(delay=60.0)
    script = f"""
from finemem_pipeline.generation import Sampling
from finemem_pipeline.generation.endpoint import EndpointGenerator
from finemem_pipeline.stopping import orderly
with orderly():
    print("asking", flush=True)
    EndpointGenerator({server.url!r}, "tiny", timeout=60).generate([[{{"role": "user", "content": "hi"}}]], Sampling())
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"asking\n"
    while not server.requests:
        time.sleep(0.01)
    process.terminate()
    begin = time.monotonic()
    assert process.wait(timeout=50) == RESUME_EXIT_CODE
    assert time.monotonic() - begin < 20


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (401, "AuthenticationError.*Check the API key"),
        (403, "PermissionDeniedError.*Check the API key"),
        (404, "NotFoundError.*Check the model's name"),
        (400, "BadRequestError.*too long"),
    ],
)
def test_a_refusal_is_not_asked_again(server: Server, status: int, told: str):
    server.always = Fault(status, json.dumps({"error": {"message": "too long"}}))
    with pytest.raises(GeneratorError, match=f"gave no reply. Last: {told}"):
        endpoint(server).generate(say("hi"), Sampling())
    assert len(server.requests) == 1


def test_nothing_listens_there():
    server = Server()
    server.close()
    begin = time.monotonic()
    with pytest.raises(GeneratorError, match="Is the server running"):
        endpoint(server).check()
    with pytest.raises(GeneratorError, match="after 2 attempts"):
        endpoint(server, attempts=2).generate(say("hi"), Sampling())
    assert time.monotonic() - begin < 5


def test_an_address_without_a_scheme_is_refused():
    with pytest.raises(GeneratorError, match=r"^the.*http://.*found 'localhost:8000/v1'"):
        EndpointGenerator("localhost:8000/v1", "tiny")


def test_no_conversations_no_requests(server: Server):
    assert endpoint(server).generate([], Sampling()) == []
    assert server.requests == []


def test_check_is_content_with_a_server_that_serves_the_model(server: Server):
    endpoint(server).check()
    assert server.requests == []


def test_check_is_content_with_a_server_that_lists_no_models(server: Server):
    server.models = Fault(404)
    endpoint(server).check()


def test_check_is_content_with_a_model_known_by_another_name(server: Server):
    server.models = ["tiny:latest"]
    endpoint(server).check()
    assert len(server.requests) == 1


def test_check_guesses_the_model_meant(server: Server):
    server.models, server.always = ["tinny", "huge"], Fault(404)
    with pytest.raises(GeneratorError, match=r"'tiny' is not a known model of this server. Did you mean 'tinny'"):
        endpoint(server).check()


def test_check_notices_a_wrong_key(server: Server):
    server.models = Fault(401)
    with pytest.raises(GeneratorError, match="Check the API key"):
        endpoint(server).check()


def test_check_does_not_wait_for_a_server_that_hangs(server: Server):
    server.models = Fault(delay=30.0, body="{}")
    begin = time.monotonic()
    with pytest.raises(GeneratorError, match="Is the server overloaded"):
        endpoint(server).check(timeout=0.3)
    assert time.monotonic() - begin < 15.0


def test_each_request_carries_its_own_seed(server: Server):
    endpoint(server).generate(say("one", "two"), Sampling(temperature=1.0, seeds=(11, 22)))
    sent = {request["messages"][0]["content"]: request["seed"] for request in server.requests}
    assert sent == {"one": 11, "two": 22}
