"""Prefect's REST API as the client needs it: JSON there and back, every request with an absolute deadline.

Prefect's own client retries for minutes, logs, and compares versions. In somebody else's process a request either has
its answer within seconds or fails with one line, and nothing is logged, started or left behind. Whatever is sent here
may be sent twice: runs are created under an idempotency key, and states are set that the run may be in already.
"""

from __future__ import annotations

import json
import random
import ssl
import threading
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any
from uuid import uuid4

import httpx

from banzuke import __version__
from banzuke.errors import ClientError, ServerSilentError

REQUEST_SECONDS = 15.0
"""For one answer, however often it has to be asked for."""
FEWEST_SECONDS = 0.05
"""Left for a try that is made at the very end."""
BUSY = frozenset({429, 502, 503, 504})
"""The server, or what stands before it, asks to be asked again; one with SQLite does whenever two write at once."""
MOST_SILENT = 4
"""Tries without any answer, after which nobody is there."""
FIRST_PAUSE, LONGEST_PAUSE = 0.03, 1.0
"""Seconds between two tries; doubled each time, give or take a half, lest two get in each other's way again."""
LARGEST_ANSWER = 32 << 20
LONGEST_QUOTE = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Where a server is, and what it wants to see of whoever asks."""

    url: str
    """Of the API, without a slash at its end."""
    headers: Mapping[str, str] = field(default_factory=dict)
    certificates: str | None = None
    """A file of certificates to trust, instead of the usual ones."""
    is_verified: bool = True


class Refusal(ClientError):  # noqa: N818 - an answer, which the client puts into the words of what was asked
    """The server answered, and the answer is no.

    Args:
        status: of HTTP.
        reason: the server's words, in one line.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(status, reason)

    @property
    def status(self) -> int:
        """Of HTTP."""
        status: int = self.args[0]
        return status

    @property
    def reason(self) -> str:
        """The server's words, in one line."""
        reason: str = self.args[1]
        return reason

    def __str__(self) -> str:
        return f"the Prefect server refuses ({self.status}): {self.reason}"


