"""Which outputs of a layer feed which inputs of other layers, through shortcuts, sums and pooling: asked of the model.

In a copy every masked layer is replaced by one that puts out what it is told, so that one pass shows what the units of
all layers feed, without the layers between. A unit is an output channel of a layer. It has a way in if one of its row's
weights is active; it has a way out if it feeds the network's output, or an input (column) of some layer with an active
weight.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from sparse_ortho.masks import LAYERS
from sparse_ortho.probe import Probe
from sparse_ortho.repairs.paths import input_shape, skeleton

OUTPUT = ""  # the name under which the network's own output is a layer that reads
FAINT = 1e-3  # what other units put out while one is followed: gates between them stay open
AT_ONCE = 2**22  # numbers that a layer may put out in one pass

Units = dict[str, torch.Tensor]


class _Told(nn.Module):
    """In the place of a layer: notes what comes in, a number an input, and puts out what it is told."""

    def __init__(self, name: str, shapes: list[torch.Size], heard: dict[str, torch.Tensor], told: Units, image: bool):
        super().__init__()
        self.name, self.shapes, self.heard, self.told, self.image = name, shapes, heard, told, image
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inputs = _by_channel(x, self.image)
        self.heard[self.name] = self.heard[self.name] + inputs if self.name in self.heard else inputs
        shape, told = self.shapes[self.calls % len(self.shapes)][1:], self.told[self.name]
        self.calls += 1
        if self.image:
            return told.view(*told.shape, *[1] * (len(shape) - 1)).expand(-1, *shape)
        return told.view(len(told), *[1] * (len(shape) - 1), -1).expand(-1, *shape)


class Wiring:
    def __init__(self, probe: Probe):
        self.shape = input_shape(probe)
        model, layers = skeleton(probe)
        self.model = model.double()
        names = {id(module.weight): name for name, module in layers.items()}
        shapes = self._shapes()
        self.heard: Units = {}
        self.told: Units = {}
        self.rows = {name: len(probe.weights[name]) for name in probe.weights}
        self.largest = max((shape.numel() for found in shapes.values() for shape in found), default=1)
        for path, parent in list(self.model.named_modules()):
            for attribute, child in list(parent._modules.items()):
                where = f"{path}.{attribute}" if path else attribute
                if isinstance(child, LAYERS) and id(child.weight) in names and where in shapes:
                    name, image = names[id(child.weight)], not isinstance(child, nn.Linear)
                    parent._modules[attribute] = _Told(name, shapes[where], self.heard, self.told, image)

    def _shapes(self) -> dict[str, list[Any]]:
        """What each layer puts out, of every call, without computing it."""
        found: dict[str, list[Any]] = {}
        twin = copy.deepcopy(self.model).to("meta")

        def note(path: str) -> Any:
            return lambda module, args, output: found.setdefault(path, []).append(output.shape)

        for path, module in twin.named_modules():
            if isinstance(module, LAYERS):
                module.register_forward_hook(note(path))
        with torch.no_grad():
            twin(torch.empty(1, *self.shape, dtype=torch.float64, device="meta"))
        return found

    def hear(self, told: Mapping[str, torch.Tensor], shown: float) -> Units:
        """What comes in at every layer, examples x inputs, if layers put out `told` and the image is all `shown`."""
        self.heard.clear()
        self.told.update(told)
        number = len(next(iter(told.values())))
        out = self.model(torch.full((number, *self.shape), shown, dtype=next(iter(told.values())).dtype))
        return {**self.heard, OUTPUT: _by_channel(out, image=False)}

    def fed(self, ways_in: Units) -> Units:
        """By layer, which of its inputs something alive feeds: a unit with a way in, or the image."""
        with torch.no_grad():
            heard = self.hear({n: rows[None].double() for n, rows in ways_in.items()}, 1.0)
        return {n: inputs[0] > 0 for n, inputs in heard.items()}

    def between(self) -> Units:
        """By layer, which of its inputs units feed; the others see the image alone."""
        with torch.no_grad():
            heard = self.hear({n: torch.ones(1, rows, dtype=torch.float64) for n, rows in self.rows.items()}, 0.0)
        return {n: inputs[0] > 0 for n, inputs in heard.items()}

    @torch.enable_grad()
    def ways_out(self, reading: Units) -> Units:
        """By layer, which of its units feed an input that `reading` says is read, or the network's output."""
        told = {n: torch.ones(1, rows, dtype=torch.float64, requires_grad=True) for n, rows in self.rows.items()}
        heard = self.hear(told, 1.0)
        total = heard[OUTPUT].sum() + sum((heard[n][0] * read).sum() for n, read in reading.items() if n in heard)
        slopes = torch.autograd.grad(total, list(told.values()), allow_unused=True, materialize_grads=True)
        return {n: slope[0] > 0 for n, slope in zip(told, slopes, strict=True)}

    @torch.no_grad()
    def readers(self, units: list[tuple[str, int]]) -> list[dict[str, list[int]]]:
        """For each of these units, which inputs of which layers it feeds."""
        faint = {n: torch.full((1, rows), FAINT, dtype=torch.float64) for n, rows in self.rows.items()}
        base, step = self.hear(faint, FAINT), max(1, AT_ONCE // self.largest)
        found: list[dict[str, list[int]]] = [{} for _ in units]
        for first in range(0, len(units), step):
            part = units[first : first + step]
            told = {n: rows.repeat(len(part), 1) for n, rows in faint.items()}
            for place, (name, row) in enumerate(part):
                told[name][place, row] = 1.0
            for name, inputs in self.hear(told, FAINT).items():
                for place, column in (inputs > base[name] * (1 + 1e-9)).nonzero().tolist():
                    found[first + place].setdefault(name, []).append(column)
        return found


def _by_channel(x: torch.Tensor, image: bool) -> torch.Tensor:
    """Examples x channels: the sum over all places."""
    if image:
        return x.flatten(2).sum(2) if x.ndim > 2 else x
    return x.reshape(len(x), -1, x.shape[-1]).sum(1)
