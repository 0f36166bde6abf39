"""What the client makes of servers that are none, are in trouble, or mean harm: one line, in time."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from banzuke import rest
from banzuke.client import connect
from banzuke.errors import NoServerError, NotDeployedError, RefusedError, ServerSilentError
from banzuke.rest import Access, Rest

SOON_SECONDS = 5.0
DEPLOYMENT = {
    "id": "01234567-89ab-cdef-0123-456789abcdef",
    "flow_id": "01234567-89ab-cdef-0123-456789abcdee",
    "work_pool_name": "banzuke",
    "parameter_openapi_schema": {"properties": {"name": {"default": "tournament"}}},
    "parameters": {},
}
RUN = {
    "id": "01234567-89ab-cdef-0123-456789abcded",
    "flow_id": DEPLOYMENT["flow_id"],
    "name": "tournament x",
    "parameters": {},
    "state": {"type": "SCHEDULED", "name": "Scheduled", "message": None, "timestamp": "2026-01-02T03:04:05Z"},
    "work_queue_name": "default",
    "expected_start_time": "2026-01-02T03:04:05Z",
    "start_time": None,
    "end_time": None,
    "estimated_run_time": 0.0,
}


class Double(ThreadingHTTPServer):
    """A server on this machine that answers as a test tells it."""

    daemon_threads = True

    def __init__(self, answer: Callable[[Asked], None]) -> None:
        super().__init__(("127.0.0.1", 0), Asked)
        self.answer = answer
        self.requests: list[tuple[str, bytes, Mapping[str, str]]] = []
        self.gone = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/api"

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that leave are what is tested."""


class Asked(BaseHTTPRequestHandler):
    """One request to the double."""

    protocol_version = "HTTP/1.1"
    server: Double

    def log_message(self, *_arguments: object) -> None:
        """Nobody reads it."""

    def do_GET(self) -> None:
        """Answer as told."""
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.requests.append((self.path, content, dict(self.headers)))
        self.server.answer(self)

    do_POST = do_GET  # noqa: N815 - likewise

    def say(self, status: int, content: str | bytes, kind: str = "application/json", **headers: str) -> None:
        """A whole answer."""
        body = content.encode() if isinstance(content, str) else content
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def json(self, document: object, status: int = 200) -> None:
        """A whole answer."""
        self.say(status, json.dumps(document))


