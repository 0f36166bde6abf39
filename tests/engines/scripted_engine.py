"""A USI engine that plays a fixed line of moves and misbehaves on request. Standard library only.

``python -I -S scripted_engine.py [--crash-at go] ...``; every switch is a way in which real engines go wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

GAME = """
7g7f 3c3d 2g2f 8c8d 2f2e 8d8e 6i7h 4a3b 3i3h 7a7b 9g9f 9c9d 1g1f 1c1d 4g4f 6c6d 3h4g 7b6c 5i6h 5a4b 4g5f 6c5d
3g3f 7c7d 2i3g 8a7c 4i4h 6a6b 2h2i 8b8a 6g6f 6b6c 6h6g 4b5b 9i9h 5b4b 1i1h 1a1b 5f4g 9a9b 4g5f 4b5b 6g7g 5b4b
"""
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
LATE = ("1g1f", "1c1d")
"""Answers after the game, by whoever moves first in the next one: legal there, and not in the line."""
PAGE = os.sysconf("SC_PAGE_SIZE")
MOMENTS = ("start", "usi", "isready", "second-isready", "usinewgame", "go", "after-bestmove", "gameover")


def main() -> None:
    """Answer line by line until ``quit`` or the end of the input."""
    wanted = parser().parse_args()
    if wanted.ignore_sigterm:
        mark(wanted)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    misbehave(wanted, "start")
    if wanted.helper:
        note_pid(wanted, subprocess.Popen(["sleep", "60"]).pid)
    if wanted.rubbish:
        mark(wanted)
        write_rubbish()
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
    if wanted.ignore_quit:
        mark(wanted)
    while wanted.ignore_quit:
        time.sleep(60)


class Engine:
    """What it does at each command."""

    def __init__(self, wanted: argparse.Namespace) -> None:
        self.wanted = wanted
        self.calm = parser().parse_args([])
        self.ply = 0
        self.ready_count = 0

    def obey(self, words: list[str]) -> None:
        """One command."""
        command = words[0] if words else ""
        if command in {"usi", "isready", "usinewgame", "gameover"}:
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
            wanted = self.wanted if self.ply >= self.wanted.from_ply else self.calm
            misbehave(wanted, "go")
            make_noise(wanted)
            answer(wanted, self.ply)
            misbehave(wanted, "after-bestmove")
        elif command == "gameover" and self.wanted.late_at_gameover:
            mark(self.wanted)
            say(f"bestmove {LATE[self.ply % 2]}")


def parser() -> argparse.ArgumentParser:
    """The switches."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--mark", help="write the time on the monotonic clock here when the misbehaviour begins")
    parser.add_argument("--from-ply", type=int, default=0, help="answer every go before this ply as one should")
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
    parser.add_argument("--exit-at", choices=MOMENTS, help="not a word, and exit code 0")
    parser.add_argument("--daemon-at", choices=MOMENTS, help="leaves a helper in a session of its own, and dies")
    parser.add_argument("--rubbish", action="store_true", help="bytes that are no text, at every turn")
    parser.add_argument("--answer-for-other-side", action="store_true", help="the move the opponent should make next")
    parser.add_argument("--late-at-gameover", action="store_true", help="a bestmove when the game is over")
    parser.add_argument("--eat", choices=["slowly", "at-once"], help="memory, from go on")
    parser.add_argument("--eat-mark", type=int, default=0, metavar="MIB", help="of the process group, for --mark")
    return parser


def introduce(wanted: argparse.Namespace) -> None:
    """``id``, options, ``usiok``."""
    if wanted.shift_jis:
        mark(wanted)
    name = "将棋\x1b[31m\a".encode("shift_jis") if wanted.shift_jis else b"Scripted"
    sys.stdout.buffer.write(b"id name " + name + b"\r\nid author Nobody\r\n")
    sys.stdout.write(OPTIONS)
    while wanted.many_options:
        say("\n".join(f"option name {number} type check default false" for number in range(100_000)))
    say("usiok")


def misbehave(wanted: argparse.Namespace, moment: str) -> None:
    """Whatever was asked for at this moment."""
    if moment in misbehaviour_moments(wanted):
        mark(wanted)
    if wanted.exit_at == moment:
        os._exit(0)
    if wanted.daemon_at == moment:
        leave_daemon()
        os._exit(5)
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


def misbehaviour_moments(wanted: argparse.Namespace) -> set[str | None]:
    """When it will do something wrong."""
    return {value for name, value in vars(wanted).items() if name.endswith("_at")}


def mark(wanted: argparse.Namespace) -> None:
    """The time of the first misbehaviour, once."""
    if wanted.mark and not Path(wanted.mark).exists():
        Path(wanted.mark).write_text(repr(time.monotonic()), encoding="utf-8")


def make_noise(wanted: argparse.Namespace) -> None:
    """What comes before, or instead of, the answer."""
    if wanted.chatter or wanted.flood or wanted.endless_line or wanted.noise_on_stderr or wanted.think:
        mark(wanted)
    if wanted.rubbish:
        mark(wanted)
        write_rubbish()
    if wanted.eat:
        eat(wanted)
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
    if is_wrong_answer(wanted):
        mark(wanted)
    if wanted.no_bestmove:
        return
    if wanted.unfinished_bestmove:
        os.write(1, b"bestmove 7g")
        os._exit(0)
    if wanted.echo_first and ply >= 2:
        say(f"bestmove {LINE[ply - 2]}")
    move = wanted.answer or LINE[ply + 1 if wanted.answer_for_other_side else ply]
    bestmove = "bestmove" if wanted.empty_bestmove else f"bestmove {move}"
    say(bestmove + ("" if wanted.empty_bestmove else " ponder 3c3d"))
    if wanted.bestmove_twice:
        say(bestmove)
    if wanted.late_bestmove:
        threading.Timer(wanted.late_bestmove, say, [bestmove]).start()


def is_wrong_answer(wanted: argparse.Namespace) -> bool:
    """Whether the next answer is to be anything but one right bestmove."""
    w = wanted
    return bool(w.answer or w.answer_for_other_side or w.empty_bestmove or w.unfinished_bestmove or w.bestmove_twice)


def write_rubbish() -> None:
    """Every byte there is, with line ends in between, and an end that makes no line."""
    sys.stdout.flush()
    os.write(1, bytes(range(256)) * 16 + b"\n\0\xff\xfe\x80\n" + bytes(range(255, -1, -1)) + b"\n")


def leave_daemon() -> None:
    """Fork twice: a helper in a session of its own that ignores SIGTERM and holds the pipes."""
    if os.fork():
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(60)
    os._exit(0)


def eat(wanted: argparse.Namespace) -> None:
    """Take memory and touch every page of it; never more than 1 GiB, should nobody stop it."""
    eaten = []
    bite = 1024 if wanted.eat == "at-once" else 8
    for _ in range(1024 // bite):
        # Before the bite that goes over the limit: right after it, nobody may be there any more to mark anything.
        if group_mib() + 2 * bite > wanted.eat_mark:
            mark(wanted)
        eaten.append(b"\1" * (bite << 20))
        time.sleep(0.02)
    time.sleep(60)


def group_mib() -> float:
    """Resident memory of this process group: the worker and its engines."""
    pages = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
                pages += int(fields[21]) if int(fields[2]) == os.getpgrp() else 0
    return pages * PAGE / 2**20


def say(line: str) -> None:
    """One line, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def note_pid(wanted: argparse.Namespace, pid: int) -> None:
    """Leave a process id where the test looks for it."""
    Path(wanted.pid_file).write_text(str(pid), encoding="utf-8")


if __name__ == "__main__":
    main()
