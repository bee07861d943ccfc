"""What comes out of a network's activations, use by use, while it looks at images.

An activation is a module of torch's own file of them, or one that its parent calls so, as all models here do (one that
is replaced, softened or the identity keeps its place). A module that a forward pass uses twice is two activations:
watching it by its path would see the last use only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

import torch
from torch import nn

from sparse_ortho.errors import UserError
from sparse_ortho.masks import plain_name
from sparse_ortho.measure.jacobian import evaluating
from sparse_ortho.measure.subject import Batch

TORCH = "torch.nn.modules.activation"
Seen = Callable[[str, torch.Tensor, torch.Tensor], None]  # name of the use, its output, labels


def watched(model: nn.Module) -> dict[str, nn.Module]:
    """The activations by path, without those inside of another; attention is of that file and is none."""
    found: dict[str, nn.Module] = {}
    for path, module in model.named_modules():
        place = path.replace("_orig_mod.", "").split(".")
        called = place[-1].startswith("activation") or (len(place) > 1 and place[-2] == "activations")
        kind = type(module).__module__ == TORCH and not isinstance(module, nn.MultiheadAttention)
        inside = any(path.startswith(f"{outer}.") for outer in found)
        if (kind or (called and not isinstance(module, nn.ModuleList))) and not inside:
            found[plain_name(path)] = module
    return found


def watch(model: nn.Module, batches: Iterable[Batch], seen: Seen) -> None:
    """Hand every use of every activation to `seen`, batch by batch, in the order of the network."""
    modules = watched(model)
    if not modules:
        raise UserError(type(model).__name__, "has no activations to look at")
    uses: Counter[str] = Counter()
    labels = torch.empty(0)

    def hook(path: str) -> Callable[..., None]:
        def look(_module: nn.Module, _given: object, output: torch.Tensor) -> None:
            uses[path] += 1
            seen(path if uses[path] == 1 else f"{path}#{uses[path]}", output, labels)

        return look

    handles = [module.register_forward_hook(hook(path)) for path, module in modules.items()]
    try:
        with torch.inference_mode(), evaluating(model):
            for x, y in batches:
                uses.clear()
                labels = y
                model(x)
    finally:
        for handle in handles:
            handle.remove()
