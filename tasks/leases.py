"""Leases of slots: what is asked of a Prefect server whose limits are kept, and what keeps a lease alive.

Not guaranteed: whoever loses a lease, because the server was away for too long, plays its batch to the end all the same
and asks for its slots again meanwhile. Games are worth more than a limit.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from typing import Any
from uuid import UUID

from httpx import HTTPError, HTTPStatusError
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.client.schemas.objects import ConcurrencyLeaseHolder
from prefect.client.schemas.responses import GlobalConcurrencyLimitResponse
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from banzuke.errors import BanzukeError

Log = logging.Logger | logging.LoggerAdapter[Any]
LEASE_SECONDS = 60.0
"""The shortest that a server grants; the slots of a killed process come back after that and a round of its sweep."""
RENEW_SECONDS = 15.0
"""Three times before a lease would end."""
LOCKED, GONE = 423, 410
"""What the server answers where no slot is free, and where a lease is no more."""


class NoLimitError(BanzukeError):
    """A limit that the run is to keep is not on the server any more."""


def slots_in_words(number: int) -> str:
    """For the middle of a sentence."""
    return "a slot" if number == 1 else f"{number} slots"


class Lease:
    """Slots that are held, and kept by saying so again and again.

    Args:
        server: of the limit.
        name: of the limit.
        slots: how many.
        lease: as the server calls it.
        on_lost: told the limit's name when they are lost.
    """

    def __init__(self, server: LimitServer, name: str, slots: int, lease: UUID, on_lost: Callable[[str], None]) -> None:
        self.server = server
        self.name = name
        self.slots = slots
        self._lease: UUID | None = lease
        self._on_lost = on_lost
        self._changing = threading.Lock()
        self._ended = threading.Event()
        threading.Thread(target=self._keep, name=f"lease-{name}", daemon=True).start()

    def end(self) -> None:
        """Give the slots back; what the server does not hear of comes back when the lease ends."""
        self._ended.set()
        with self._changing:
            lease, self._lease = self._lease, None
        if lease is not None:
            self.server.give_back(lease)

    def _keep(self) -> None:
        while not self._ended.wait(RENEW_SECONDS):
            # A server that is away is asked again in time; a client that is closed was closed by the run's end.
            with contextlib.suppress(HTTPError, NoLimitError, RuntimeError):
                if self._lease is None:
                    self._take_again()
                elif not self.server.renew(self._lease):
                    self._lose()

    def _lose(self) -> None:
        with self._changing:
            self._lease = None
        if not self._ended.is_set():
            self._on_lost(self.name)
            self._take_again()

    def _take_again(self) -> None:
        lease = self.server.take(self.name, self.slots)
        with self._changing:
            if not self._ended.is_set():
                self._lease = lease
                return
        if lease is not None:
            self.server.give_back(lease)


class LimitServer:
    """What is asked of the server, each time with one try of a few seconds: who asks has other things to look at.

    Args:
        client: of the server; for all threads of the run.
        run: the flow run that the slots are taken for.
    """

    def __init__(self, client: SyncPrefectClient, run: UUID) -> None:
        self.client = client
        self.run = run

    def read(self, name: str) -> GlobalConcurrencyLimitResponse:
        """A limit as it is now.

        Raises:
            NoLimitError: there is none.
            HTTPError: the server is away, or too busy.
        """
        try:
            with one_try():
                return self.client.read_global_concurrency_limit_by_name(name)
        except ObjectNotFound as error:
            raise _no_limit(name) from error

    def take(self, name: str, slots: int) -> UUID | None:
        """Slots, if so many are free; the lease that they are held by.

        Raises:
            NoLimitError, HTTPError: see :meth:`read`.
        """
        holder = ConcurrencyLeaseHolder(type="flow_run", id=self.run)
        try:
            with one_try():
                answer = self.client.increment_concurrency_slots_with_lease(
                    names=[name], slots=slots, mode="concurrency", lease_duration=LEASE_SECONDS, holder=holder
                )
        except HTTPStatusError as error:
            if error.response.status_code == LOCKED:
                return None
            raise
        taken: dict[str, Any] = answer.json()
        lease = UUID(taken["lease_id"])
        if not taken["limits"]:
            # The server lets anybody do anything under a limit that it does not know.
            self.give_back(lease)
            raise _no_limit(name)
        return lease

    def renew(self, lease: UUID) -> bool:
        """Hold slots for another while; False where they are no longer held.

        Raises:
            HTTPError: see :meth:`read`.
        """
        try:
            with one_try():
                self.client.renew_concurrency_lease(lease_id=lease, lease_duration=LEASE_SECONDS)
        except HTTPStatusError as error:
            if error.response.status_code == GONE:
                return False
            raise
        return True

    def give_back(self, lease: UUID) -> None:
        """Let go of slots."""
        with contextlib.suppress(HTTPError, RuntimeError), one_try():
            self.client.release_concurrency_slots_with_lease(lease_id=lease)


def make_limit(client: SyncPrefectClient, name: str, value: int) -> int:
    """Make a limit if it is missing.

    Returns:
        What it allows; ``value`` where it is switched off.
    """
    # Looked for first: on SQLite a server shows a traceback for what it refuses to make twice.
    with contextlib.suppress(ObjectNotFound):
        return _allowed(client, name, value)
    try:
        client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=value))
    except ObjectAlreadyExists:
        return _allowed(client, name, value)
    return value


def _allowed(client: SyncPrefectClient, name: str, value: int) -> int:
    limit = client.read_global_concurrency_limit_by_name(name)
    return limit.limit if limit.active else value


def one_try() -> contextlib.AbstractContextManager[Any]:
    """While the block lasts, Prefect's client does not ask again by itself, which it may do for minutes."""
    return temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0})


def _no_limit(name: str) -> NoLimitError:
    return NoLimitError(f"the limit {name} is gone from the server; `banzuke deploy` on this machine makes it anew")
