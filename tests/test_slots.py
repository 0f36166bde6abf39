"""A machine's limits, kept by a real server: taken around batches, waited for, given back, lost and gone."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from httpx import HTTPError
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate
from prefect.settings import PREFECT_API_URL, temporary_settings

from banzuke.specs import CheckpointAgent, RandomAgent, Spec
from banzuke.workers.pool import WorkerPool
from deployments.embedded_server import EmbeddedServer
from tasks import leases
from tasks.leases import LimitServer, NoLimitError, make_limit
from tasks.slots import Slots, gpus_of

CPU, GPU = "banzuke-cpu-here", "banzuke-gpu-here-0"
SECONDS = 30.0


@pytest.fixture(scope="module")
def client(cache: Path) -> Iterator[SyncPrefectClient]:
    """Of a real Prefect server that ends with these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BANZUKE_CACHE", str(cache))
        server = EmbeddedServer.start()
    try:
        server.wait()
        with temporary_settings({PREFECT_API_URL: server.url}), get_client(sync_client=True) as client:
            yield client
    finally:
        server.stop()


@pytest.fixture
def limits(client: SyncPrefectClient) -> Iterator[LimitServer]:
    """Two CPU workers and one run on the GPU at a time, all free."""
    make_limit(client, CPU, 2)
    make_limit(client, GPU, 1)
    yield LimitServer(client, uuid4())
    for name in (CPU, GPU):
        forget(client, name)


def forget(client: SyncPrefectClient, name: str) -> None:
    """Delete a limit, whether it is still there or not."""
    if any(limit.name == name for limit in client.read_global_concurrency_limits(limit=100, offset=0)):
        client.delete_global_concurrency_limit_by_name(name)


@pytest.fixture
def run(limits: LimitServer) -> Iterator[Callable[..., Slots]]:
    """What the batches of a run hold; every run has two workers of its own."""
    pools: list[WorkerPool] = []

    def make(*gpus: str) -> Slots:
        pools.append(WorkerPool(2, torch=False))
        return Slots(limits, pools[-1], logging.getLogger("banzuke.test"), cpu=CPU, gpus=gpus)

    yield make
    for pool in pools:
        pool.close()


def used(limits: LimitServer, name: str = CPU) -> int:
    """Slots that are taken now."""
    return int(answered(lambda: limits.read(name)).active_slots)


def answered(ask: Callable[[], Any]) -> Any:
    """What a server that is busy for a moment answers in the end; what is asked of it has one try each time."""
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            return ask()
        except HTTPError:
            assert time.monotonic() < deadline
            threading.Event().wait(0.05)


def until(look: Callable[[], bool]) -> None:
    """Look until it is so."""
    deadline = time.monotonic() + SECONDS
    while not look():
        assert time.monotonic() < deadline
        threading.Event().wait(0.05)


def test_a_limit_that_is_there_keeps_its_value(client: SyncPrefectClient, limits: LimitServer) -> None:
    """What somebody has set is left alone, and is what is allowed."""
    client.update_global_concurrency_limit(CPU, GlobalConcurrencyLimitUpdate(limit=7))

    assert 7 == make_limit(client, CPU, 2)
    assert 7 == answered(lambda: limits.read(CPU)).limit


def test_table_batches_take_a_slot_each_and_no_run_takes_more_than_there_are(
    run: Callable[..., Slots], limits: LimitServer
) -> None:
    """Six batches of two runs with two workers each: never more than two at once, and all get their turn."""
    now, most, lock = 0, 0, threading.Lock()

    def play(slots: Slots) -> bool:
        nonlocal now, most
        with slots.at_table(networks=False) as is_held:
            with lock:
                now, most = now + 1, max(most, now + 1)
            threading.Event().wait(0.3)
            with lock:
                now -= 1
        return is_held

    runs = [run(), run()]
    with ThreadPoolExecutor(6) as threads:
        played = list(threads.map(play, runs * 3, timeout=SECONDS))

    assert [True] * 6 == played
    assert 2 == most
    assert 0 == used(limits)


def test_batches_in_the_hall_share_slots_for_all_workers_and_the_gpu(
    run: Callable[..., Slots], limits: LimitServer
) -> None:
    """The first takes them, the second joins, and they are given back when the last one leaves."""
    slots = run(GPU)

    with slots.in_hall() as first:
        with slots.in_hall() as second:
            assert (True, True, 2, 1) == (first, second, used(limits), used(limits, GPU))
        assert (2, 1) == (used(limits), used(limits, GPU))

    assert (0, 0) == (used(limits), used(limits, GPU))


def test_one_run_at_a_time_plays_on_a_gpu(run: Callable[..., Slots], limits: LimitServer) -> None:
    """Another run's table with a network waits for it; one without does not, where a CPU slot is free."""
    one, other = run(GPU), run(GPU)

    with one.at_table(networks=True), ThreadPoolExecutor(1) as threads:
        with other.at_table(networks=False) as without:
            assert without
        waiting = threads.submit(lambda: enter(other))
        until(lambda: used(limits) == 2)
        assert 1 == used(limits, GPU)
        other.stop.set()
        assert not waiting.result(SECONDS)
    assert (0, 0) == (used(limits), used(limits, GPU))


