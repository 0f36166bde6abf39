"""Who an agent is, and what of a spec may not change: by content, never by path or name."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from banzuke import identity
from banzuke.identity import Identity, file_sha256, identify, spec_fingerprint
from banzuke.specs import CheckpointAgent, MaterialAgent, RandomAgent, SearchLimit, Spec, UsiAgent, load_spec

NODES = SearchLimit(nodes=10)
OUTSIDE_THE_HASH = {"name": "other", "device": "cpu"}


def checkpoint(path: Path, **changed: Any) -> CheckpointAgent:
    return CheckpointAgent.model_validate({"name": "net", "kind": "checkpoint", "path": str(path), **changed})


def engine(folder: Path, *arguments: str, **changed: Any) -> UsiAgent:
    """An engine whose program is ``engine`` in the folder."""
    program = folder / "engine"
    if not program.exists():
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    fields = {"name": "engine", "kind": "usi", "command": (str(program), *arguments), "limit": NODES}
    return UsiAgent.model_validate({**fields, "directory": str(folder), **changed})


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A checkpoint file; nothing here reads it as one."""
    path = tmp_path / "weights.pt"
    path.write_bytes(b"weights")
    return path


def test_a_checkpoint_is_its_bytes_and_not_its_path_or_name(weights: Path, tmp_path: Path) -> None:
    """A copy under another name, played as another agent on another device, is the same agent."""
    copy = tmp_path / "copy.pt"
    copy.write_bytes(weights.read_bytes())

    one, other = identify(checkpoint(weights)), identify(checkpoint(copy, **OUTSIDE_THE_HASH))

    assert one == other
    assert hashlib.sha256(b"weights").hexdigest() == one.sha256
    assert (16, None) == (len(one.agent_id), one.fault)


def test_networks_that_have_played_stay_the_same_agents(weights: Path) -> None:
    """The identity of a network without encoding and moves is what it was before there were such keys."""
    assert "e49d2dfec50c1424" == identify(checkpoint(weights)).agent_id


def test_an_exported_program_is_also_its_encoding_and_moves(weights: Path) -> None:
    """The same bytes seeing other planes, or numbering other moves, are another agent."""
    said = {"format": "exported", "encoding": "keisei-50", "moves": "keisei-11259"}

    found = [
        identify(checkpoint(weights, **(said | other))).agent_id
        for other in ({}, {"encoding": "keisei-46"}, {"moves": "keisei-13527"}, OUTSIDE_THE_HASH)
    ]

    assert found[0] == found[3]
    assert 3 == len(set(found))


def test_other_bytes_are_another_agent(weights: Path) -> None:
    """One file overwritten by the next epoch is two agents under one name."""
    before = identify(checkpoint(weights))
    weights.write_bytes(b"other weights")

    after = identify(checkpoint(weights))

    assert before.agent_id != after.agent_id
    assert before.sha256 != after.sha256


@pytest.mark.parametrize(
    "changed",
    [{"temperature": 0.5}, {"trained_max_plies": 512}, {"format": "keisei-new"}],
    ids=lambda change: [*change],
)
def test_another_way_to_choose_moves_is_another_agent(weights: Path, changed: dict[str, Any]) -> None:
    """The same file played differently is not the same player."""
    one, other = identify(checkpoint(weights)), identify(checkpoint(weights, **changed))

    assert one.agent_id != other.agent_id
    assert one.sha256 == other.sha256


def test_built_in_agents_are_what_they_are_set_to() -> None:
    """Names do not count, depths do, and they have no file."""
    random = identify(RandomAgent(name="a", kind="random"))
    one = identify(MaterialAgent(name="a", kind="material", depth=1))
    same = identify(MaterialAgent(name="b", kind="material", depth=1))
    two = identify(MaterialAgent(name="a", kind="material", depth=2))

    assert one == same
    assert 3 == len({random.agent_id, one.agent_id, two.agent_id})
    assert (None, None, None) == (random.sha256, one.sha256, two.sha256)


def test_an_engine_is_its_program_and_not_its_path_or_name(tmp_path: Path) -> None:
    """The same bytes elsewhere are the same engine; other bytes are another one."""
    here, there, changed = tmp_path / "here", tmp_path / "there", tmp_path / "changed"
    for folder in (here, there, changed):
        folder.mkdir()
    engine(changed)
    (changed / "engine").write_text("#!/bin/sh\n# newer\n")

    one = identify(engine(here))

    assert one == identify(engine(there, name="other"))
    assert one.agent_id != identify(engine(changed)).agent_id
    assert hashlib.sha256(b"#!/bin/sh\n").hexdigest() == one.sha256


def test_a_version_stands_for_the_programs_bytes(tmp_path: Path) -> None:
    """Two builds of one version are one agent, whose file's hash is still told; two versions are two."""
    builds = [tmp_path / "one", tmp_path / "other"]
    for number, folder in enumerate(builds):
        folder.mkdir()
        engine(folder)
        (folder / "engine").write_text(f"#!/bin/sh\n# build {number}\n")

    one, other = (identify(engine(folder, version="11.1")) for folder in builds)
    newer = identify(engine(builds[0], version="11.2"))

    assert one.agent_id == other.agent_id != newer.agent_id
    assert one.sha256 != other.sha256
    assert one.agent_id != identify(engine(builds[0])).agent_id


