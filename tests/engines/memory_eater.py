"""A USI engine whose child eats memory from the first ``go`` on. Standard library only.

``python -I -S memory_eater.py LOG``, or ``LOG.nameless`` for a child without an environment: after every bite the
child appends its time on the monotonic clock and what it has eaten, in MiB, to the file LOG. It stops at a limit of its
own, should nobody stop it.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

BITE_MIB = 16
BITES = 64
SECONDS_BETWEEN_BITES = 0.02


def main() -> None:
    """The engine, or its child where it is called with two arguments."""
    if len(sys.argv) > 2:
        eat(Path(sys.argv[1]))
        return
    for line in sys.stdin:
        command = line.split()[:1]
        if command == ["usi"]:
            say("id name Eater\nusiok")
        elif command == ["isready"]:
            say("readyok")
        elif command == ["go"]:
            nameless = {} if sys.argv[1].endswith(".nameless") else None
            subprocess.Popen([sys.executable, "-I", "-S", __file__, sys.argv[1], "eat"], env=nameless)
        elif command == ["quit"]:
            return


def eat(log: Path) -> None:
    """Take memory and touch every page of it."""
    eaten = []
    for number in range(1, BITES + 1):
        eaten.append(b"\1" * (BITE_MIB << 20))
        with log.open("a", encoding="utf-8") as file:
            file.write(f"{time.monotonic()} {number * BITE_MIB}\n")
        time.sleep(SECONDS_BETWEEN_BITES)
    time.sleep(60)


def say(line: str) -> None:
    """One line, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
