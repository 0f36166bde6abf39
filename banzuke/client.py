"""Starting, watching and stopping runs on a Prefect server, for programs such as a training loop.

    with connect() as server:
        run = server.start(agents=["epoch-*"], newest=3, priority="low")
        ...
        print(run.status().state)

Every call is a few HTTP requests, and has its answer or one of :class:`~banzuke.errors.ClientError` within seconds.
Nothing of ours runs in the caller's process: no thread, no event loop, no signal handler, no logging; the games are
played by a worker, wherever that is. Prefect itself is imported by :func:`connect` alone, for its settings.
"""

from __future__ import annotations

import base64
import contextlib
import math
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack, cast
from uuid import UUID, uuid4

from banzuke.deployed import (
    BackfillParameters,
    Parameter,
    TournamentParameters,
    checked,
    name_of,
)
from banzuke.errors import (
    NoServerError,
    NoSuchRunError,
    RefusedError,
    ServerSilentError,
    StillGoingError,
)
from banzuke.run_status import (
    CONFIRMED,
    PAUSING_SECONDS,
    Ended,
    Event,
    GamesCounted,
    Kind,
    Priority,
    RunState,
    RunStatus,
    StateChanged,
    differences,
)

if TYPE_CHECKING:
    from banzuke.prefect_server import Server, Verdict
    from banzuke.rest import Access

__all__ = [
    "BackfillParameters",
    "Client",
    "Ended",
    "Event",
    "GamesCounted",
    "Kind",
    "Priority",
    "Run",
    "RunState",
    "RunStatus",
    "StateChanged",
    "TournamentParameters",
    "connect",
]

SILENT_SECONDS = 300.0
"""How long a server may be away while a run on it is watched."""
_ACTIVE = ["SCHEDULED", "PENDING", "RUNNING", "PAUSED", "CANCELLING"]
_SHORTEST_PREFIX = 4
_PAGE, _LOOKED_AT = 200, 2000
_NAMED = 5


def connect(url: str | None = None) -> Client:
    """A connection to a Prefect server on which ``banzuke deploy`` was run. Takes about a second: it imports Prefect.

    Args:
        url: of its API; Prefect's own settings (``PREFECT_API_URL``, a profile) if not given.

    Raises:
        NoServerError: none is configured.
        ServerSilentError: it does not answer, or is no Prefect server.
        NotDeployedError: it does not know Banzuke.
    """
    access, ui = server_access(url)
    from banzuke.prefect_server import Server  # noqa: PLC0415 - importing this module costs a program next to nothing

    server = Server(access, ui)
    try:
        server.deployment("tournament")
    except BaseException:
        server.rest.close()
        raise
    return Client(server)


def server_access(url: str | None) -> tuple[Access, str]:
    """What Prefect's settings say, from wherever they come; and where the UI is.

    Raises:
        NoServerError: they name no server.
    """
    from banzuke.rest import Access  # noqa: PLC0415 - see connect

    try:
        from prefect.settings import get_current_settings  # noqa: PLC0415 - takes a second

        settings = get_current_settings()
    except ValueError as error:
        raise NoServerError(f"Prefect's settings make no sense: {' '.join(str(error).split())[:300]}") from error
    chosen = (url or settings.api.url or "").rstrip("/")
    if not chosen:
        raise NoServerError(
            "no Prefect server is configured. Type: prefect server start, and in another terminal: "
            "prefect config set PREFECT_API_URL=http://127.0.0.1:4200/api"
        )
    if not chosen.startswith(("http://", "https://")):
        raise NoServerError(f"{chosen[:200]!r} is no address of a Prefect server; one looks like http://host:4200/api")
    headers = {str(name): str(value) for name, value in dict(settings.client.custom_headers).items()}
    if settings.api.auth_string is not None:
        token = base64.b64encode(settings.api.auth_string.get_secret_value().encode()).decode()
        headers["Authorization"] = f"Basic {token}"
    elif settings.api.key is not None:
        headers["Authorization"] = f"Bearer {settings.api.key.get_secret_value()}"
    access = Access(
        url=chosen,
        headers=headers,
        certificates=settings.api.ssl_cert_file,
        is_verified=not settings.api.tls_insecure_skip_verify,
    )
    ui = settings.ui_url if url is None else None
    return access, (ui or chosen.removesuffix("/api")).rstrip("/")