@pytest.mark.parametrize(
    "changed",
    [
        {"options": {"Threads": 2, "Hash": 16}},
        {"options": {"Threads": 1}},
        {"options": {"Threads": "1", "Hash": 16}},
        {"limit": SearchLimit(nodes=11)},
        {"limit": SearchLimit(depth=10)},
        {"limit": SearchLimit(byoyomi_ms=10)},
    ],
    ids=str,
)
def test_options_and_limit_make_another_engine(tmp_path: Path, changed: dict[str, Any]) -> None:
    """Whatever may change its moves changes its id."""
    settings: dict[str, Any] = {"options": {"Threads": 1, "Hash": 16}}

    one, other = identify(engine(tmp_path, **settings)), identify(engine(tmp_path, **{**settings, **changed}))

    assert one.agent_id != other.agent_id


def test_order_of_options_and_margin_do_not_count(tmp_path: Path) -> None:
    """Neither decides a move."""
    one = engine(tmp_path, options={"Threads": 1, "Hash": 16}, limit=SearchLimit(byoyomi_ms=10, margin_ms=1))
    other = engine(tmp_path, options={"Hash": 16, "Threads": 1}, limit=SearchLimit(byoyomi_ms=10, margin_ms=2))

    assert identify(one) == identify(other)


def by_argument(folder: Path, name: str) -> UsiAgent:
    return engine(folder, "--book", name)


def by_option(folder: Path, name: str) -> UsiAgent:
    return engine(folder, options={"EvalFile": name})


@pytest.mark.parametrize("build", [by_argument, by_option])
def test_files_an_engine_is_given_count_by_content(tmp_path: Path, build: Callable[[Path, str], UsiAgent]) -> None:
    """Relative to the spec or absolute, under any name: the bytes decide."""
    for name, content in (("book.bin", b"book"), ("copy.bin", b"book"), ("other.bin", b"other")):
        (tmp_path / name).write_bytes(content)

    one = identify(build(tmp_path, "book.bin"))

    assert one == identify(build(tmp_path, "copy.bin"))
    assert one == identify(build(tmp_path, str(tmp_path / "book.bin")))
    assert one.agent_id != identify(build(tmp_path, "other.bin")).agent_id
    assert one.agent_id != identify(build(tmp_path, "no-such-file.bin")).agent_id


def test_a_file_within_an_argument_counts_by_content(tmp_path: Path) -> None:
    """``--book=FILE`` is a file argument too; what stands before the file is kept as it is."""
    for name, content in (("book.bin", b"book"), ("copy.bin", b"book"), ("other.bin", b"other")):
        (tmp_path / name).write_bytes(content)

    one = identify(engine(tmp_path, "--book=book.bin"))

    assert one == identify(engine(tmp_path, f"--book={tmp_path / 'copy.bin'}"))
    assert one.agent_id != identify(engine(tmp_path, "--book=other.bin")).agent_id
    assert one.agent_id != identify(engine(tmp_path, "--eval=book.bin")).agent_id


@pytest.mark.parametrize("value", ["x" * 300, "x" * 5000, "folder/" + "y" * 300, "", "/", "~", "\n", "評価関数"])
@pytest.mark.parametrize("build", [by_argument, by_option])
def test_a_value_that_can_be_no_file_counts_as_it_is(
    tmp_path: Path, value: str, build: Callable[[Path, str], UsiAgent]
) -> None:
    """However long or odd, it is text, and no fault."""
    one = identify(build(tmp_path, value))

    assert one.fault is None
    assert one.agent_id != identify(build(tmp_path, value + "x")).agent_id


def test_a_missing_checkpoint_is_a_fault_and_no_exception(tmp_path: Path) -> None:
    """One line that names the file."""
    gone = identify(checkpoint(tmp_path / "gone.pt"))

    assert Identity(agent_id="", sha256=None, fault=f"No such file or directory: {tmp_path / 'gone.pt'}") == gone


def test_a_missing_program_is_a_fault_and_no_exception(tmp_path: Path) -> None:
    """One line that names the program."""
    gone = identify(engine(tmp_path).model_copy(update={"command": ("no-such-engine",)}))

    assert ("", None) == (gone.agent_id, gone.sha256)
    assert gone.fault is not None
    assert "no-such-engine" in gone.fault
    assert 1 == len(gone.fault.splitlines())


@pytest.mark.parametrize("path", ["", "x" * 300, "nul\0byte"])
def test_a_path_that_cannot_be_is_a_fault_and_no_exception(tmp_path: Path, path: str) -> None:
    """A folder, a name too long, a NUL: whatever a resumed run's document holds."""
    gone = identify(checkpoint(tmp_path / path))

    assert "" == gone.agent_id
    assert gone.fault