def enter(slots: Slots) -> bool:
    """Whether a table batch with a network was let in."""
    with slots.at_table(networks=True) as is_held:
        return is_held


def test_a_run_that_is_stopped_does_not_hang_waiting_for_a_slot(
    run: Callable[..., Slots], caplog: pytest.LogCaptureFixture
) -> None:
    """It says once what it waits for, and ends within two seconds of the stop, in the hall and at a table."""
    caplog.set_level(logging.INFO)
    holder, waiter = run(), run()

    def table() -> bool:
        with waiter.at_table(networks=False) as is_held:
            return is_held

    def hall() -> bool:
        with waiter.in_hall() as is_held:
            return is_held

    with holder.in_hall(), ThreadPoolExecutor(5) as threads:
        waiting = [threads.submit(what) for what in (table, table, table, hall, hall)]
        until(lambda: bool(said(caplog)))
        stopped = time.monotonic()
        waiter.stop.set()
        assert [False] * 5 == [future.result(SECONDS) for future in waiting]
        assert time.monotonic() < stopped + 2.0
    (line,) = said(caplog)
    assert line.startswith("waiting for ")
    assert line.endswith(f" of {CPU}: 2 of 2 in use")


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Our own lines."""
    return [record.getMessage() for record in caplog.records if record.name == "banzuke.test"]


def test_a_limit_that_was_deleted_is_named_with_its_cure(
    client: SyncPrefectClient, run: Callable[..., Slots], limits: LimitServer
) -> None:
    """No batch is played without its limit; the line says `banzuke deploy`."""
    forget(client, CPU)

    with pytest.raises(NoLimitError, match=rf"^the limit {CPU} is gone .*`banzuke deploy`"), run().in_hall():
        pytest.fail("let in")
    with pytest.raises(NoLimitError):
        answered(lambda: limits.take(CPU, 1))


def test_a_limit_that_was_lowered_is_said_to_be_too_low(
    client: SyncPrefectClient, run: Callable[..., Slots], caplog: pytest.LogCaptureFixture
) -> None:
    """A hall of two workers waits where one is allowed now, and goes on when two are again."""
    caplog.set_level(logging.INFO)
    client.update_global_concurrency_limit(CPU, GlobalConcurrencyLimitUpdate(limit=1))
    slots = run()

    def hall() -> bool:
        with slots.in_hall() as is_held:
            return is_held

    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(hall)
        until(lambda: bool(said(caplog)))
        client.update_global_concurrency_limit(CPU, GlobalConcurrencyLimitUpdate(limit=2))
        assert waiting.result(SECONDS)
    assert "it was lowered to 1" in said(caplog)[0]


def test_a_lost_lease_is_said_once_and_taken_again(
    client: SyncPrefectClient,
    run: Callable[..., Slots],
    limits: LimitServer,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A server that has forgotten the lease does not end the batch, which holds its slots again as soon as it can."""
    monkeypatch.setattr(leases, "RENEW_SECONDS", 0.2)
    kept: list[UUID] = []
    take = limits.take

    def taken(name: str, slots: int) -> UUID | None:
        lease = take(name, slots)
        kept.extend([lease] if lease else [])
        return lease

    monkeypatch.setattr(limits, "take", taken)

    with run().in_hall() as is_held:
        assert is_held
        client.release_concurrency_slots_with_lease(lease_id=kept[0])
        until(lambda: used(limits) == 2)

    assert 0 == used(limits)
    (line,) = said(caplog)
    assert line.startswith(f"the server has taken slots of {CPU} back")


@pytest.mark.parametrize(
    ("device", "visible", "gpus"),
    [
        ("cpu", None, ()),
        ("auto", None, ("0",)),
        ("cuda", None, ("0",)),
        ("cuda:2", None, ("2",)),
        ("cuda:1", "5,7", ("7",)),
        ("auto", "GPU-8f/1", ("GPU-8f-1",)),
        ("auto", "", ()),
        ("auto", "-1", ()),
        ("cuda:3", "0,1", ()),
    ],
)
def test_the_gpus_of_a_run_are_those_its_networks_are_set_to(
    device: str, visible: str | None, gpus: tuple[str, ...], tmp_path: Path
) -> None:
    """Counted as CUDA_VISIBLE_DEVICES counts them."""
    (tmp_path / "nvidia0").touch()
    network = CheckpointAgent(name="n", kind="checkpoint", path="n.pt", device=device)
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}

    spec = Spec(name="s", agents=(RandomAgent(name="r", kind="random"), network))
    assert gpus == gpus_of(spec, environment, tmp_path)


def test_a_machine_without_a_gpu_has_none_to_wait_for(tmp_path: Path) -> None:
    """There "auto" is the CPU."""
    network = CheckpointAgent(name="n", kind="checkpoint", path="n.pt", device="auto")

    assert () == gpus_of(Spec(name="s", agents=(RandomAgent(name="r", kind="random"), network)), {}, tmp_path)
