"""A USI engine that plays a fixed line of moves and misbehaves on request. Standard library only.

``python -I -S scripted_engine.py [--crash-at go] ...``; every switch is a way in which real engines go wrong.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

GAME = "7g7f 3c3d 2g2f 8c8d 2f2e 8d8e 6i7h 4a3b 3i3h 7a7b 9g9f 9c9d 1g1f 1c1d 4g4f 6c6d 3h4g 7b6c"
LINE = GAME.split()
OPTIONS = """\
option name Threads type spin default 1 min 1 max 8
option name USI_Ponder type check default false
option name Playing Style type combo default Normal var Normal var Very Solid var Wild
option name Eval File type filename default <empty>
option name Book type string default
option name Clear Hash type button
option name Threads of nonsense without a type
"""
MOMENTS = ("usi", "isready", "second-isready", "usinewgame", "go", "after-bestmove", "gameover")


def main() -> None:
    """Answer line by line until ``quit`` or the end of the input."""
    wanted = arguments()
    if wanted.ignore_sigterm:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if wanted.helper:
        note_pid(wanted, subprocess.Popen(["sleep", "60"]).pid)
    if wanted.banner:
        say("\x1b[1mBANNER\x1b[0m usiok")
    engine = Engine(wanted)
    for line in sys.stdin:
        if wanted.log:
            with Path(wanted.log).open("a", encoding="utf-8") as log:
                log.write(line)
        words = line.split()
        if words == ["quit"] and not wanted.ignore_quit:
            return
        engine.obey(words)
    while wanted.ignore_quit:
        time.sleep(60)


class Engine:
    """What it does at each command."""

    def __init__(self, wanted: argparse.Namespace) -> None:
        self.wanted = wanted
        self.ply = 0
        self.ready_count = 0

    def obey(self, words: list[str]) -> None:
        """One command."""
        command = words[0] if words else ""
        if command in {"usi", "isready", "usinewgame", "go", "gameover"}:
            misbehave(self.wanted, command)
        if command == "usi":
            introduce(self.wanted)
            time.sleep(60 if self.wanted.no_read else 0)
        elif command == "isready":
            self.ready_count += 1
            if self.ready_count > 1:
                misbehave(self.wanted, "second-isready")
            say("readyok")
        elif command == "position":
            self.ply = len(words) - words.index("moves") - 1 if "moves" in words else 0
        elif command == "go":
            make_noise(self.wanted)
            answer(self.wanted, self.ply)
            misbehave(self.wanted, "after-bestmove")


def arguments() -> argparse.Namespace:
    """The switches."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--log", help="append every line received to this file")
    parser.add_argument("--pid-file", help="write the process id of what is started here")
    parser.add_argument("--info", action="append", default=[], help="printed before every bestmove")
    parser.add_argument("--answer", help="the argument of every bestmove, instead of the fixed line")
    parser.add_argument("--banner", action="store_true", help="noise before anything is asked")
    parser.add_argument("--shift-jis", action="store_true", help="a name in another encoding, with an escape")
    parser.add_argument("--many-options", action="store_true", help="declares options without an end")
    parser.add_argument("--crash-at", choices=MOMENTS, help="last words on stderr, then exit code 3")
    parser.add_argument("--abort-at", choices=MOMENTS, help="SIGABRT")
    parser.add_argument("--hang-at", choices=MOMENTS, help="silence")
    parser.add_argument("--mute-at", choices=MOMENTS, help="closes its output and stays")
    parser.add_argument("--orphan-at", choices=MOMENTS, help="dies, leaving a child that holds the pipes open")
    parser.add_argument("--chatter", action="store_true", help="info lines for ever instead of a bestmove")
    parser.add_argument("--flood", choices=["stdout", "stderr", "stdout-without-newline"], help="full speed")
    parser.add_argument("--endless-line", type=int, default=0, metavar="MIB", help="before the bestmove")
    parser.add_argument("--noise-on-stderr", type=int, default=0, metavar="MIB", help="before the bestmove")
    parser.add_argument("--bestmove-twice", action="store_true")
    parser.add_argument("--late-bestmove", type=float, default=0.0, metavar="SECONDS", help="once more, later")
    parser.add_argument("--think", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--echo-first", action="store_true", help="the last answer again, then the new one")
    parser.add_argument("--empty-bestmove", action="store_true", help="without an argument")
    parser.add_argument("--no-bestmove", action="store_true", help="infos, then silence")
    parser.add_argument("--unfinished-bestmove", action="store_true", help="dies within the line")
    parser.add_argument("--ignore-quit", action="store_true")
    parser.add_argument("--ignore-sigterm", action="store_true")
    parser.add_argument("--no-read", action="store_true", help="reads nothing after usiok")
    parser.add_argument("--helper", action="store_true", help="starts a child of its own")
    return parser.parse_args()


def introduce(wanted: argparse.Namespace) -> None:
    """``id``, options, ``usiok``."""
    name = "将棋\x1b[31m\a".encode("shift_jis") if wanted.shift_jis else b"Scripted"
    sys.stdout.buffer.write(b"id name " + name + b"\r\nid author Nobody\r\n")
    sys.stdout.write(OPTIONS)
    while wanted.many_options:
        say("\n".join(f"option name {number} type check default false" for number in range(100_000)))
    say("usiok")


def misbehave(wanted: argparse.Namespace, moment: str) -> None:
    """Whatever was asked for at this moment."""
    if wanted.crash_at == moment:
        sys.stderr.write("first words\n" + "x" * 10_000 + "\nout of \x1b[31mcheese\n")
        sys.stderr.flush()
        os._exit(3)
    if wanted.abort_at == moment:
        os.kill(os.getpid(), signal.SIGABRT)
    if wanted.hang_at == moment:
        time.sleep(60)
    if wanted.mute_at == moment:
        sys.stdout.flush()
        os.close(1)
        time.sleep(60)
    if wanted.orphan_at == moment:
        note_pid(wanted, subprocess.Popen(["sleep", "60"]).pid)
        os._exit(5)


def make_noise(wanted: argparse.Namespace) -> None:
    """What comes before, or instead of, the answer."""
    while wanted.chatter:
        say("info string still thinking")
        time.sleep(0.001)
    block = b"info depth 1 score cp 1 pv 7g7f\n" * 2048
    while wanted.flood:
        os.write(2 if wanted.flood == "stderr" else 1, b"x" * 65536 if "newline" in wanted.flood else block)
    for _ in range(wanted.endless_line):
        sys.stdout.write("x" * 2**20)
    if wanted.endless_line:
        say("")
    for _ in range(wanted.noise_on_stderr):
        sys.stderr.write("x" * 2**20)
    time.sleep(wanted.think)
    for line in wanted.info:
        say(line)


def answer(wanted: argparse.Namespace, ply: int) -> None:
    """``bestmove``, more or less."""
    if wanted.no_bestmove:
        return
    if wanted.unfinished_bestmove:
        os.write(1, b"bestmove 7g")
        os._exit(0)
    if wanted.echo_first and ply >= 2:
        say(f"bestmove {LINE[ply - 2]}")
    bestmove = "bestmove" if wanted.empty_bestmove else f"bestmove {wanted.answer or LINE[ply]}"
    say(bestmove + ("" if wanted.empty_bestmove else " ponder 3c3d"))
    if wanted.bestmove_twice:
        say(bestmove)
    if wanted.late_bestmove:
        threading.Timer(wanted.late_bestmove, say, [bestmove]).start()


def say(line: str) -> None:
    """One line, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def note_pid(wanted: argparse.Namespace, pid: int) -> None:
    """Leave a process id where the test looks for it."""
    Path(wanted.pid_file).write_text(str(pid), encoding="utf-8")


if __name__ == "__main__":
    main()
