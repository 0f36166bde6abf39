"""Makes networks of certain widths misbehave in their forward pass, in any process that has this on its PYTHONPATH.

A network's architecture is fixed and its file is data, so no honest file hangs or crashes a forward pass; a broken
driver, a broken kernel or a broken build of torch does. ``ZOO_SABOTAGE`` names a JSON file: width of the first layer ->
``{"act", "at_pass", "mark", "memory_mb"}``; passes count from 1, the first one being that of the opening.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import time
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

BITE_MIB = 16
CONVOLUTIONS = "torch.nn.modules.conv"


class Saboteur(MetaPathFinder, Loader):
    """Finds torch's convolutions where they are, and spoils them once they are loaded."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Only that one module."""
        spec = PathFinder.find_spec(fullname, path, target) if fullname == CONVOLUTIONS else None
        if spec is None or spec.loader is None:
            return None
        self.honest = spec.loader
        spec.loader = self
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As the honest loader does."""
        return self.honest.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Load it, then put a layer between."""
        self.honest.exec_module(module)
        honest_forward = module.Conv2d.forward
        plan = json.loads(Path(os.environ["ZOO_SABOTAGE"]).read_text(encoding="utf-8"))

        def forward(layer, planes):  # noqa: ANN001, ANN202 - torch is not imported here
            if layer.in_channels == 50 and (order := plan.get(str(layer.out_channels))):
                layer.passes = getattr(layer, "passes", 0) + 1
                if layer.passes >= order["at_pass"]:
                    ACTS[order["act"]](order)
            return honest_forward(layer, planes)

        module.Conv2d.forward = forward


def mark(order: dict[str, str]) -> None:
    """When the misbehaviour began, on the monotonic clock."""
    if not Path(order["mark"]).exists():
        Path(order["mark"]).write_text(repr(time.monotonic()), encoding="utf-8")


def hang(order: dict[str, str]) -> None:
    """In C, holding the interpreter's lock: no thread of the process can do anything any more."""
    mark(order)
    ctypes.PyDLL(None).sleep(60)


def segfault(order: dict[str, str]) -> None:
    """Read where nothing is."""
    mark(order)
    ctypes.string_at(8)


def abort(order: dict[str, str]) -> None:
    """What C++ does with an exception that nobody catches."""
    mark(order)
    ctypes.CDLL(None).abort()


def leak(order: dict[str, str]) -> None:
    """Take memory and touch it, up to 3 GiB, should nobody stop it."""
    taken = []
    for _ in range(192):
        pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
        # Before the bite that goes over the limit: right after it, nobody may be there any more to mark anything.
        if (pages * os.sysconf("SC_PAGE_SIZE") >> 20) + 2 * BITE_MIB > int(order["memory_mb"]):
            mark(order)
        taken.append(b"\1" * (BITE_MIB << 20))
        time.sleep(0.02)
    time.sleep(60)


def refuse(order: dict[str, str]) -> None:
    """Ask torch for more memory than any machine has."""
    mark(order)
    sys.modules["torch"].empty(1 << 50)


ACTS = {"hang": hang, "segfault": segfault, "abort": abort, "leak": leak, "refuse": refuse}

if "ZOO_SABOTAGE" in os.environ:
    sys.meta_path.insert(0, Saboteur())
