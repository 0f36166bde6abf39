"""A USI engine that leaves a helper behind which escapes whatever it can. Standard library only.

``python -I -S escaping_engine.py PID_FILE [--crash]``: before anything else the engine starts a program that forks
twice, opens a session of its own, lets go of all pipes and ignores SIGTERM; its process id is in PID_FILE by the time
the engine answers. Asked for a move, the engine crashes, or says nothing.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

SECONDS = 60


def main() -> None:
    """Answer until ``go``."""
    escape(Path(sys.argv[1]))
    for line in sys.stdin:
        command = line.split()[:1]
        if command == ["usi"]:
            say("usiok")
        elif command == ["isready"]:
            say("readyok")
        elif command == ["go"]:
            if "--crash" in sys.argv:
                os._exit(3)
            time.sleep(SECONDS)
        elif command == ["quit"]:
            return


def escape(pid_file: Path) -> None:
    """Start the helper; returns in the engine, once the helper has written its process id."""
    if child := os.fork():
        os.waitpid(child, 0)
        while not pid_file.exists():
            time.sleep(0.001)
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(null, descriptor)
    written = pid_file.with_suffix(".new")
    written.write_text(str(os.getpid()), encoding="utf-8")
    written.rename(pid_file)
    time.sleep(SECONDS)
    os._exit(0)


def say(line: str) -> None:
    """One line, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
