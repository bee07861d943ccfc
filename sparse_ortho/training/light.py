"""An optimizer of torch that does not bring torch's compiler along: importing that costs a process 0.95 s of CPU.

torch wraps the methods below for the compiler, and the wrapper imports it at the first call. The functions behind it
are the same; `step` computes no gradients, which the wrapper would see to.
"""

from __future__ import annotations

import functools
import inspect
from typing import TypeVar, cast

import torch

Kind = TypeVar("Kind", bound=torch.optim.Optimizer)

WRAPPED = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")


def light(kind: type[Kind]) -> type[Kind]:
    """`kind`, with the functions behind those wrappers; its name stays."""
    return cast(type[Kind], _light(kind))


@functools.cache
def _light(kind: type[torch.optim.Optimizer]) -> type[torch.optim.Optimizer]:
    own = {name: inspect.unwrap(getattr(kind, name)) for name in WRAPPED}
    return type(kind.__name__, (kind,), own | {"step": torch.no_grad()(inspect.unwrap(kind.step))})
