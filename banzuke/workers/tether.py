"""Run a program that dies when the thread that started it dies.

``subprocess.Popen(tethered([...]))`` runs this file as a program of its own, ``python -I -S tether.py PARENT
COMMAND ...``: it asks the kernel for SIGKILL at the parent's death (prctl(2), PR_SET_PDEATHSIG), gives the
signals their default meaning back and becomes the command by exec. None of our code runs between fork and
exec, so callers may have threads (with ``preexec_fn`` they may not).

PR_SET_PDEATHSIG is bound to the THREAD that forked, not to its process: start the program from a thread that
lives as long as the program should. The kernel forgets the request at the exec of a set-user-ID program, and
it does not reach what the program itself starts. Elsewhere than on Linux the command is only executed.

Standard library only, and nothing of Banzuke: it comes before every engine and worker, and must be quick.
"""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False  # importing typing for its constant would double the start-up time
if TYPE_CHECKING:
    from collections.abc import Sequence

CANNOT_RUN = 127
"""Exit code where the command could not be executed, as shells have it."""

_PR_SET_PDEATHSIG = 1


def tethered(command: Sequence[str]) -> list[str]:
    """The command line that runs ``command`` tied to the calling process.

    For ``subprocess.Popen`` in this very process: the parent it names is the one that calls this function.
    """
    program = os.path.abspath(__file__)  # noqa: PTH100 - importing pathlib would double the start-up time
    return [sys.executable, "-I", "-S", program, str(os.getpid()), *command]


def main(arguments: Sequence[str]) -> int:
    """Become the command; returns (with an exit code) only where that failed.

    Args:
        arguments: the expected parent's process id, then the command and its arguments.
    """
    if len(arguments) < 2 or not arguments[0].isdecimal():
        return _refuse("usage: tether.py PARENT COMMAND [ARGUMENT ...]")
    parent, command = int(arguments[0]), list(arguments[1:])
    try:
        _die_with_parent()
    except OSError as error:
        return _refuse(f"cannot tie {command[0]!r} to its parent: {error.strerror or error}")
    # The parent may have died before the request was made: no signal would ever come.
    if os.getppid() != parent:
        return _refuse(f"will not run {command[0]!r}: the process that wanted it is gone")
    _restore_signals()
    try:
        os.execvp(command[0], command)  # noqa: S606 - becoming the program is the purpose
    except (OSError, ValueError) as error:
        return _refuse(f"cannot run {command[0]!r}: {getattr(error, 'strerror', None) or error}")


def _die_with_parent() -> None:
    if sys.platform != "linux":
        return
    import ctypes  # noqa: PLC0415 - the importing side never needs it

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _restore_signals() -> None:
    # Python ignores SIGPIPE for itself, and what is ignored or blocked stays so across exec.
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        try:
            signal.signal(number, signal.SIG_DFL)
        except OSError:  # the C library keeps a few real-time signals to itself
            continue
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _refuse(reason: str) -> int:
    sys.stderr.write(f"{reason}\n")
    return CANNOT_RUN


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
