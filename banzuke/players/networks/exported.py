"""A program that ``torch.export`` made, as a network that can be asked about positions.

The program is a list of steps, each an operation of torch on earlier results. They are done here one after the other;
no source code is made of them. Only operations in :data:`OPERATIONS` are done: none of them reads or writes a file,
draws random numbers or looks at memory that was not written.
"""

from __future__ import annotations

import json
import operator
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from banzuke.players.networks.archive import UnusableError, first_line, shown
from banzuke.players.networks.evaluation import Evaluation
from banzuke.players.networks.exported_archive import StoredProgram, element_type

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

SCHEMA_MAJOR = 8
"""Of the program's text; what torch 2.13 writes."""
MAX_STEPS = 100_000
_POLICY_NAMES = ("policy_logits", "policy")
_FLOAT32 = 7
_MEMORY_FORMATS = {
    1: torch.contiguous_format,
    2: torch.channels_last,
    3: torch.channels_last_3d,
    4: torch.preserve_format,
}
"""By their numbers in the text (``MemoryFormat`` of ``torch/_export/serde/schema.py``)."""
_STRIDED = 7
_TRAINING = frozenset({"train", "training"})

OPERATIONS = frozenset(
    """
    _adaptive_avg_pool2d _convolution _log_softmax _native_batch_norm_legit_no_training _native_multi_head_attention
    _prelu_kernel _safe_softmax _scaled_dot_product_attention_math _scaled_dot_product_efficient_attention
    _scaled_dot_product_flash_attention _scaled_dot_product_flash_attention_for_cpu _softmax _to_copy
    _transformer_encoder_layer_fwd _unsafe_view _weight_norm _weight_norm_interface
    abs adaptive_avg_pool1d adaptive_avg_pool2d adaptive_max_pool1d adaptive_max_pool2d add addbmm addcdiv addcmul
    addmm addmv alias all amax amin any arange argmax argmin argsort atan atan2 avg_pool1d avg_pool2d baddbmm
    batch_norm bilinear bitwise_and bitwise_not bitwise_or bitwise_xor bmm broadcast_tensors broadcast_to bucketize
    cat ceil celu channel_shuffle chunk clamp clamp_max clamp_min clip clone concat concatenate constant_pad_nd
    contiguous conv1d conv2d conv3d conv_transpose1d conv_transpose2d convolution copy cos cosh cosine_similarity
    cummax cummin cumprod cumsum detach diag diag_embed diagonal div divide dot dropout einsum elu embedding eq erf
    exp exp2 expand expand_as expm1 eye feature_dropout fill flatten flip floor floor_divide floordiv fmax fmin fmod
    frac full full_like gather ge gelu glu greater greater_equal group_norm gt hardshrink hardsigmoid hardswish
    hardtanh hstack index index_add index_copy index_fill index_put index_select inner instance_norm isfinite isinf
    isnan layer_norm le leaky_relu lerp less less_equal lift_fresh lift_fresh_copy linear linspace log log10 log1p log2
    log_sigmoid log_softmax logaddexp logical_and logical_not logical_or logical_xor logsumexp lt masked_fill
    masked_scatter matmul max max_pool1d max_pool2d max_pool2d_with_indices maximum mean median min minimum mish mm
    moveaxis movedim mul multiply mv nan_to_num narrow native_channel_shuffle native_group_norm native_layer_norm ne
    neg negative new_full new_ones new_zeros norm not_equal one_hot ones ones_like outer pad permute pixel_shuffle
    pixel_unshuffle positive pow prelu prod ravel reciprocal reflection_pad2d relu relu6 remainder repeat
    repeat_interleave replication_pad2d reshape reshape_as rms_norm roll rot90 round rsqrt rsub scalar_tensor
    scaled_dot_product_attention scatter scatter_add scatter_reduce select select_scatter selu sigmoid sign silu sin
    sinh size slice slice_scatter softmax softplus softshrink sort split split_with_sizes sqrt square squeeze stack
    std std_mean sub subtract sum swapaxes swapdims sym_numel sym_size sym_stride t take_along_dim tan tanh
    tensor_split tensordot threshold tile to topk transpose tril tril_indices triu triu_indices true_divide trunc
    type_as unbind unflatten unfold unsafe_chunk unsafe_split unsafe_split_with_sizes unsqueeze upsample_bilinear2d
    upsample_nearest2d var var_mean view view_as vstack where xlogy zero zeros zeros_like
    """.split()  # noqa: SIM905 - as a list it would be one line a word
)
"""Of the namespace ``aten``, also in place (with ``_`` at the end)."""
_ON_SIZES: dict[str, Callable[..., Any]] = {
    **{
        f"_operator.{name}": getattr(operator, name)
        for name in ("add", "sub", "mul", "floordiv", "mod", "truediv", "neg", "eq", "ne", "lt", "le", "gt", "ge")
    },
    "torch.sym_float": float,
    "torch.sym_int": int,
    "torch.sym_max": max,
    "torch.sym_min": min,
    "torch.sym_not": operator.not_,
}
_PROMISES = re.compile(
    r"torch\.ops\.aten\.(_assert_\w+|sym_constrain_\w+|_functional_\w+)\.\w+"
    r"|torch\.ops\.higher_order\._?assert_\w+"
)
"""What a program says about its own sizes and types; it decides nothing."""
_ATEN = re.compile(r"torch\.ops\.aten\.(\w+)\.(\w+)")
_NO_GRAD = "torch.ops.higher_order.wrap_with_set_grad_enabled"


