"""Slots of the machine that plays: so many CPU workers and one run per GPU at a time, whoever started them.

Named limits on the Prefect server hold it together where several runs play on one machine, each in a process of its
own. Slots are taken around a batch and leased for a minute, so that those of a killed process come back by themselves.
With the server of one command, which knows no deployments, there are none.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import UUID

from httpx import HTTPError
from prefect import get_run_logger
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.responses import GlobalConcurrencyLimitResponse
from prefect.runtime import deployment, flow_run

from banzuke.settings import settings
from banzuke.specs import CheckpointAgent, Spec, usable_cores
from banzuke.workers.pool import WorkerPool, worker_pool
from tasks.leases import Lease, LimitServer, Log, make_limit, slots_in_words

LOOK_SECONDS = 1.0
"""Between two looks whether a slot is free."""
ANSWER_SECONDS = 10.0
BUSY_SECONDS = 20.0
"""A server that has given no good answer for longer is away."""
_NO_PART_OF_A_NAME = re.compile(r"[^A-Za-z0-9._-]+")


def cpu_limit(host: str) -> str:
    """The name of the limit of CPU workers on a machine."""
    return f"banzuke-cpu-{host}"


def gpu_limit(host: str, gpu: str) -> str:
    """The name of the limit of one of a machine's GPUs."""
    return f"banzuke-gpu-{host}-{gpu}"


def make_cpu_limit(client: SyncPrefectClient) -> int:
    """Make this machine's limit of CPU workers if it is missing: as many as it has cores; what it allows now."""
    return make_limit(client, cpu_limit(settings().host), usable_cores())


def gpus_of(spec: Spec, environment: Mapping[str, str] = os.environ, devices: Path = Path("/dev")) -> tuple[str, ...]:
    """The GPUs that networks of a spec are set to play on, in a fixed order.

    Args:
        spec: whose networks.
        environment: its ``CUDA_VISIBLE_DEVICES`` says which GPU is the first, the second, and so on.
        devices: where the system shows its GPUs; "auto" and "cuda" mean the first one if there is any.

    Returns:
        The number of each, or the name that ``CUDA_VISIBLE_DEVICES`` gives it.
    """
    has_any = any(devices.glob("nvidia[0-9]*"))
    wanted = set()
    for agent in spec.agents:
        if isinstance(agent, CheckpointAgent) and agent.device != "cpu":
            kind, _, number = agent.device.partition(":")
            if kind == "cuda" and number:
                wanted.add(int(number))
            elif has_any:
                wanted.add(0)
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return tuple(str(number) for number in sorted(wanted))
    named = [_NO_PART_OF_A_NAME.sub("-", name.strip()) for name in visible.split(",")]
    return tuple(
        sorted({named[number] for number in wanted if number < len(named) and named[number] not in {"", "-1"}})
    )


@contextmanager
def limited_pool(spec: Spec) -> Iterator[WorkerPool]:
    """The worker pool of this process while the block lasts; in a run of a deployment it keeps this machine's limits.

    Those that are missing are made: as many CPU workers as there are cores, one run per GPU. What somebody has set them
    to is left as it is, and the pool has no more workers than that.
    """
    global _current  # noqa: PLW0603 - as the pool itself
    if not deployment.id:
        with worker_pool(spec) as pool:
            yield pool
        return
    host = settings().host
    with get_client(sync_client=True, httpx_settings={"timeout": ANSWER_SECONDS}) as client:
        most = make_cpu_limit(client)
        gpus = [gpu_limit(host, gpu) for gpu in gpus_of(spec)]
        for gpu in gpus:
            make_limit(client, gpu, 1)
        with worker_pool(_with_workers(spec, most)) as pool:
            server = LimitServer(client, UUID(flow_run.id))
            _current = Slots(server, pool, get_run_logger(), cpu=cpu_limit(host), gpus=gpus)
            try:
                yield pool
            finally:
                _current = None


_current: Slots | None = None


def _with_workers(spec: Spec, most: int) -> Spec:
    limits = spec.limits.model_copy(update={"concurrency": max(1, min(most, spec.limits.concurrency))})
    return spec.model_copy(update={"limits": limits})


@contextmanager
def table_slot(*, networks: bool) -> Iterator[bool]:
    """Hold what a batch of games with engines needs, while the block lasts: a CPU worker's slot.

    Args:
        networks: whether networks play in it, too; then the run's GPUs are held as well.

    Yields:
        False where the run is being stopped instead.

    Raises:
        NoLimitError: the limit was deleted.
    """
    if _current is None:
        yield True
        return
    with _current.at_table(networks=networks) as is_held:
        yield is_held


@contextmanager
def hall_slots() -> Iterator[bool]:
    """Likewise for a batch of games in the hall: a slot for every worker and every GPU, shared by all batches there."""
    if _current is None:
        yield True
        return
    with _current.in_hall() as is_held:
        yield is_held