class Rest:
    """A connection to one server; may be used by several threads."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._headers = {"User-Agent": f"banzuke/{__version__}", "Accept": "application/json", **access.headers}
        self._ahead = timedelta()
        self._is_closed = False
        self._forgery_lock = threading.Lock()
        try:
            address = httpx.URL(access.url)
            self._transport = httpx.HTTPTransport(verify=_verification(access), proxy=_proxy_for(address))
        except (httpx.InvalidURL, ImportError, OSError, ValueError) as error:
            raise ServerSilentError(f"{access.url}: {_one_line(error)}") from error

    def close(self) -> None:
        """Let the connections go."""
        self._is_closed = True
        self._transport.close()

    @property
    def now(self) -> datetime:
        """By the server's clock, to the second."""
        return datetime.now(UTC) + self._ahead

    def get(self, path: str) -> Any:  # noqa: ANN401 - JSON
        """What the server has there.

        Raises:
            Refusal: it answers with an error.
            ServerSilentError: it does not answer in time, or with something that is none of Prefect's.
        """
        return self._ask("GET", path, None)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON
        """What the server answers; see :meth:`get`."""
        return self._ask("POST", path, json.dumps(body, allow_nan=False).encode())

    def _ask(self, method: str, path: str, content: bytes | None) -> Any:  # noqa: ANN401 - JSON
        if self._is_closed:
            raise ClientError("the client is closed; use it within its with block")
        deadline = time.monotonic() + REQUEST_SECONDS
        answer = self._answer(method, path, content, deadline)
        if answer.status_code == HTTPStatus.FORBIDDEN and "CSRF" in answer.text:
            self._bring_proof(deadline)
            answer = self._answer(method, path, content, deadline)
        if answer.is_server_error:
            words = _quoted(answer.content)
            raise ServerSilentError(f"the Prefect server at {self._access.url} fails ({answer.status_code}: {words})")
        found = self._json_of(answer)
        if answer.is_error:
            raise Refusal(answer.status_code, _reason(found))
        return found

    def _answer(self, method: str, path: str, content: bytes | None, deadline: float) -> httpx.Response:
        """The first answer that is more than "ask again", or the last one in time."""
        silent = 0
        pause = FIRST_PAUSE
        while True:
            wait = pause * random.uniform(0.5, 1.5)  # noqa: S311 - no secret
            is_last = time.monotonic() + wait > deadline
            try:
                answer = self._answer_once(method, path, content, deadline)
            except (httpx.HTTPError, httpx.StreamError, OSError) as error:
                silent += 1
                if is_last or silent == MOST_SILENT or time.monotonic() > deadline:
                    raise ServerSilentError(
                        f"no answer from the Prefect server at {self._access.url} ({_one_line(error)}); "
                        "is it up, and is PREFECT_API_URL its address?"
                    ) from error
            else:
                if answer.status_code not in BUSY or is_last:
                    return answer
            time.sleep(wait)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _answer_once(self, method: str, path: str, content: bytes | None, deadline: float) -> httpx.Response:
        left = max(FEWEST_SECONDS, deadline - time.monotonic())
        request = httpx.Request(
            method,
            f"{self._access.url}/{path}",
            headers={**self._headers, **({} if content is None else {"Content-Type": "application/json"})},
            content=content,
            extensions={"timeout": dict.fromkeys(("connect", "read", "write", "pool"), left)},
        )
        answer = self._transport.handle_request(request)
        try:
            # A time-out is for one read; who sends a byte a second never meets it.
            pieces, size = [], 0
            for piece in answer.iter_raw():
                pieces.append(piece)
                size += len(piece)
                if time.monotonic() > deadline:
                    raise TimeoutError("the answer does not come to an end")
                if size > LARGEST_ANSWER:
                    raise TimeoutError(f"the answer is longer than {LARGEST_ANSWER >> 20} MiB")
        finally:
            answer.close()
        self._look_at_clock(answer.headers.get("date"))
        return httpx.Response(answer.status_code, headers=answer.headers, content=b"".join(pieces))

    def _look_at_clock(self, date: str | None) -> None:
        try:
            told = parsedate_to_datetime(date or "")
        except (ValueError, TypeError):
            return
        if told.tzinfo is not None:
            self._ahead = told - datetime.now(UTC)

    def _bring_proof(self, deadline: float) -> None:
        """Servers that fear forged requests of browsers want a token in each."""
        with self._forgery_lock:
            client = self._headers.get("Prefect-Csrf-Client") or str(uuid4())
            found = self._json_of(self._answer("GET", f"csrf-token?client={client}", None, deadline))
            token = found.get("token") if isinstance(found, dict) else None
            self._headers |= {"Prefect-Csrf-Client": client, "Prefect-Csrf-Token": str(token)}

    def _json_of(self, answer: httpx.Response) -> Any:  # noqa: ANN401 - JSON
        if answer.status_code == HTTPStatus.UNAUTHORIZED:
            raise ServerSilentError(
                f"the Prefect server at {self._access.url} wants to know who asks (401); "
                "set PREFECT_API_KEY or PREFECT_API_AUTH_STRING"
            )
        if answer.has_redirect_location:
            target = answer.headers["location"]
            raise ServerSilentError(f"{self._access.url} sends on to {_quoted(target)}; set PREFECT_API_URL to that")
        try:
            return answer.json() if answer.content else None
        except (ValueError, RecursionError, httpx.DecodingError) as error:
            raise self.nonsense(f"{answer.status_code}: {_quoted(answer.content)}") from error

    def nonsense(self, what: str) -> ServerSilentError:
        """The error for an answer that is none of Prefect's."""
        return ServerSilentError(
            f"what answers at {self._access.url} is not Prefect's API ({what}); its address mostly ends in /api"
        )


def _verification(access: Access) -> ssl.SSLContext | bool:
    if not access.is_verified:
        return False
    return True if access.certificates is None else ssl.create_default_context(cafile=access.certificates)


def _proxy_for(address: httpx.URL) -> str | None:
    """The environment's, as every other program takes it."""
    if urllib.request.proxy_bypass(address.host):
        return None
    proxies = urllib.request.getproxies()
    return proxies.get(address.scheme) or proxies.get("all")


def _reason(found: object) -> str:
    """What an error of the API says: FastAPI's detail, one line for all fields that are at fault."""
    detail = found.get("detail", found) if isinstance(found, dict) else found
    faults = found.get("exception_detail") if isinstance(found, dict) else None
    if isinstance(faults, list):
        detail = faults
    if isinstance(detail, list):
        detail = "; ".join(_fault(fault) for fault in detail)
    return _quoted(detail if isinstance(detail, str) else json.dumps(detail)) or "no reason is given"


def _fault(fault: object) -> str:
    if not isinstance(fault, dict):
        return str(fault)
    places = fault.get("loc") or ()
    where = ".".join(str(part) for part in places if part != "body") if isinstance(places, list | tuple) else ""
    return f"{where}: {fault.get('msg')}" if where else str(fault.get("msg"))


def _quoted(text: object) -> str:
    shown = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
    line = " ".join("".join(char if char.isprintable() else " " for char in shown[: 4 * LONGEST_QUOTE]).split())
    return line if len(line) <= LONGEST_QUOTE else f"{line[:LONGEST_QUOTE]}…"


def _one_line(error: Exception) -> str:
    return _quoted(error) or type(error).__name__