class ExportedNetwork(nn.Module):
    """The program, with its weights as buffers. Its own number of rows it makes by itself, out of any other."""

    def __init__(self, program: _Program, *, planes: int, actions: int) -> None:
        super().__init__()
        self._steps = program.steps
        self._slots = program.slots
        self._outputs = program.outputs
        self._planes = planes
        self._actions = actions
        self._fewest, self._most = program.rows
        self.parameter_count = program.parameters
        self._policy = 0
        self._chances: int | None = None
        for slot, tensor in program.tensors.items():
            self.register_buffer(f"tensor_{slot}", tensor)
        self._filled = [(slot, f"tensor_{slot}") for slot in program.tensors]

    @property
    def fixed_batch(self) -> int | None:
        """How many rows a pass has; None where it may have any number."""
        return self._fewest if self._fewest == self._most else None

    @property
    def operations(self) -> int:
        """How many steps a pass takes."""
        return len(self._steps)

    def evaluate(self, planes: torch.Tensor) -> Evaluation:
        """Look at positions.

        Args:
            planes: float32, ``(B, planes, 9, 9)``. Other numbers of rows than the program takes are filled up with
                zeros, or split.
        """
        most = self._most or max(1, len(planes))
        try:
            parts = [self._evaluate(planes[row : row + most]) for row in range(0, len(planes), most)]
        except (IndexError, ValueError, TypeError) as error:  # what some operations call their own failure
            raise RuntimeError(first_line(error)) from error
        if len(parts) == 1:
            return parts[0]
        chances = [part.win_probability for part in parts if part.win_probability is not None]
        return Evaluation(
            policy_logits=torch.cat([part.policy_logits for part in parts]),
            win_probability=torch.cat(chances) if chances else None,
        )

    def forward(self, planes: torch.Tensor) -> list[Any]:
        """Everything the program answers, in its own order."""
        values: list[Any] = [None] * self._slots
        for slot, name in self._filled:
            values[slot] = self._buffers[name]
        values[_DEVICE], values[_PLANES] = planes.device, planes
        for step in self._steps:
            step.take(values)
        return [_resolved(output, values) for output in self._outputs]

    def _evaluate(self, planes: torch.Tensor) -> Evaluation:
        rows = len(planes)
        if rows < self._fewest:
            planes = functional.pad(planes, (0, 0, 0, 0, 0, 0, 0, self._fewest - rows))
        answers = self(planes)
        logits = answers[self._policy][:rows].reshape(rows, self._actions).float()
        chances = None
        if self._chances is not None:
            win, draw, _ = answers[self._chances][:rows].float().softmax(dim=1).unbind(dim=1)
            chances = win + draw / 2
        return Evaluation(policy_logits=logits, win_probability=chances)

    def try_out(self, names: Sequence[str | None]) -> None:
        """Make one pass, and find out from it which answer is what.

        Args:
            names: of the answers, where they have any.

        Raises:
            UnusableError: the pass fails, or what comes out is not what a player needs.
        """
        rows = max(self._fewest, min(2, self._most or 2))
        planes = torch.zeros(rows, self._planes, 9, 9)
        before = [(name, tensor._version) for name, tensor in (*self.named_buffers(), ("its planes", planes))]  # noqa: SLF001 - there is no other way to see a write
        with torch.no_grad():
            answers = self(planes)
        for (name, version), tensor in zip(before, (*self.buffers(), planes), strict=True):
            if tensor._version != version:  # noqa: SLF001 - see above
                what = name if tensor is planes else "its own weights"
                raise UnusableError(f"writes over {what} in every pass; was eval() called before it was exported?")
        tensors = [index for index, answer in enumerate(answers) if isinstance(answer, torch.Tensor)]
        if not tensors:
            raise UnusableError("answers no tensor")
        self._policy = next((i for name in _POLICY_NAMES for i in tensors if names[i] == name), tensors[0])
        policy = answers[self._policy]
        if policy.shape[:1] != (rows,) or policy.numel() != rows * self._actions or not policy.is_floating_point():
            raise UnusableError(
                f"answers {tuple(policy.shape)} of {policy.dtype} for {rows} positions where the policy belongs; "
                f"its moves need ({rows}, {self._actions})"
            )
        chances = (i for i in tensors if i != self._policy and answers[i].shape == (rows, 3))
        self._chances = next((i for i in chances if answers[i].is_floating_point()), None)