@pytest.fixture
def double() -> Iterator[Callable[[Callable[[Asked], None]], Double]]:
    """Start doubles, which end with the test."""
    started: list[Double] = []

    def start(answer: Callable[[Asked], None]) -> Double:
        server = Double(answer)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.gone.set()
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for fifteen seconds here."""
    monkeypatch.setattr(rest, "REQUEST_SECONDS", 1.0)


def fails(asked: Asked) -> None:
    asked.json({"exception_message": "Internal Server Error"}, 500)


def is_busy_for_ever(asked: Asked) -> None:
    asked.json({"exception_message": "Service Unavailable"}, 503)


def is_a_web_page(asked: Asked) -> None:
    asked.say(200, "<!doctype html>\n<html><title>Prefect</title></html>", "text/html")


def is_a_proxy_in_trouble(asked: Asked) -> None:
    asked.say(502, "<html><h1>502 Bad Gateway</h1>\r\n\x1b[2J</html>", "text/html")


def hangs(asked: Asked) -> None:
    asked.server.gone.wait()


def closes(asked: Asked) -> None:
    asked.connection.shutdown(socket.SHUT_RDWR)


def stops_in_the_middle(asked: Asked) -> None:
    asked.send_response(200)
    asked.send_header("Content-Length", "1000")
    asked.end_headers()
    asked.wfile.write(b'{"id": ')
    asked.wfile.flush()
    asked.connection.shutdown(socket.SHUT_RDWR)


def never_comes_to_an_end(asked: Asked) -> None:
    asked.send_response(200)
    asked.send_header("Content-Length", "1000000")
    asked.end_headers()
    while not asked.server.gone.wait(0.05):
        asked.wfile.write(b" ")
        asked.wfile.flush()


def is_endless(asked: Asked) -> None:
    asked.send_response(200)
    asked.send_header("Content-Length", str(1 << 40))
    asked.end_headers()
    while not asked.server.gone.is_set():
        asked.wfile.write(b" " * (1 << 20))


def talks_of_something_else(asked: Asked) -> None:
    asked.json(["no", "deployment"])


def forgets_the_half(asked: Asked) -> None:
    asked.json({"id": DEPLOYMENT["id"], "flow_id": None})


def names_what_is_no_id(asked: Asked) -> None:
    asked.json({**DEPLOYMENT, "id": "../../admin"})


def is_no_json(asked: Asked) -> None:
    asked.say(200, b'{"id": \xff\xfe')


def nests_without_end(asked: Asked) -> None:
    asked.say(200, "[" * 200_000)


def lies_about_its_encoding(asked: Asked) -> None:
    asked.say(200, b"\x00\x01", **{"Content-Encoding": "gzip"})


def sends_on(asked: Asked) -> None:
    asked.say(307, "", Location="https://elsewhere.example/api")


def does_not_know_who_asks(asked: Asked) -> None:
    asked.say(401, "Unauthorized", "text/plain")


def knows_no_such_page(asked: Asked) -> None:
    asked.json({"detail": "Not Found"}, 404)


MISBEHAVIOURS = {
    fails: "fails (500",
    is_busy_for_ever: "fails (503",
    is_a_web_page: "its address mostly ends in /api",
    is_a_proxy_in_trouble: "fails (502",
    hangs: "is it up, and is PREFECT_API_URL its address?",
    closes: "is it up, and is PREFECT_API_URL its address?",
    stops_in_the_middle: "is it up, and is PREFECT_API_URL its address?",
    never_comes_to_an_end: "does not come to an end",
    is_endless: "(the answer",
    talks_of_something_else: "is not Prefect's API",
    forgets_the_half: "is not Prefect's API",
    names_what_is_no_id: "is not Prefect's API",
    is_no_json: "is not Prefect's API",
    nests_without_end: "is not Prefect's API",
    lies_about_its_encoding: "no answer",
    sends_on: "sends on to https://elsewhere.example/api; set PREFECT_API_URL to that",
    does_not_know_who_asks: "set PREFECT_API_KEY or PREFECT_API_AUTH_STRING",
    knows_no_such_page: "its address mostly ends in /api",
}


@pytest.mark.parametrize("misbehaves", MISBEHAVIOURS, ids=lambda misbehaves: misbehaves.__name__)
def test_a_server_that_is_none_is_one_line_in_time(
    double: Callable[[Callable[[Asked], None]], Double], misbehaves: Callable[[Asked], None]
) -> None:
    """It says which address, what came, and what to look at; and nobody waits longer than a request may take."""
    server = double(misbehaves)
    begun = time.monotonic()

    with pytest.raises(ServerSilentError) as silent:
        connect(server.url)

    line = str(silent.value)
    assert time.monotonic() - begun < SOON_SECONDS
    assert server.url in line
    assert MISBEHAVIOURS[misbehaves] in line
    assert line.isprintable()
    assert len(line) < 700


def test_where_nobody_listens_is_said_at_once() -> None:
    """A port without a server, and a name without a machine."""
    begun = time.monotonic()

    for url in (
        "http://127.0.0.1:9/api",
        "http://nowhere.invalid/api",
        "http://[::1/api",
        "http://127.0.0.1:99999999/",
    ):
        with pytest.raises(ServerSilentError) as silent:
            connect(url)
        assert 1 == len(str(silent.value).splitlines())

    assert time.monotonic() - begun < 4 * SOON_SECONDS


@pytest.mark.parametrize("url", ["ftp://host/api", "host:4200", "\x1b[2J"])
def test_what_is_no_address_is_said(url: str) -> None:
    """With one that is."""
    with pytest.raises(
        NoServerError, match="is no address of a Prefect server; one looks like http://host:4200/api"
    ) as no:
        connect(url)

    assert str(no.value).isprintable()


def test_a_server_that_does_not_know_banzuke_says_what_to_do(double: Callable[..., Double]) -> None:
    """As Prefect says it."""
    server = double(lambda asked: asked.json({"detail": "Deployment not found"}, 404))

    with pytest.raises(NotDeployedError, match="does not know play-tournament/pipeline; run `banzuke deploy`"):
        connect(server.url)


def test_a_server_that_is_busy_is_asked_again(double: Callable[..., Double]) -> None:
    """Twice busy, once gone, then there: the caller hears of the last alone."""
    moods = iter([is_busy_for_ever, is_busy_for_ever, closes])

    def answer(asked: Asked) -> None:
        next(moods, lambda later: later.json(DEPLOYMENT))(asked)

    server = double(answer)

    with connect(server.url) as client:
        assert server.url == client.url

    assert 4 == len(server.requests)


def test_an_answer_that_is_lost_starts_no_second_run(double: Callable[..., Double]) -> None:
    """What is sent again is sent under the same key."""
    lost = iter([True])

    def answer(asked: Asked) -> None:
        if asked.command == "GET":
            asked.json(DEPLOYMENT)
        elif next(lost, False):
            closes(asked)
        else:
            asked.json(RUN)

    server = double(answer)

    with connect(server.url) as client:
        run = client.start(name="x")

    keys = [json.loads(content)["idempotency_key"] for path, content, _ in server.requests if "create" in path]
    assert RUN["id"] == run.id
    assert 2 == len(keys)
    assert 1 == len(set(keys))


@pytest.mark.parametrize(
    ("status", "answer", "line"),
    [
        (422, {"exception_detail": [{"loc": ["body", "name"], "msg": "is no text"}]}, "name: is no text"),
        (422, {"detail": [{"loc": ["body", "parameters", "seed"], "msg": "no"}]}, "parameters.seed: no"),
        (400, {"detail": "Error\nhydrating"}, "Error hydrating"),
        (409, {"detail": {"a": 1}}, '{"a": 1}'),
        (409, [], "no reason is given"),
        (409, {"detail": "x" * 5000}, "x" * 300 + "…"),
    ],
)
def test_whatever_a_refusal_looks_like_it_is_one_line(
    double: Callable[..., Double], status: int, answer: Any, line: str
) -> None:
    """Fields by their names, everything else in the server's words, cut where it is too long."""
    server = double(lambda asked: asked.json(DEPLOYMENT) if asked.command == "GET" else asked.json(answer, status))

    with connect(server.url) as client, pytest.raises(RefusedError) as refused:
        client.start(name="x")

    assert line == str(refused.value)


