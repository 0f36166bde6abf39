"""Cores are handed on in the order in which they were asked for."""

from __future__ import annotations

import threading

from banzuke.workers.cores import Cores


def test_cores_go_to_those_who_wait_in_their_order() -> None:
    """Whoever asked first, however often others look."""
    cores = Cores(1)
    first, second, third = (cores.stand_in_line() for _ in range(3))

    assert not cores.take(second, seconds=0)
    assert cores.take(first, seconds=0)
    assert not cores.take(second, seconds=0)
    cores.release()
    assert not cores.take(third, seconds=0)
    cores.leave_line(second)
    assert cores.take(third, seconds=0)
    assert not cores.is_wanted


def test_a_release_wakes_who_waits() -> None:
    """Without waiting for the end of the time it was ready to wait."""
    cores = Cores(1)
    assert cores.take(cores.stand_in_line(), seconds=0)
    place, came = cores.stand_in_line(), threading.Event()
    waiter = threading.Thread(target=lambda: cores.take(place, seconds=60) and came.set())
    waiter.start()
    cores.release()

    assert came.wait(10)
    waiter.join(10)