def exported_network(stored: StoredProgram, *, planes: int, actions: int) -> ExportedNetwork:
    """The network of a program that was read.

    Args:
        stored: what its file holds; hostile.
        planes: how many planes it must take.
        actions: how many logits it must answer.

    Raises:
        UnusableError: it takes or answers something else, does what is not allowed, or needs another torch.
    """
    try:
        program = _read(stored, planes)
        network = ExportedNetwork(program, planes=planes, actions=actions)
        network.requires_grad_(requires_grad=False).eval()
        network.try_out(program.names)
    except UnusableError:
        raise
    except Exception as error:  # whatever becomes of hostile steps, it is the file's fault
        raise UnusableError(f"does not run: {type(error).__name__}: {first_line(error)}") from error
    return network


@dataclass(frozen=True, slots=True)
class _Slot:
    """Where a value lies while a pass is made."""

    index: int


_DEVICE, _PLANES = 0, 1


@dataclass(slots=True)
class _Program:
    """What is to be done, checked."""

    rows: tuple[int, int | None]
    """Fewest and most positions of a pass."""
    tensors: dict[int, torch.Tensor] = field(default_factory=dict)
    """Weights by slot."""
    steps: list[_Step] = field(default_factory=list)
    parameters: int = 0
    """Numbers that were trained."""
    slots: int = 2
    outputs: list[Any] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)

    def new_slot(self) -> _Slot:
        self.slots += 1
        return _Slot(self.slots - 1)


class _Step:
    """One operation on values in slots."""

    __slots__ = ("_arguments", "_dead", "_keywords", "_nested", "_operation", "_results", "_single", "_variable")

    def __init__(
        self,
        operation: Callable[..., Any],
        arguments: list[Any],
        keywords: dict[str, Any],
        results: _Slot | list[_Slot | None],
    ) -> None:
        self._operation = operation
        self._arguments = arguments
        self._keywords = keywords
        self._variable = [(i, value.index) for i, value in enumerate(arguments) if isinstance(value, _Slot)]
        self._nested = [
            (i, value) for i, value in enumerate(arguments) if isinstance(value, list) and [*_slots_in(value)]
        ]
        self._single = results.index if isinstance(results, _Slot) else None
        self._results: list[int | None] = (
            [] if isinstance(results, _Slot) else [None if slot is None else slot.index for slot in results]
        )
        self._dead: tuple[int, ...] = ()

    def uses(self) -> Iterator[int]:
        """The slots it reads."""
        for value in (*self._arguments, *self._keywords.values()):
            yield from _slots_in(value)

    def makes(self) -> Iterator[int]:
        """The slots it writes."""
        yield from (slot for slot in (self._single, *self._results) if slot is not None)

    def lets_go(self, dead: tuple[int, ...]) -> None:
        """What nobody reads after this step."""
        self._dead = dead

    def take(self, values: list[Any]) -> None:
        """Do it."""
        arguments = self._arguments.copy()
        for i, slot in self._variable:
            arguments[i] = values[slot]
        for i, members in self._nested:
            arguments[i] = _resolved(members, values)
        keywords = {name: _resolved(value, values) for name, value in self._keywords.items()}
        result = self._operation(*arguments, **keywords)
        if self._single is not None:
            values[self._single] = result
        else:
            for place, one in zip(self._results, result, strict=True) if self._results else ():
                if place is not None:
                    values[place] = one
        for slot in self._dead:
            values[slot] = None