class Client:
    """A server that runs can be started on; made by :func:`connect`, and closed at the end of its ``with`` block."""

    def __init__(self, server: Server) -> None:
        self.url = server.url
        """Of the API."""
        self._server = server

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let the connection go; runs go on."""
        self._server.rest.close()

    def start(
        self,
        *,
        priority: Priority = "default",
        idempotency_key: str | None = None,
        **parameters: Unpack[TournamentParameters],
    ) -> Run:
        """Start a tournament, in one request: its games are played by a worker, and nobody waits for that.

        Args:
            priority: which of the waiting runs is begun first.
            idempotency_key: started again under the same key, it is the same run.
            parameters: of the tournament; what is left out is as the deployment says.

        Raises:
            RefusedError: a parameter is unknown, or its value makes no sense; one line that names it.
            NotDeployedError: the server no longer knows the deployment.
            ServerSilentError: no answer in time. Under an ``idempotency_key`` it can be started again without harm.
        """
        return self._start("tournament", priority, idempotency_key, cast("Mapping[str, Parameter]", parameters))

    def start_test(
        self, *, priority: Priority = "default", idempotency_key: str | None = None, **parameters: Parameter
    ) -> Run:
        """Start a sequential test of two agents, with the parameters of the deployment ``sprt``. See :meth:`start`."""
        return self._start("test", priority, idempotency_key, parameters)

    def backfill(
        self,
        *,
        priority: Priority = "default",
        idempotency_key: str | None = None,
        **parameters: Unpack[BackfillParameters],
    ) -> Run:
        """Have void and missing games of earlier runs played. See :meth:`start`."""
        return self._start("backfill", priority, idempotency_key, cast("Mapping[str, Parameter]", parameters))

    def rate(
        self, *, priority: Priority = "default", idempotency_key: str | None = None, **parameters: Parameter
    ) -> Run:
        """Have stored games rated, with the parameters of the deployment ``standings``. See :meth:`start`."""
        return self._start("standings", priority, idempotency_key, parameters)

    def runs(self, *, limit: int = 20, active_only: bool = False) -> list[RunStatus]:
        """The newest runs, newest first; of scheduled ones those whose time has come.

        Args:
            limit: how many at most, up to 200.
            active_only: only those that have not ended.
        """
        filters = {"state": {"type": {"any_": _ACTIVE}}} if active_only else {}
        return [found.status for found in self._server.runs(filters, limit=limit)]

    def run(self, wanted: str) -> Run:
        """A run by the id of its flow run or at least four characters of it, by its run id in the store, or by name.

        Where several runs have the name, it is the one of them that has not ended.

        Raises:
            NoSuchRunError: there is none, or it is not clear which.
        """
        with contextlib.suppress(ValueError):
            return Run(self._server, self._server.run(str(UUID(wanted))).status)
        candidates = self._candidates(wanted)
        active = [one for one in candidates if not one.is_over]
        chosen = active if len(candidates) > 1 and len(active) == 1 else candidates
        if not chosen:
            raise NoSuchRunError(f"no run at {self.url} is called {wanted[:80]!r}; banzuke list shows those there are")
        if len(chosen) > 1:
            ids = ", ".join(one.id for one in chosen[:_NAMED])
            raise NoSuchRunError(f"{wanted[:80]!r} can be {len(chosen)} runs; say which: {ids}")
        return Run(self._server, chosen[0])

    def newest(self) -> Run:
        """The newest run that has begun and not ended; else the newest that is to begin; else the newest of all.

        Raises:
            NoSuchRunError: the server has had none.
        """
        found = self.runs(limit=_PAGE, active_only=True) or self.runs(limit=1)
        if not found:
            raise NoSuchRunError(f"there is no run at {self.url} yet; banzuke submit starts one")
        return Run(self._server, max(found, key=lambda status: status.started_at is not None))

    def _start(
        self, kind: Kind, priority: Priority, idempotency_key: str | None, parameters: Mapping[str, Parameter]
    ) -> Run:
        deployment = self._server.deployment(kind)
        wish = checked(parameters, deployment)
        body: dict[str, Any] = {
            "name": f"{kind} {name_of(wish, deployment)}".strip(),
            "parameters": wish,
            # Without a key an answer that is lost on its way could not be asked for again.
            "idempotency_key": idempotency_key or f"banzuke-{uuid4()}",
        }
        if priority != "default":
            if priority not in {"high", "low"}:
                raise RefusedError(f"priority: {priority!r} is none; there are high, default and low")
            if not deployment.has_pool:
                raise RefusedError(f"{deployment.name} is served without a work pool, which knows no priorities")
            body["work_queue_name"] = priority
        return Run(self._server, self._server.start(kind, body))

    def _candidates(self, wanted: str) -> list[RunStatus]:
        by_name = [found.status for found in self._server.runs({"name": {"any_": [wanted]}})]
        if by_name or len(wanted) < _SHORTEST_PREFIX:
            return by_name
        for offset in range(0, _LOOKED_AT, _PAGE):
            found = [one.status for one in self._server.runs({}, offset=offset)]
            exact = [status for status in found if status.run_id == wanted]
            begun_alike = [status for status in found if status.id.startswith(wanted.lower())]
            if exact or begun_alike or len(found) < _PAGE:
                return exact or begun_alike
        return []


class Run:
    """One run on a server; what it is told to do it does within seconds, without anybody waiting for it here."""

    def __init__(self, server: Server, status: RunStatus) -> None:
        self._server = server
        self.id = status.id
        """Of the flow run; a UUID."""
        self.name = status.name
        self.run_id = status.run_id
        """In the store; None for a run that has no games of its own."""
        self.url = status.url
        """Of its page in Prefect's UI."""

    def __repr__(self) -> str:
        return f"<Run {self.name!r} {self.id}>"

    def status(self) -> RunStatus:
        """What the server knows of it now.

        Raises:
            NoSuchRunError: it was deleted there.
        """
        return self._server.run(self.id).status

    def standings(self) -> list[dict[str, Any]]:
        """Its standings as it shows them on its page when it has ended or was stopped; none before.

        Returns:
            One row per agent, best first: ``rank``, ``agent``, ``elo``, ``games`` and more, for people to read.
        """
        return self._server.standings(self.id)

    def events(self, poll_seconds: float = 1.0, timeout: float | None = None) -> Iterator[Event]:
        """What happens to it, from how it is now to its end, which is never missed; asked for every ``poll_seconds``.

        A server that is away for up to five minutes is waited for.

        Args:
            poll_seconds: between two requests.
            timeout: in seconds; None to go on until the run has ended.

        Raises:
            StillGoingError: it has not ended within ``timeout``.
        """
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        seen: RunStatus | None = None
        answered = time.monotonic()
        while True:
            try:
                status = self.status()
                answered = time.monotonic()
            except ServerSilentError:
                if time.monotonic() - answered > SILENT_SECONDS:
                    raise
            else:
                yield from differences(seen, status)
                if status.is_over:
                    return
                seen = status
            left = deadline - time.monotonic()
            if left <= 0:
                state = "unknown" if seen is None else seen.state
                raise StillGoingError(f"{self.name} has not ended within {timeout:g} seconds; it is {state}")
            time.sleep(min(max(poll_seconds, 0.0), left))

    def wait(self, timeout: float | None = None, poll_seconds: float = 1.0) -> RunStatus:
        """Wait for its end, however it ends; see :meth:`events`."""
        *_, last = self.events(poll_seconds, timeout)
        return last.status

    def pause(self) -> RunStatus:
        """Stop playing and free the cores, within ten seconds. What is finished is kept; a paused run stays paused.

        A run that has not begun is held back until it is resumed.

        Raises:
            RefusedError: it is just being started, or has ended.
        """
        found = self._server.run(self.id)
        now = found.status
        if now.state in {"pausing", "paused"}:
            return now
        held_back = found.type == "SCHEDULED"
        if found.type == "PENDING":
            raise RefusedError(f"{self.name} is just being started; pause it in a few seconds")
        if not held_back and now.state != "running":
            raise RefusedError(f"{self.name} is {now.state}; there is nothing to pause")
        message = f"{CONFIRMED}: held back until it is resumed" if held_back else "pausing: games are being stopped"
        details = {"pause_reschedule": True, "pause_key": str(uuid4())}
        state = {"type": "PAUSED", "name": "Suspended", "message": message, "state_details": details}
        # Without force Prefect suspends nothing that does not run.
        return self._told(self._server.propose(self.id, state, force=held_back))

    def resume(self) -> RunStatus:
        """Go on with a run that is paused, or that ended without being complete: exactly what is missing is played.

        Raises:
            RefusedError: it is complete, or just being cancelled.
        """
        found = self._server.run(self.id)
        now = found.status
        if now.state in {"running", "scheduled", "waiting"}:
            return now
        if now.state == "completed":
            raise RefusedError(f"{self.name} is completed; nothing is left to be played")
        if now.state == "cancelling":
            raise RefusedError(f"{self.name} is being cancelled; resume it once that is done")
        begins = self._server.rest.now
        if now.state == "pausing" and found.since is not None:
            # What is left of it must have gone before it is started again.
            begins = found.since + timedelta(seconds=PAUSING_SECONDS)
        name = "Resuming" if found.type == "PAUSED" else "AwaitingRetry"
        details = {"scheduled_time": begins.isoformat()}
        state = {"type": "SCHEDULED", "name": name, "message": "resumed", "state_details": details}
        return self._told(self._server.propose(self.id, state))

    def cancel(self) -> RunStatus:
        """Stop it for good, within ten seconds; at once where it does not run. What is finished is kept.

        Raises:
            RefusedError: it has ended otherwise.
        """
        found = self._server.run(self.id)
        now = found.status
        if now.state in {"cancelling", "cancelled"}:
            return now
        if now.is_over:
            raise RefusedError(f"{self.name} is {now.state}; there is nothing to cancel")
        verdict = self._server.propose(self.id, {"type": "CANCELLING", "name": "Cancelling", "message": "cancelled"})
        if verdict.type == "CANCELLING" and found.type in {"SCHEDULED", "PAUSED"}:
            # It ran before, so Prefect looks for a process to be stopped; there is none.
            verdict = self._server.propose(self.id, {"type": "CANCELLED", "name": "Cancelled", "message": "cancelled"})
        # What does not run, Prefect refuses to stop, and cancels.
        return self.status() if verdict.type in {"CANCELLING", "CANCELLED"} else self._told(verdict)

    def _told(self, verdict: Verdict) -> RunStatus:
        if not verdict.is_accepted:
            raise RefusedError(f"{self.name}: {verdict.reason or 'the server refuses'}")
        return self.status()
