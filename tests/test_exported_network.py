"""Networks that are not Keisei's: exported programs, what they answer, and what hostile ones cannot do."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import nn

from banzuke.errors import AgentStartError, SpecError
from banzuke.players.networks.loading import LoadedNetwork, load_network
from banzuke.players.networks.old_tower import OldTower, OldTowerSizes
from banzuke.players.networks.se_resnet import SEResNet, SEResNetSizes
from banzuke.specs import CheckpointAgent, load_spec

Banzuke = Callable[..., subprocess.CompletedProcess[str]]
PAGE = Path(__file__).parent.parent / "docs" / "networks.md"
WRITTEN = re.compile(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```", re.DOTALL)
TYPED = re.compile(r"```console\n(.*?)```", re.DOTALL)
PICKLES = "data/sample_inputs/model.pt"
TEXT = "models/model.json"
WEIGHTS = "data/weights/model_weights_config.json"
NONSENSE: tuple[Any, ...] = (None, -1, "x", [], {})
SIZES = SEResNetSizes(
    planes=50, blocks=1, channels=8, squeeze=2, pool=4, policy_channels=8, value_width=4, score_width=2
)


class Small(nn.Module):
    """A network of nobody's, with what exporting makes different of it."""

    def __init__(self, planes: int = 50, actions: int = 11_259) -> None:
        super().__init__()
        self.stem = nn.Conv2d(planes, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.policy = nn.Linear(4 * 81, actions)
        self.value = nn.Linear(4, 3)
        self.ramp = nn.Buffer(torch.linspace(-1, 1, 9), persistent=False)

    def trunk(self, planes: torch.Tensor) -> torch.Tensor:
        x: torch.Tensor = self.norm(self.stem(planes)).relu_() + self.ramp
        return torch.cat([*x.chunk(2, dim=1)][::-1], dim=1) * torch.full((9,), 0.5, device=x.device)

    def forward(self, planes: torch.Tensor) -> Any:
        x = self.trunk(planes)
        return self.policy(x.reshape(planes.shape[0], -1)), self.value(x.amax(dim=(2, 3)))


class Answering(Small):
    """The same with its answers put another way."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form = form

    def forward(self, planes: torch.Tensor) -> Any:
        policy, value = super().forward(planes)
        lead = value[:, :1]
        return {
            "list": [policy, lead, value],
            "dict": {"value": value, "lead": lead, "policy": policy},
            "keisei": {"score_lead": lead, "policy_logits": policy.view(-1, 9, 9, 139), "value_logits": value},
            "flattens": (policy.view(-1, 9, 9, 139), value),
        }[self.form]


class Attending(nn.Module):
    """Squares that look at each other, as torch's own layers do it."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(46, 16)
        layer = nn.TransformerEncoderLayer(16, 2, dim_feedforward=32, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.policy = nn.Linear(16, 167)

    def forward(self, planes: torch.Tensor) -> torch.Tensor:
        squares = self.embed(planes.flatten(2).transpose(1, 2))
        logits: torch.Tensor = self.policy(self.blocks(squares))
        return logits.flatten(1)


class WithinNoGrad(Small):
    def forward(self, planes: torch.Tensor) -> Any:
        with torch.no_grad():
            x = self.trunk(planes) * 2
        return self.policy(x.flatten(1))


class Keisei(nn.Module):
    """One of Keisei's own, as a stranger would export it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, planes: torch.Tensor) -> Any:
        return tuple(self.network(planes))


def exported(
    path: Path, network: nn.Module, *, planes: int = 50, rows: int = 2, batch: Any = "any", training: bool = False
) -> Path:
    """Save a network as a program; ``batch`` is a dimension of torch's, or None for just as many ``rows``."""
    torch.manual_seed(1)
    shapes = None if batch is None else ({0: torch.export.Dim("batch") if batch == "any" else batch},)
    program = torch.export.export(network.train(training), (torch.zeros(rows, planes, 9, 9),), dynamic_shapes=shapes)
    torch.export.save(program, path)
    return path


def load(path: Path, *, encoding: str = "keisei-50", moves: str = "keisei-11259") -> LoadedNetwork:
    return load_network(path, format="exported", encoding=encoding, moves=moves)


def refusal(path: Path, **said: str) -> str:
    """The one line with which a file is refused; it begins with the file's name."""
    with pytest.raises(AgentStartError) as refused:
        load(path, **said)
    line = str(refused.value)
    assert 1 == len(line.splitlines())
    assert line.startswith(f"{path.name}: ")
    assert len(line) < 400
    return line


def positions(count: int, planes: int = 50) -> torch.Tensor:
    return torch.rand((count, planes, 9, 9), generator=torch.Generator().manual_seed(count))


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that plays."""
    return exported(tmp_path_factory.mktemp("good") / "net.pt2", Small())


def changed(
    source: Path,
    target: Path,
    contents: Mapping[str, bytes | str | None],
    *,
    compression: int = zipfile.ZIP_STORED,
) -> Path:
    """A copy of a program's file with some entries replaced, added, or (None) left out."""
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(target, "w") as copy:
        root = archive.namelist()[0].partition("/")[0]
        entries: dict[str, bytes | str | None] = {
            name.removeprefix(f"{root}/"): archive.read(name) for name in archive.namelist()
        }
        for name, content in (entries | dict(contents)).items():
            if content is not None:
                replaced = name in contents
                copy.writestr(f"{root}/{name}", content, compression if replaced else zipfile.ZIP_STORED)
    return target


def entry(source: Path, name: str) -> Any:
    with zipfile.ZipFile(source) as archive:
        root = archive.namelist()[0].partition("/")[0]
        return json.loads(archive.read(f"{root}/{name}"))


# What they answer


@pytest.mark.parametrize("batch", ["any", None])
def test_a_program_answers_what_torch_answers(tmp_path: Path, batch: str | None) -> None:
    """Logits and chances are bit for bit those of the program as torch loads it, in its own number of rows."""
    path = exported(tmp_path / "net.pt2", Small(), rows=3, batch=batch)
    network = load(path)
    planes = positions(3)
    with torch.inference_mode():
        policy, value = torch.export.load(path).module()(planes)

        answer = network.module.evaluate(planes)

    win, draw, _ = value.softmax(dim=1).unbind(dim=1)
    assert torch.equal(policy, answer.policy_logits)
    assert answer.win_probability is not None
    assert torch.equal(win + draw / 2, answer.win_probability)
    assert (3 if batch is None else None) == network.fixed_batch
    assert ("exported", 50, None, None) == (network.family, network.planes, network.epoch, network.step)
    assert ("keisei-new-50", "keisei-11259") == (network.encoding.name, network.action_map.name)
    parameters = sum(parameter.numel() for parameter in Small().parameters())
    size = "any batch" if batch else "batches of 3"
    assert parameters == network.parameters
    assert network.description.endswith(f"operations, {size}, 50 planes, {parameters:,} parameters")


@pytest.mark.parametrize(
    ("network", "planes", "moves"),
    [
        (Keisei(SEResNet(SIZES)), 50, "keisei-11259"),
        (Keisei(OldTower(OldTowerSizes(planes=46, actions=13_527, depth=1, width=4, squeeze=2))), 46, "keisei-13527"),
        (Attending(), 46, "keisei-13527"),
        (WithinNoGrad(), 50, "keisei-11259"),
    ],
    ids=["se_resnet", "old tower", "transformer", "no_grad"],
)
def test_kinds_of_networks(tmp_path: Path, network: nn.Module, planes: int, moves: str) -> None:
    """Convolutions, attention and parts without gradients answer bit for bit what torch's own program answers."""
    path = exported(tmp_path / "net.pt2", network, planes=planes)
    seen = positions(5, planes)
    with torch.inference_mode():
        expected = torch.export.load(path).module()(seen)
        expected = expected[0] if isinstance(expected, tuple) else expected

        loaded = load(path, encoding=f"keisei-{planes}", moves=moves)

        assert torch.equal(expected.reshape(5, -1), loaded.module.evaluate(seen).policy_logits)


@pytest.mark.parametrize("form", ["list", "dict", "keisei", "flattens"])
def test_answers_may_come_in_several_forms(tmp_path: Path, form: str) -> None:
    """The policy is found by its name or comes first, win, draw and loss by their shape; the rest is ignored."""
    torch.manual_seed(3)
    network = Answering(form)
    plain = Small().eval()
    plain.load_state_dict(network.state_dict())
    with torch.inference_mode():
        policy, value = plain(positions(2))

        answer = load(exported(tmp_path / "net.pt2", network)).module.evaluate(positions(2))

    win, draw, _ = value.softmax(dim=1).unbind(dim=1)
    assert torch.equal(policy, answer.policy_logits)
    assert answer.win_probability is not None
    assert torch.equal(win + draw / 2, answer.win_probability)


@pytest.mark.parametrize(
    ("batch", "fixed"), [(None, 4), (torch.export.Dim("batch", min=2, max=4), None)], ids=["fixed", "range"]
)
def test_any_number_of_rows(tmp_path: Path, batch: Any, fixed: int | None) -> None:
    """A program of four rows, or of two to four, answers any number of positions as it answers four."""
    network = load(exported(tmp_path / "net.pt2", Small(), rows=4, batch=batch))
    planes = positions(12)
    whole = [network.module.evaluate(planes[row : row + 4]) for row in (0, 4, 8)]
    expected = torch.cat([part.policy_logits for part in whole])

    assert fixed == network.fixed_batch
    for count in (1, 3, 4, 5, 9, 12):
        answer = network.module.evaluate(planes[:count])
        assert answer.win_probability is not None
        assert ((count, 11_259), (count,)) == (answer.policy_logits.shape, answer.win_probability.shape)
        assert torch.allclose(expected[:count], answer.policy_logits, atol=1e-6)


def test_where_it_was_exported_does_not_matter(good: Path, tmp_path: Path) -> None:
    """A program that names the device it was exported on runs where the network is."""
    text = json.dumps(entry(good, TEXT)).replace('{"type": "cpu", "index": null}', '{"type": "cuda", "index": 0}')

    network = load(changed(good, tmp_path / "net.pt2", {TEXT: text}))

    assert torch.equal(
        load(good).module.evaluate(positions(2)).policy_logits, network.module.evaluate(positions(2)).policy_logits
    )


# Programs that cannot be played


class Random(Small):
    def forward(self, planes: torch.Tensor) -> Any:
        return super().forward(planes + torch.randn_like(planes))


class OverItsPlanes(Small):
    def forward(self, planes: torch.Tensor) -> Any:
        return super().forward(planes.mul_(2))


class Counting(Small):
    def __init__(self) -> None:
        super().__init__()
        self.seen = nn.Buffer(torch.zeros(()))

    def forward(self, planes: torch.Tensor) -> Any:
        self.seen.add_(1)
        return super().forward(planes + self.seen)


class Two(Small):
    def forward(self, planes: torch.Tensor) -> Any:
        return super().forward(planes.double().float())[1]


class Half(Small):
    def forward(self, planes: torch.Tensor) -> Any:
        return super().forward(planes.float())


class Branching(Small):
    def forward(self, planes: torch.Tensor) -> Any:
        twice = torch.cond(planes.sum() > 0, lambda x: x * 2, lambda x: x * 3, (planes,))
        return super().forward(twice)


@pytest.mark.parametrize(
    ("network", "training", "expected"),
    [
        (Small(), True, "was exported as for training; call eval() before torch.export.export"),
        (Random(), False, "asks for 'aten.randn_like.default', which is none of the operations allowed"),
        (OverItsPlanes(), False, "writes over its planes"),
        (Counting(), False, "writes over its own weights in every pass"),
        (
            Two(),
            False,
            "answers (2, 3) of torch.float32 for 2 positions where the policy belongs; its moves need (2, 11",
        ),
        (Branching(), False, "asks for 'higher_order.cond', which is none of the operations allowed"),
        (Small(actions=11_258), False, "answers (2, 11258) of torch.float32"),
    ],
    ids=["training", "random", "planes", "counting", "value only", "branching", "actions"],
)
def test_programs_that_do_something_else(tmp_path: Path, network: nn.Module, training: bool, expected: str) -> None:
    """What is no policy of the moves declared, or would not answer the same twice, is refused in one line."""
    assert expected in refusal(exported(tmp_path / "net.pt2", network, training=training))


def test_wrong_planes_moves_and_types(tmp_path: Path, good: Path) -> None:
    """A program that takes or answers something other than its spec says is refused in one line."""
    program = torch.export.export(Half().eval(), (torch.zeros(2, 50, 9, 9, dtype=torch.float16),))
    torch.export.save(program, tmp_path / "half.pt2")

    assert "takes (any, 50, 9, 9); its encoding needs (any, 46, 9, 9)" in refusal(good, encoding="keisei-46")
    assert "its moves need (2, 13527)" in refusal(good, moves="keisei-13527")
    assert "takes planes of torch.float16; they are of torch.float32" in refusal(tmp_path / "half.pt2")


def test_another_torch_is_needed(tmp_path: Path, good: Path) -> None:
    """A text of another version, or an operation this torch does not have, says so."""
    text = entry(good, TEXT)
    newer = json.dumps(text | {"schema_version": {"major": 9, "minor": 0}, "torch_version": "3.1"})
    unknown = json.dumps(text).replace("aten.conv2d.default", "aten.conv2d.fancy")

    assert "needs another torch: its text is of version 9 (torch '3.1')" in refusal(
        changed(good, tmp_path / "newer.pt2", {TEXT: newer})
    )
    assert "has no 'torch.ops.aten.conv2d.fancy'" in refusal(changed(good, tmp_path / "unknown.pt2", {TEXT: unknown}))


# Files of other kinds, damaged ones, and those that mean harm


def test_files_of_the_other_kinds(tmp_path: Path, good: Path) -> None:
    """Weights declared as a program, and a program not declared as one, are told what they are."""
    torch.save(Small().state_dict(), tmp_path / "weights.pt")
    (tmp_path / "text.pt2").write_text("no archive")

    assert "holds weights or TorchScript, not a program" in refusal(tmp_path / "weights.pt")
    assert "is not a file of torch.export.save's zip format, or is cut short" in refusal(tmp_path / "text.pt2")
    with pytest.raises(AgentStartError, match=r'^net\.pt2: is a program saved by .*; say format = "exported"'):
        load_network(good)
    with pytest.raises(AgentStartError, match=r"^net\.pt2: an exported program needs encoding and moves to be said$"):
        load_network(good, format="exported")


def test_cut_and_damaged_files(tmp_path: Path, good: Path) -> None:
    """However a file was cut short or overwritten, it is refused in one line or plays."""
    whole = good.read_bytes()
    for length in (0, 100, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut.pt2").write_bytes(whole[:length])
        assert "cut short" in refusal(tmp_path / "cut.pt2")
    for place in range(0, len(whole), len(whole) // 60):
        damaged = bytearray(whole)
        damaged[place] ^= 0x55
        (tmp_path / "damaged.pt2").write_bytes(damaged)
        try:
            load(tmp_path / "damaged.pt2")
        except AgentStartError as error:
            assert 1 == len(str(error).splitlines())  # noqa: PT017 - either is right, and one line is asked of one


class Payload:
    """Unpickling it would make a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.marker),)


def test_the_pickle_of_example_inputs_is_never_opened(tmp_path: Path, good: Path) -> None:
    """A program whose example inputs would run code when torch loads them plays, and the code does not run."""
    marker = tmp_path / "marker"
    torch.save(Payload(marker), tmp_path / "payload.pt")
    path = changed(good, tmp_path / "net.pt2", {PICKLES: (tmp_path / "payload.pt").read_bytes()})

    load(path)

    assert not marker.exists()
    with pytest.raises((AssertionError, TypeError)):
        torch.export.load(path)
    assert marker.exists()


def test_code_in_the_text_is_not_evaluated(tmp_path: Path, good: Path) -> None:
    """Sizes, guards and names that torch would take for Python are text here."""
    marker = tmp_path / "marker"
    code = f"__import__('os').mkdir({str(marker)!r})"
    text = entry(good, TEXT)
    size = next(iter(text["graph_module"]["graph"]["sym_int_values"].values()))["as_expr"]
    hostile = json.dumps(text | {"guards_code": [code]}).replace(json.dumps(size["expr_str"]), json.dumps(code))
    elsewhere = json.dumps(text).replace('"relu_"', json.dumps(f"x=0): {code} #"))

    assert "takes batches of" in refusal(changed(good, tmp_path / "sizes.pt2", {TEXT: hostile}))
    load(changed(good, tmp_path / "names.pt2", {TEXT: elsewhere}))

    assert not marker.exists()
    with pytest.raises(Exception, match=r".*"):
        torch.export.load(tmp_path / "sizes.pt2")
    assert marker.exists()


@pytest.mark.parametrize(
    "target",
    [
        "torch.os.system",
        "torch.load",
        "_operator.methodcaller",
        "math.factorial",
        "torch.ops.aten.from_file.default",
        "torch.ops.aten.empty.memory_format",
        "torch.ops.aten.relu.out",
        "torch.ops.aten.__class__.default",
        "torch.ops.prims.convert_element_type.default",
        "torch.ops.higher_order.flex_attention",
        "relu",
        "#other:thing",
    ],
)
def test_only_arithmetic_is_done(tmp_path: Path, good: Path, target: str) -> None:
    """A step that asks for anything but an operation of the list is refused."""
    text = json.dumps(entry(good, TEXT)).replace('"torch.ops.aten.relu_.default"', json.dumps(target))

    assert "which is none of the operations allowed" in refusal(changed(good, tmp_path / "net.pt2", {TEXT: text}))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("data/aotinductor/model/model.so", "is compiled code"),
        ("data/executorch/model.pte", "is compiled code"),
        ("data/constants/custom_obj_0", "is a custom object"),
        ("data/constants/opaque_obj_0", "is a pickled object"),
        ("data/weights/model.pt", "is pickled weights, as former versions of torch wrote them"),
        ("extra/note.txt", "is no part of a program and its numbers"),
        ("models/other.json", "is no part of a program and its numbers"),
        ("../outside", "is no part of a program and its numbers"),
    ],
)
def test_other_parts_are_refused(tmp_path: Path, good: Path, name: str, expected: str) -> None:
    """An archive with compiled code, objects, pickled weights or anything else in it is refused."""
    assert expected in refusal(changed(good, tmp_path / "net.pt2", {name: pickle.dumps(0)}))


@pytest.mark.parametrize("name", [TEXT, WEIGHTS, "data/weights/weight_0"])
def test_compressed_entries(tmp_path: Path, good: Path, name: str) -> None:
    """A compressed entry, small in the file and large in memory, is refused unread."""
    bomb = changed(good, tmp_path / "net.pt2", {name: b"0" * (8 << 20)}, compression=zipfile.ZIP_DEFLATED)

    assert bomb.stat().st_size < good.stat().st_size + (1 << 20)
    assert "is compressed, which torch.save never does" in refusal(bomb)


def test_texts_that_are_too_large_or_too_deep(tmp_path: Path, good: Path) -> None:
    """A text larger than any program's, or nested to the bottom of the stack, is refused."""
    large = changed(good, tmp_path / "large.pt2", {TEXT: b" " * ((32 << 20) + 1)})
    deep = changed(good, tmp_path / "deep.pt2", {TEXT: "[" * 100_000})

    assert "more than the 33,554,432 allowed" in refusal(large)
    assert "is no readable PyTorch file" in refusal(deep)


def hostile_weight(source: Path, target: Path, **changes: Any) -> Path:
    index = entry(source, WEIGHTS)
    first = index["config"]["stem.weight"]
    for key, value in changes.items():
        (first if key in first else first["tensor_meta"])[key] = value
    return changed(source, target, {WEIGHTS: json.dumps(index)})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"use_pickle": True}, "its tensor 'stem.weight' is pickled"),
        ({"path_name": "../../models/model.json"}, "lacks the numbers of 'stem.weight'"),
        ({"path_name": "weight_99"}, "lacks the numbers of 'stem.weight'"),
        ({"sizes": [{"as_int": 1 << 20}] * 2, "strides": [{"as_int": 0}] * 2}, "more than the 268,435,456 allowed"),
        ({"storage_offset": {"as_int": 1}}, "has too few numbers for 'stem.weight'"),
        ({"storage_offset": {"as_int": -1}}, "the impossible size -1"),
        ({"sizes": [{"as_int": 4}]}, "is not a dense tensor"),
        ({"layout": 1}, "is not a dense tensor"),
        ({"dtype": 10}, "the element type number 10"),
    ],
)
def test_weights_that_lie(tmp_path: Path, good: Path, changes: dict[str, Any], expected: str) -> None:
    """Weights that are pickled, elsewhere, beyond their bytes, or more than any network's are refused."""
    assert expected in refusal(hostile_weight(good, tmp_path / "net.pt2", **changes))