def _slots_in(value: object) -> Iterator[int]:
    """The slot that a value is, or those in it if it is a list."""
    if isinstance(value, _Slot):
        yield value.index
    elif isinstance(value, list):
        for member in value:
            yield from _slots_in(member)


def _resolved(value: object, values: list[Any]) -> Any:  # noqa: ANN401 - what an operation takes
    if isinstance(value, _Slot):
        return values[value.index]
    if isinstance(value, list):
        return [_resolved(member, values) for member in value]
    return value


def _read(stored: StoredProgram, planes: int) -> _Program:
    text = stored.text
    major = text["schema_version"]["major"]
    if major != SCHEMA_MAJOR:
        by = shown(text.get("torch_version"))
        raise UnusableError(f"needs another torch: its text is of version {shown(major)} (torch {by}), not 8")
    module = text["graph_module"]
    graph = module["graph"]
    scope: dict[str, _Slot] = {}
    program = _Program(rows=_rows(_given(module, graph), text["range_constraints"], planes))
    for specified in module["signature"]["input_specs"]:
        ((kind, spec),) = specified.items()
        name = _argument_name(spec["arg"])
        if kind == "user_input":
            scope[name] = _Slot(_PLANES)
        else:
            slot = scope[name] = program.new_slot()
            tensor = program.tensors[slot.index] = _tensor(stored, kind, spec)
            program.parameters += tensor.numel() if kind == "parameter" else 0
    _Reader(program).add(graph, scope)
    specified = module["signature"]["output_specs"]
    if any("user_output" not in spec for spec in specified):
        raise UnusableError("keeps something from one pass to the next; was eval() called before it was exported?")
    program.outputs = [_Reader.output(spec["user_output"]["arg"], scope) for spec in specified]
    program.names = _output_names(module, len(program.outputs))
    _find_dead(program)
    return program


def _given(module: dict[str, Any], graph: dict[str, Any]) -> dict[str, Any]:
    """What the text says about the tensor that a caller gives."""
    given = [spec["user_input"]["arg"] for spec in module["signature"]["input_specs"] if "user_input" in spec]
    if len(given) != 1 or "as_tensor" not in given[0]:
        raise UnusableError(f"takes {len(given)} inputs; it must take one tensor, the planes")
    meta: dict[str, Any] = graph["tensor_values"][given[0]["as_tensor"]["name"]]
    return meta


def _rows(meta: dict[str, Any], ranges: dict[str, dict[str, int | None]], planes: int) -> tuple[int, int | None]:
    """How few and how many positions a pass may have, after the input's type and shape were found to be right."""
    if meta["dtype"] != _FLOAT32:
        raise UnusableError(f"takes planes of {element_type(meta['dtype'])}; they are of torch.float32")
    sizes = [size.get("as_int") for size in meta["sizes"]]
    if len(sizes) != 4 or sizes[1:] != [planes, 9, 9]:
        said = ", ".join("any" if size is None else shown(size) for size in sizes)
        raise UnusableError(f"takes ({said}); its encoding needs (any, {planes}, 9, 9)")
    if sizes[0] is not None:
        if not isinstance(sizes[0], int) or not 1 <= sizes[0] <= 1 << 16:
            raise UnusableError(f"takes batches of {shown(sizes[0])}")
        return sizes[0], sizes[0]
    expression = meta["sizes"][0]["as_expr"]["expr_str"]
    symbol = re.fullmatch(r"(?:Symbol\('(\w+)'[\w ,=]*\)|(\w+))", expression)
    if symbol is None:
        raise UnusableError(f"takes batches of {shown(expression)}; leave the dimension free, or fix it")
    allowed = ranges.get(symbol[1] or symbol[2], {})
    most = allowed.get("max_val")
    return max(1, allowed.get("min_val") or 1), most


