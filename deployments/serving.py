"""``banzuke serve``: this machine plays what a Prefect server asks for, until it is told to stop.

A process worker of the work pool, in this process; every run that it begins is a process of its own. Nothing is
pickled, unlike with ``prefect.serve``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
from anyio.abc import TaskStatus
from prefect.client.schemas.objects import FlowRun
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker, ProcessWorkerResult

from banzuke.settings import settings
from deployments.deploying import POOL
from flows.stopping import stopping_signals
from tasks.served import served_catalogue, served_store

LEAVING_SECONDS = 15.0
"""For runs that were begun here to stop, and to tell the server so; they end themselves before."""
LOOK_SECONDS = 0.2
"""Between two looks whether they have."""


def settle(store: str | None, catalogue: Path | None) -> tuple[str, int]:
    """Make what the command was told the settings of this process and of all that it starts.

    Paths become absolute: a run's process works in a folder of its own.

    Args:
        store: where games are kept; None for what the environment says.
        catalogue: the file of the agents; likewise.

    Returns:
        The store, and how many agents the catalogue has.

    Raises:
        SpecError: one of them is not given, or makes no sense.
    """
    if store is not None:
        os.environ["BANZUKE_STORE"] = store
    if catalogue is not None:
        os.environ["BANZUKE_CATALOGUE"] = str(catalogue)
    kept = served_store()
    if not urlsplit(kept).scheme:
        kept = os.environ["BANZUKE_STORE"] = str(Path(kept).absolute())
    known = served_catalogue()
    os.environ["BANZUKE_CATALOGUE"] = str((settings().catalogue or Path()).absolute())
    return kept, len(known.agents)


def work() -> int:
    """Play runs of the work pool until a signal comes; its number.

    Runs that are going on then are told to stop; each tells the server that it has crashed, which has it taken up again
    by whoever works next.
    """
    return asyncio.run(_work())


async def _work() -> int:
    worker = _Host(work_pool_name=POOL, name=settings().host)
    working = asyncio.create_task(worker.start(printer=_say_nothing))
    stopped: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    for number in stopping_signals():
        asyncio.get_running_loop().add_signal_handler(number, _note, stopped, number)
    either: set[asyncio.Future[Any]] = {working, stopped}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if not stopped.done():
        await working
        return 0
    await worker.leave()
    working.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working
    return stopped.result()


def _note(stopped: asyncio.Future[int], number: int) -> None:
    if not stopped.done():
        stopped.set_result(number)


class _Host(ProcessWorker):
    """A process worker that lets its runs stop by themselves. Prefect's own kills them before they can say a word."""

    _is_leaving = False
    _going_on = 0

    @classmethod
    def __dispatch_key__(cls) -> str:
        """A name of its own, so that Prefect's stays what is found by its type."""
        return "banzuke-host"

    async def leave(self) -> None:
        """Begin no more runs, and tell those that go on to stop; until they have, and the server knows it."""
        self._is_leaving = True
        told: set[psutil.Process] = set()
        deadline = asyncio.get_running_loop().time() + LEAVING_SECONDS
        while self._going_on and asyncio.get_running_loop().time() < deadline:
            below = set(psutil.Process().children())
            for process in below - told:
                with contextlib.suppress(psutil.Error):
                    process.terminate()
            told |= below
            await asyncio.sleep(LOOK_SECONDS)

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        """What is due; nothing once the machine is leaving."""
        return [] if self._is_leaving else await super().get_and_submit_flow_runs()

    async def run(
        self,
        flow_run: FlowRun,
        configuration: ProcessJobConfiguration,
        task_status: TaskStatus[int] | None = None,
    ) -> ProcessWorkerResult:
        """Play a run in a process of its own, to its end."""
        if self._is_leaving:
            raise RuntimeError("this machine is being stopped")
        self._going_on += 1
        try:
            return await super().run(flow_run, configuration, task_status)
        finally:
            self._going_on -= 1


def _say_nothing(*_said: object, **_how: object) -> None:
    """The command says itself that it works, and with what."""