def test_texts_that_make_no_sense(tmp_path: Path, good: Path) -> None:
    """A text with any one part of it replaced by something else is refused in one line, or plays."""
    whole = entry(good, TEXT)
    refused = 0
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        for key in list(node) if isinstance(node, dict) else range(len(node)):
            if key == "metadata":
                continue
            places.append((node, key))
            if isinstance(node[key], dict | list):
                walk(node[key])

    walk(whole)
    for node, key in places[:: len(places) // 50]:
        kept = node[key]
        for nonsense in NONSENSE:
            node[key] = nonsense
            path = changed(good, tmp_path / "net.pt2", {TEXT: json.dumps(whole)})
            try:
                load(path)
            except AgentStartError as error:
                refused += 1
                assert 1 == len(str(error).splitlines())  # noqa: PT017 - see above
        node[key] = kept

    assert refused > 20


# In a spec, and in a tournament


def test_the_spec_says_what_it_takes(tmp_path: Path, good: Path) -> None:
    """Encoding and moves are needed with exported programs, and refused with the other formats."""
    shutil.copy(good, tmp_path / "net.pt2")

    def spec(keys: str) -> Path:
        path = tmp_path / "spec.toml"
        path.write_text(
            'name = "s"\n[[agents]]\nname = "r"\nkind = "random"\n'
            f'[[agents]]\nname = "net"\nkind = "checkpoint"\npath = "net.pt2"\n{keys}\n'
        )
        return path

    def faults(keys: str) -> list[str]:
        with pytest.raises(SpecError) as refused:
            load_spec(spec(keys))
        return [line.partition(": ")[2] for line in str(refused.value).splitlines()]

    assert ["agent 'net': format = \"exported\" needs encoding and moves"] == faults('format = "exported"')
    assert ["agent 'net': format = \"exported\" needs moves"] == faults('format = "exported"\nencoding = "keisei-50"')
    assert ["agent 'net': only format = \"exported\" has encoding"] == faults('encoding = "keisei-50"')
    assert ["agent 'net': only format = \"exported\" has encoding and moves"] == faults(
        'format = "keisei-new"\nencoding = "keisei-50"\nmoves = "keisei-11259"'
    )
    assert 1 == len(faults('format = "exported"\nencoding = "mine"\nmoves = "keisei-11259"'))
    said = load_spec(spec('format = "exported"\nencoding = "keisei-46"\nmoves = "keisei-13527"')).agent("net")
    assert isinstance(said, CheckpointAgent)
    assert ("exported", "keisei-46", "keisei-13527") == (said.format, said.encoding, said.moves)


@pytest.mark.timeout(300)
def test_the_page_is_typed_and_plays(tmp_path: Path, banzuke: Banzuke, environment: Mapping[str, str]) -> None:
    """What docs/networks.md says to write and type exports a network, and its games count."""
    for name, text in WRITTEN.findall(PAGE.read_text()):
        (tmp_path / name).write_text(text)
    export, run = (line for block in TYPED.findall(PAGE.read_text()) for line in block.splitlines())
    assert ("python export_network.py", "banzuke run my-exported-network.toml") == (export, run)
    subprocess.run([sys.executable, "export_network.py"], cwd=tmp_path, env=environment, check=True, timeout=120)

    done = banzuke(*run.split()[1:], "--run-id", "r", "--json")

    assert (0, "") == (done.returncode, done.stderr)
    assert 2 == json.loads(done.stdout)["counting"]
    games = pd.read_parquet(tmp_path / "banzuke-store" / "games")
    assert {"played"} == set(games.status)
    assert all(any(score is not None for score in evals) for evals in games.evals)