def _argument_name(argument: dict[str, Any]) -> str:
    name = argument["as_tensor"]["name"] if "as_tensor" in argument else argument["name"]
    if not isinstance(name, str):
        raise TypeError(f"{shown(name)} is no name")
    return name


def _tensor(stored: StoredProgram, kind: str, spec: dict[str, Any]) -> torch.Tensor:
    place = {"parameter": "parameter_name", "buffer": "buffer_name", "tensor_constant": "tensor_constant_name"}
    if kind not in place:
        raise UnusableError(f"refused: it needs a {shown(kind)}")
    name = spec[place[kind]]
    for tensors in (stored.weights, stored.constants):
        if name in tensors:
            return tensors[name]
    raise UnusableError(f"lacks {shown(name)}")


def _operation(target: str) -> Any:  # noqa: ANN401 - torch has no public type for it
    match = _ATEN.fullmatch(target)
    if match is None or match[1].removesuffix("_") not in OPERATIONS or "out" in match[2].split("_"):
        raise UnusableError(
            f"asks for {shown(target.removeprefix('torch.ops.'))}, which is none of the operations allowed"
        )
    operation = getattr(getattr(torch.ops.aten, match[1], None), match[2], None)
    if operation is None:
        raise UnusableError(f"needs another torch: {torch.__version__} has no {shown(target)}")
    return operation


def _check_not_training(given: dict[str, dict[str, Any]]) -> None:
    for name, argument in given.items():
        if (name in _TRAINING and argument.get("as_bool")) or (name == "dropout_p" and argument.get("as_float")):
            raise UnusableError("was exported as for training; call eval() before torch.export.export")