class Slots:
    """What the batches of one pool hold.

    Args:
        server: of the limits.
        pool: whose workers; its stop event ends every waiting.
        log: told what is waited for.
        cpu: the name of the limit of CPU workers.
        gpus: the names of the limits of GPUs, always taken in this order, and after the CPU's: nobody waits for
            somebody who waits for him.
    """

    def __init__(self, server: LimitServer, pool: WorkerPool, log: Log, *, cpu: str, gpus: Iterable[str]) -> None:
        self.server = server
        self.stop = pool.stop
        self.log = log
        self.cpu = cpu
        self._said: set[str] = set()
        self._lost: set[str] = set()
        self._hall = _Shared(lambda: self._take([(cpu, pool.size)]), self.stop)
        wanted = [(gpu, 1) for gpu in gpus]
        self._gpus = _Shared(lambda: self._take(wanted), self.stop)
        # A slot is of no use to a batch for which no worker is free.
        self._tables = threading.BoundedSemaphore(pool.size)
        self._front = threading.Lock()
        """Of the line of table batches: one asks the server, the others wait behind it."""

    @contextmanager
    def in_hall(self) -> Iterator[bool]:
        """See :func:`hall_slots`."""
        with self._hall.held() as has_cpu:
            if not has_cpu:
                yield False
                return
            with self._gpus.held() as has_gpus:
                yield has_gpus

    @contextmanager
    def at_table(self, *, networks: bool) -> Iterator[bool]:
        """See :func:`table_slot`."""
        with ExitStack() as held:
            if not self._wait_for(self._tables):
                yield False
                return
            held.callback(self._tables.release)
            if not self._wait_for(self._front):
                yield False
                return
            try:
                cpu = self._take([(self.cpu, 1)])
            finally:
                self._front.release()
            if cpu is None:
                yield False
                return
            held.callback(cpu.close)
            yield not networks or held.enter_context(self._gpus.held())

    def _wait_for(self, lock: threading.Lock | threading.Semaphore) -> bool:
        while not self.stop.is_set():
            if lock.acquire(timeout=LOOK_SECONDS):
                return True
        return False

    def _take(self, wanted: Iterable[tuple[str, int]]) -> ExitStack | None:
        """Take slots of several limits, one after the other; what to close to give them back, None if stopped."""
        with ExitStack() as held:
            for name, slots in wanted:
                lease = self._wait_for_slots(name, slots)
                if lease is None:
                    return None
                held.callback(Lease(self.server, name, slots, lease, self._note_loss).end)
            return held.pop_all()

    def _note_loss(self, name: str) -> None:
        if name not in self._lost:
            self._lost.add(name)
            self.log.warning(
                "the server has taken slots of %s back (it was restarted, or away for a minute); what is being played "
                "goes on, and asks for them again",
                name,
            )

    def _wait_for_slots(self, name: str, slots: int) -> UUID | None:
        waited = False
        heard_at = time.monotonic()
        while not self.stop.is_set():
            try:
                reason = _why_not(self.server.read(name), slots)
                lease = None if reason else self.server.take(name, slots)
                heard_at = time.monotonic()
                if lease is not None:
                    if not waited:
                        self._said.discard(name)
                    return lease
            except HTTPError as error:
                # Busy for a moment it often is, with SQLite.
                is_away = time.monotonic() > heard_at + BUSY_SECONDS
                reason = f"the server does not answer ({type(error).__name__})" if is_away else ""
            if reason and name not in self._said:
                self._said.add(name)
                self.log.info("waiting for %s of %s: %s", slots_in_words(slots), name, reason)
            waited = True
            self.stop.wait(LOOK_SECONDS)
        return None


def _why_not(limit: GlobalConcurrencyLimitResponse, slots: int) -> str:
    """Why so many slots cannot be had now; nothing where they can."""
    if not limit.active:
        return ""
    if limit.limit < slots:
        return f"it was lowered to {limit.limit}; raise it, or pause and resume the run"
    if limit.active_slots + slots > limit.limit:
        return f"{limit.active_slots} of {limit.limit} in use"
    return ""


class _Shared:
    """Something that is taken by the first who wants it, shared by those who come later, given back by the last.

    Args:
        take: takes it; None where the run is being stopped instead.
        stop: ends every waiting.
    """

    def __init__(self, take: Callable[[], ExitStack | None], stop: threading.Event) -> None:
        self._take = take
        self._stop = stop
        self._news = threading.Condition()
        self._holders = 0
        self._is_being_taken = False
        self._given_back_by: ExitStack | None = None

    @contextmanager
    def held(self) -> Iterator[bool]:
        """Hold it while the block lasts; False where the run is being stopped instead."""
        if not self._enter():
            yield False
            return
        try:
            yield True
        finally:
            self._leave()

    def _enter(self) -> bool:
        with self._news:
            while self._is_being_taken and not self._stop.is_set():
                self._news.wait(LOOK_SECONDS)
            if self._holders:
                self._holders += 1
                return True
            if self._is_being_taken:
                return False
            self._is_being_taken = True
        taken = None
        try:
            taken = self._take()
        finally:
            with self._news:
                self._is_being_taken = False
                if taken is not None:
                    self._holders, self._given_back_by = 1, taken
                self._news.notify_all()
        return taken is not None

    def _leave(self) -> None:
        with self._news:
            self._holders -= 1
            last, self._given_back_by = (
                (self._given_back_by, None) if not self._holders else (None, self._given_back_by)
            )
        if last is not None:
            last.close()
