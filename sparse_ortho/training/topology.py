"""What became of the masks, epoch by epoch: columns of the curves, whatever moved them.

    density      A_t / N                  A_t active weights at the end of epoch t, of N that have a mask
    exploration  |M_0 or ... or M_t| / N  weights that were active at some time: R_s of Liu, Yin, Mocanu, Pechenizkiy,
                                          ICML 2021, arXiv 2102.02887; masks are looked at whenever they have moved
    mask_change  |M_t and not M_t-1| / A_t  active weights that were not active one epoch before
    layers       {layer: [active, came, left, size]} as JSON, came and left against the mask of one epoch before;
                 absent where no mask has moved since the last row, so a run with static masks has one

A network without masks is at density 1. Masks that are learned move with every step and are looked at once an epoch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from sparse_ortho.training.parts import Part

if TYPE_CHECKING:
    from sparse_ortho.training.state import Run


class Topology(Part):
    """Watches `run.masks`; the last of the parts, so that it sees what the others have done."""

    def __init__(self) -> None:
        self.masks: Mapping[str, torch.Tensor] = {}
        self.before: dict[str, torch.Tensor] = {}
        self.explored: dict[str, torch.Tensor] = {}
        self.versions: list[int] = []
        self.epoch: dict[str, Any] = {}  # the columns of the row to come
        self.exploration = 1.0

    def begin(self, run: Run) -> None:
        self.masks = run.masks or {}
        self.before = {name: mask.clone() for name, mask in self.masks.items()}
        self.explored = {name: mask.clone() for name, mask in self.masks.items()}
        self.versions = self._versions()
        self.epoch = self._counted() | {"mask_change": None}

    def after_step(self, run: Run) -> None:
        self._look()

    def end_epoch(self, run: Run) -> None:
        self._look()
        self.epoch = self._counted()
        for name, mask in self.masks.items():
            self.before[name].copy_(mask)

    def row(self) -> dict[str, Any]:
        return self.epoch

    def facts(self) -> dict[str, Any]:
        return {"exploration": self.exploration}

    def state_dict(self) -> dict[str, Any]:
        return {"before": self.before, "explored": self.explored, "exploration": self.exploration}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.exploration = state["exploration"]
        for name in self.masks:
            self.before[name].copy_(state["before"][name])
            self.explored[name].copy_(state["explored"][name])

    def _versions(self) -> list[int]:
        """How often each mask was written to; asking costs 2 us for 50 masks, comparing their content a transfer."""
        return [mask._version for mask in self.masks.values()]

    def _look(self) -> None:
        if (now := self._versions()) != self.versions:
            self.versions = now
            for name, mask in self.masks.items():
                self.explored[name] |= mask

    def _counted(self) -> dict[str, Any]:
        """All numbers of all layers in one transfer."""
        told = [
            [mask, mask & ~self.before[name], self.before[name] & ~mask, self.explored[name]]
            for name, mask in self.masks.items()
        ]
        if not told:
            return {"density": 1.0, "exploration": 1.0, "mask_change": 0.0, "layers": None}
        found = torch.stack([torch.stack([part.sum() for part in layer]) for layer in told]).tolist()
        active, came, left, explored = (sum(column) for column in zip(*found, strict=True))
        size = sum(mask.numel() for mask in self.masks.values())
        layers = {n: [*c[:3], m.numel()] for (n, m), c in zip(self.masks.items(), found, strict=True)}
        self.exploration = explored / size if size else 1.0
        return {
            "density": active / size if size else 1.0,
            "exploration": self.exploration,
            "mask_change": came / active if active else 0.0,
            "layers": json.dumps(layers, separators=(",", ":")) if came or left or not self.epoch else None,
        }