class _Reader:
    """Turns nodes of the text into steps."""

    def __init__(self, program: _Program) -> None:
        self._program = program

    def add(self, graph: dict[str, Any], scope: dict[str, _Slot]) -> None:
        """Append a graph's steps; ``scope`` gets the names of their results."""
        for node in graph["nodes"]:
            if len(self._program.steps) > MAX_STEPS:
                raise UnusableError(f"has more than {MAX_STEPS:,} steps")
            target = node["target"]
            if target == _NO_GRAD:
                self._add_part(node, scope)
            elif not _PROMISES.fullmatch(target):
                arguments, keywords, operation = self._call(target, node["inputs"], scope)
                results = self._results(node["outputs"], scope)
                self._program.steps.append(_Step(operation, arguments, keywords, results))

    def _add_part(self, node: dict[str, Any], scope: dict[str, _Slot]) -> None:
        """The steps of a part within ``torch.no_grad()``, in their own scope: everything here is without gradients."""
        _, part, *given = (named["arg"] for named in node["inputs"])
        graph = part["as_graph"]["graph"]
        names = [_argument_name(argument) for argument in graph["inputs"]]
        inner = dict(zip(names, (self._value(argument, scope) for argument in given), strict=True))
        self.add(graph, inner)
        made = [self.output(argument, inner) for argument in graph["outputs"]]
        outer = node["outputs"]
        if len(outer) == 1 and "as_tensors" in outer[0]:
            outer = [{"as_tensor": argument} for argument in outer[0]["as_tensors"]]
        for argument, slot in zip(outer, made, strict=True):
            if "as_none" not in argument:
                scope[self._result_name(argument)] = slot

    def _call(
        self, target: str, inputs: list[dict[str, Any]], scope: dict[str, _Slot]
    ) -> tuple[list[Any], dict[str, Any], Callable[..., Any]]:
        if target in _ON_SIZES:
            return [self._value(named["arg"], scope) for named in inputs], {}, _ON_SIZES[target]
        operation = _operation(target)
        given = {named["name"]: named["arg"] for named in inputs}
        _check_not_training(given)
        arguments: list[Any] = []
        keywords: dict[str, Any] = {}
        gap = False
        for declared in operation._schema.arguments:  # noqa: SLF001 - the only way to an operation's signature
            name = declared.name
            gap |= declared.kwarg_only or (name not in given and name != "device")
            if name == "device":
                # Not where it was exported, but where the network is now.
                value: Any = _Slot(_DEVICE)
            elif name in given:
                value = self._value(given.pop(name), scope)
            else:
                continue
            if gap:
                keywords[name] = value
            else:
                arguments.append(value)
        if given.keys() - {"device"}:
            raise UnusableError(f"needs another torch: {shown(target)} has no {shown(min(given))} here")
        return arguments, keywords, operation

    def _value(self, argument: dict[str, Any], scope: dict[str, _Slot]) -> Any:  # noqa: ANN401, C901, PLR0911, PLR0912 - one line a kind
        ((kind, value),) = argument.items()
        match kind:
            case "as_none":
                return None
            case "as_tensor":
                return scope[value["name"]]
            case "as_tensors":
                return [scope[one["name"]] for one in value]
            case "as_optional_tensor":
                return self._value(value, scope)
            case "as_optional_tensors":
                return [self._value(one, scope) for one in value]
            case "as_sym_int" | "as_sym_float" | "as_sym_bool":
                return self._size(value, scope)
            case "as_sym_ints" | "as_sym_floats" | "as_sym_bools":
                return [self._size(one, scope) for one in value]
            case "as_int" | "as_bool" | "as_string":
                return value
            case "as_float":
                return float(value)  # infinity and NaN are text
            case "as_ints" | "as_bools":
                return list(value)
            case "as_floats":
                return [float(one) for one in value]
            case "as_scalar_type":
                return element_type(value)
            case "as_memory_format":
                return _MEMORY_FORMATS[value]
            case "as_layout" if value == _STRIDED:
                return torch.strided
            case "as_device":
                return _Slot(_DEVICE)
        raise UnusableError(f"refused: a step of it takes {shown(kind)}")

    @staticmethod
    def _size(value: dict[str, Any], scope: dict[str, _Slot]) -> Any:  # noqa: ANN401 - a slot or a plain number
        return scope[value["as_name"]] if "as_name" in value else next(iter(value.values()))

    @staticmethod
    def output(argument: dict[str, Any], scope: dict[str, _Slot]) -> Any:  # noqa: ANN401 - a slot or nothing
        """What one output is; numbers and nothing are no tensors, which is all that matters of them."""
        return scope[argument["as_tensor"]["name"]] if "as_tensor" in argument else None

    def _results(self, outputs: list[dict[str, Any]], scope: dict[str, _Slot]) -> _Slot | list[_Slot | None]:
        if len(outputs) == 1 and "as_tensors" not in outputs[0]:
            return self._new(outputs[0], scope)
        if len(outputs) == 1:
            outputs = [{"as_tensor": argument} for argument in outputs[0]["as_tensors"]]
        return [None if "as_none" in argument else self._new(argument, scope) for argument in outputs]

    def _new(self, argument: dict[str, Any], scope: dict[str, _Slot]) -> _Slot:
        slot = scope[self._result_name(argument)] = self._program.new_slot()
        return slot

    @staticmethod
    def _result_name(argument: dict[str, Any]) -> str:
        ((kind, value),) = argument.items()
        if kind not in {"as_tensor", "as_sym_int", "as_sym_bool", "as_sym_float"}:
            raise UnusableError(f"refused: a step of it answers {shown(kind)}")
        name = value["name"] if kind == "as_tensor" else value["as_name"]
        if not isinstance(name, str):
            raise TypeError(f"{shown(name)} is no name")
        return name


def _output_names(module: dict[str, Any], count: int) -> list[str | None]:
    """The keys of the answer, where it is a flat dict."""
    whole = next((entry["signature"] for entry in module["module_call_graph"] if entry["fqn"] == ""), None)
    if whole is not None:
        spec = json.loads(whole["out_spec"])[1]
        if spec["type"] in {"builtins.dict", "collections.OrderedDict"}:
            names = json.loads(spec["context"])
            if isinstance(names, list) and len(names) == count == len(spec["children_spec"]):
                return names
    return [None] * count


def _find_dead(program: _Program) -> None:
    """Have every value forgotten after the step that is the last to read it."""
    kept = {*program.tensors, _DEVICE, _PLANES}
    for output in program.outputs:
        kept.update(_slots_in(output))
    for step in reversed(program.steps):
        dead = {slot for slot in (*step.uses(), *step.makes()) if slot not in kept}
        step.lets_go(tuple(sorted(dead)))
        kept |= dead