SPEC = """
name = "{name}"
[[agents]]
name = "random"
kind = "random"
[[agents]]
name = "net"
kind = "checkpoint"
path = "{weights}"
[evaluate]
suite = "{suite}"
[tournament]
seed = {seed}
openings = "{openings}"
[limits]
retries = {retries}
"""


@pytest.fixture
def spec(tmp_path: Path) -> Callable[..., Spec]:
    """A spec with all its files, in a folder of its own."""

    def write(folder: str = "spec", **changed: object) -> Spec:
        files = {"openings": "startpos\n", "suite": "startpos # 7g7f\n", "weights": "w"}
        fields = {"name": "n", "seed": 1, "retries": 2, **{name: f"{name}.txt" for name in files}}
        home = tmp_path / folder
        home.mkdir(exist_ok=True)
        for name, content in files.items():
            fields[name] = changed.get(f"{name}_file", f"{name}.txt")
            (home / str(fields[name])).write_text(str(changed.get(name, content)))
        fields.update({name: value for name, value in changed.items() if name in {"name", "seed", "retries"}})
        (home / "spec.toml").write_text(SPEC.format(**fields))
        return load_spec(home / "spec.toml")

    return write


@pytest.mark.parametrize(
    "changed",
    [
        {"folder": "elsewhere"},
        {"retries": 7},
        {"openings_file": "other-name.sfen"},
        {"suite_file": "other-name.sfen"},
        {"weights": "agents are compared one by one"},
    ],
    ids=str,
)
def test_the_fingerprint_does_not_see(spec: Callable[..., Spec], changed: dict[str, Any]) -> None:
    """Limits, paths and names of files, and the agents' bytes may change while a run is resumed."""
    assert spec_fingerprint(spec()) == spec_fingerprint(spec(**{"folder": "again", **changed}))


@pytest.mark.parametrize(
    "changed",
    [{"seed": 2}, {"name": "m"}, {"openings": "startpos moves 7g7f\n"}, {"suite": "startpos # 2g2f\n"}],
    ids=str,
)
def test_the_fingerprint_sees(spec: Callable[..., Spec], changed: dict[str, Any]) -> None:
    """What the plan or the evaluation is made from may not change; files count by content."""
    assert spec_fingerprint(spec()) != spec_fingerprint(spec(**{"folder": "again", **changed}))


def test_the_fingerprint_sees_who_takes_part(spec: Callable[..., Spec]) -> None:
    """Another agent is another tournament, the same ones in another order are not."""
    whole = spec()
    more = whole.model_copy(update={"agents": (*whole.agents, RandomAgent(name="third", kind="random"))})
    turned = whole.model_copy(update={"agents": whole.agents[::-1]})

    assert spec_fingerprint(whole) == spec_fingerprint(turned)
    assert spec_fingerprint(whole) != spec_fingerprint(more)


def test_a_rewritten_file_is_noticed_though_size_and_time_stay(tmp_path: Path) -> None:
    """A checkpoint replaced by one of the same size, its time stamp copied along, is hashed anew."""
    path = tmp_path / "weights.pt"
    path.write_bytes(b"one")
    stamp = path.stat().st_mtime_ns
    before = file_sha256(path)
    other = tmp_path / "other.pt"
    other.write_bytes(b"two")
    os.utime(other, ns=(stamp, stamp))
    other.replace(path)

    after = file_sha256(path)

    assert (stamp, 3) == (path.stat().st_mtime_ns, path.stat().st_size)
    assert (hashlib.sha256(b"one").hexdigest(), hashlib.sha256(b"two").hexdigest()) == (before, after)


def test_a_file_rewritten_within_a_tick_of_the_clock_is_noticed(tmp_path: Path) -> None:
    """File times are coarse: writing the same number of bytes again at once may leave them as they are."""
    path = tmp_path / "weights.pt"

    wrong = []
    for number in range(500):
        content = f"{number:04d}".encode()
        path.write_bytes(content)
        if hashlib.sha256(content).hexdigest() != file_sha256(path):
            wrong.append(number)

    assert [] == wrong


def test_an_old_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The programs and weights of a run are not hashed again for every batch."""
    monkeypatch.setattr(identity, "FRESH_NS", -(10**18))  # every file counts as old
    path = tmp_path / "weights.pt"
    path.write_bytes(b"weights")
    before = identity._remembered_sha256.cache_info()

    found = {file_sha256(path) for _ in range(3)}

    after = identity._remembered_sha256.cache_info()
    assert {hashlib.sha256(b"weights").hexdigest()} == found
    assert (1, 2) == (after.misses - before.misses, after.hits - before.hits)


def test_a_checkpoint_of_absurd_size_is_not_hashed(tmp_path: Path) -> None:
    """Its size alone is the fault; a hundred gigabytes would be read for minutes."""
    path = tmp_path / "huge.pt"
    path.touch()
    os.truncate(path, 100 << 30)

    found = identify(checkpoint(path))

    assert found.agent_id == ""
    assert "107,374,182,400 bytes, more than the 4,294,967,296 allowed" in (found.fault or "")
