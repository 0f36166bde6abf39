"""The first process of a namespace: starts a Python module, waits for its end, says how it ended, and ends too.

``python -I -S first_process.py LIFE END OPTIONS MODULE [ARGUMENT ...]``; LIFE and END are file descriptors, see
:func:`banzuke.workers.enclosure.enclosed_command`. The module does not run as the first process itself because the
kernel keeps from that one every signal it does not handle: a worker that calls abort() would not be seen to have done
so, and nobody could terminate it. Nor can ``unshare`` be asked: 2.38 gives exit code 1 for a child that was killed.

Standard library only, and nothing of Banzuke: it comes before every worker, and must be quick.
"""

from __future__ import annotations

import os
import select
import signal
import sys

TYPE_CHECKING = False  # importing typing for its constant would double the start-up time
if TYPE_CHECKING:
    from collections.abc import Sequence

CANNOT_RUN = 127
STARTED = b"started "
"""Written to END once the module runs; its exit code, or its signal as a negative number, follows."""


def main(arguments: Sequence[str]) -> int:
    """Run the module to its end; everything else in the namespace dies when this returns.

    Args:
        arguments: LIFE, END, the interpreter's options (words between spaces), the module and its arguments.
    """
    life, end, options, module, *rest = arguments
    os.set_inheritable(int(end), False)
    # The caller may have died before unshare had tied this process to itself: no signal would ever come.
    if is_closed(int(life)):
        return CANNOT_RUN
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    command = [sys.executable, *options.split(), "-m", module, *rest]
    # A session of its own, because the caller signals and the module kills its process group as a whole, and a
    # group that was opened outside the namespace has no number in here.
    worker = os.posix_spawn(
        command[0], command, os.environ, setsid=True, setsigmask=(), setsigdef=(signal.SIGPIPE, signal.SIGXFSZ)
    )
    os.write(int(end), STARTED)
    _let_go(int(life))
    while (ended := os.wait())[0] != worker:
        continue
    os.write(int(end), b"%d" % os.waitstatus_to_exitcode(ended[1]))
    return 0


def is_closed(pipe: int) -> bool:
    """Whether nobody holds the other end of a pipe into which nothing is ever written."""
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    return bool(poll.poll(0))


def _let_go(life: int) -> None:
    """A pipe is at its end when nobody holds the other side: the worker alone is to hold its own."""
    os.close(life)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.close(null)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