@pytest.mark.parametrize("strange", [None, [], "x", {"id": 1}, {**RUN, "state": {"type": "ODD", "name": "Odd"}}])
def test_a_run_that_is_none_is_said(double: Callable[..., Double], strange: Any) -> None:
    """Whatever form it has."""
    server = double(lambda asked: asked.json(strange if "flow_run" in asked.path else DEPLOYMENT))

    with connect(server.url) as client:
        for ask in (client.start, client.runs, lambda: client.run(str(RUN["id"]))):
            if ask == client.runs and strange == []:
                assert [] == client.runs()
                continue
            with pytest.raises(ServerSilentError, match="is not Prefect's API"):
                ask()


def test_who_fears_forged_requests_is_shown_a_token(double: Callable[..., Double]) -> None:
    """The token is asked for once, when it is missed, and sent from then on."""

    def answer(asked: Asked) -> None:
        if asked.path.startswith("/api/csrf-token?client="):
            asked.json({"token": "secret", "client": asked.path.partition("=")[2]})
        elif asked.command == "POST" and asked.headers.get("Prefect-Csrf-Token") != "secret":
            asked.json({"detail": "Missing CSRF token."}, 403)
        else:
            asked.json(RUN if asked.command == "POST" else DEPLOYMENT)

    server = double(answer)

    with connect(server.url) as client:
        client.start(name="x")
        client.start(name="y")

    assert 1 == sum("csrf-token" in path for path, _, _ in server.requests)
    assert 3 == sum("create_flow_run" in path for path, _, _ in server.requests)


def test_a_slow_clock_here_confuses_nobody(double: Callable[..., Double], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is new is judged by the server's clock."""
    monkeypatch.setattr(Asked, "date_time_string", lambda *_: "Fri, 01 Jan 2100 00:00:00 GMT")
    connection = Rest(Access(url=double(lambda asked: asked.json({})).url))

    connection.get("anything")

    assert 2100 == connection.now.year
    connection.close()


def command(environment: Mapping[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """Type it, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "deployments.cli", *words],
        env=dict(environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("settings", "code", "line"),
    [
        ({}, 2, "no Prefect server is configured. Type: prefect server start"),
        (
            {"PREFECT_API_URL": "http://127.0.0.1:9/api"},
            1,
            "no answer from the Prefect server at http://127.0.0.1:9/api",
        ),
        ({"PREFECT_API_URL": "http://127.0.0.1:9/api", "PREFECT_CLIENT_MAX_RETRIES": "x"}, 2, "make no sense"),
    ],
    ids=["none configured", "nobody there", "nonsense configured"],
)
def test_the_command_says_what_is_wrong_with_the_server(
    environment: Mapping[str, str], tmp_path: Path, settings: Mapping[str, str], code: int, line: str
) -> None:
    """One line and the exit code of the contract; Prefect may have complained of its settings before."""
    done = command({**environment, "PREFECT_HOME": str(tmp_path), **settings}, "list")

    *before, last = done.stderr.splitlines()
    assert (code, "") == (done.returncode, done.stdout)
    assert line in last
    assert bool(before) == ("PREFECT_CLIENT_MAX_RETRIES" in settings)
    assert "Traceback" not in done.stderr


def test_secrets_of_the_settings_are_sent_and_never_shown(double: Callable[..., Double], tmp_path: Path) -> None:
    """Key and headers go with every request, and into no message."""
    server = double(fails)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    settings = {"PREFECT_API_KEY": "pnu_secret", "PREFECT_CLIENT_CUSTOM_HEADERS": '{"X-Team": "shogi"}'}
    environment = {**kept, "PREFECT_HOME": str(tmp_path), "PREFECT_API_URL": server.url, **settings}

    done = command(environment, "list")

    sent = server.requests[0][2]
    assert ("Bearer pnu_secret", "shogi") == (sent["Authorization"], sent["X-Team"])
    assert 1 == done.returncode
    assert "pnu_secret" not in done.stdout + done.stderr
