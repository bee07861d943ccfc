"""Tied weights, HashedNets (Chen, Wilson, Tyree, Weinberger, Chen, ICML 2015, arXiv 1504.04788).

    w_i = xi_i b_h(i)        every weight of a layer is one of the K values of its bank, h and xi drawn once
    dL/db_k = sum over h(i) = k of  xi_i dL/dw_i

K is the number of weights that the mask of the cell keeps in the layer, and what these are at the start is the bank;
the weights that the mask lets go are tied to them at random, each value about equally often. So the network is dense,
and its record says density 1; `free_parameters` is the number of values, as that of any method at this density.
The optimizer moves a value at one of its places, which has the whole gradient (so clipping sees that of the values);
after every step the bank is written out again. The sum makes steps as large as there are ties: a value of 33 weights
wants a smaller learning rate, or `rescale`. Not from the paper: h is balanced, as
in the program of Mostafa and Wang (2019), whose gradient may be divided by the number of ties: `rescale`, which there
comes after the step and has no effect. xi = 1 unless `signs`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sparse_ortho.errors import UserError
from sparse_ortho.rewiring.live import Rewiring
from sparse_ortho.rewiring.rule import Rule

UNIT = "bank"  # what its budget is counted in; its masks are full


@dataclass(frozen=True)
class Bank:
    """The ties of one layer, over its flat weights."""

    places: torch.Tensor  # (K,) where value k stands for itself
    index: torch.Tensor  # (N,) h
    table: torch.Tensor  # (K, most ties of a value) the places of value k, filled up with N
    ties: torch.Tensor  # (K,) how many
    signs: torch.Tensor | None  # (N,) xi

    @classmethod
    def drawn(cls, mask: torch.Tensor, signs: bool, rng: np.random.Generator) -> Bank:
        flat = mask.reshape(-1).cpu().numpy()
        places, others = np.flatnonzero(flat), np.flatnonzero(~flat)
        number, index = len(places), np.empty(len(flat), dtype=np.int64)
        index[places] = np.arange(number)
        index[others] = rng.permutation(np.arange(len(others)) % number)
        ties = np.bincount(index, minlength=number)
        order, table = np.argsort(index, kind="stable"), np.full((number, ties.max()), len(flat))
        table[np.arange(ties.max()) < ties[:, None]] = order
        xi = np.where(flat, 1, 2 * rng.integers(2, size=len(flat)) - 1) if signs else None
        made = [None if a is None else torch.from_numpy(a).to(mask.device) for a in (places, index, table, ties, xi)]
        return cls(*made)  # pyright: ignore[reportArgumentType]

    def written(self, weight: torch.Tensor) -> torch.Tensor:
        """All weights, from the values as they stand at their places."""
        flat = weight.reshape(-1).index_select(0, self.places).index_select(0, self.index)
        return (flat if self.signs is None else flat * self.signs).view(weight.shape)

    def gradient(self, gradient: torch.Tensor, rescale: bool) -> torch.Tensor:
        """dL/db_k at the place of k, 0 elsewhere. On a GPU gathered: what is scattered there comes in any order."""
        flat = gradient.reshape(-1)
        signed = flat if self.signs is None else flat * self.signs
        if gradient.device.type == "cpu":
            sums = torch.zeros_like(signed[: len(self.ties)]).index_add_(0, self.index, signed)
        else:
            sums = torch.nn.functional.pad(signed, (0, 1))[self.table].sum(1)
        sums = sums / self.ties if rescale else sums
        return torch.zeros_like(flat).index_copy_(0, self.places, sums).view(gradient.shape)


class Tying(Rewiring):
    rule: Tied

    @torch.no_grad()
    def __init__(self, *given: Any, **lengths: Any):
        super().__init__(*given, **lengths)
        layers = {name: mask for name, mask in self.masks.items() if bool(mask.any())}  # an empty one stays 0
        self.banks = {
            n: Bank.drawn(m, self.rule.signs, self.streams("rewiring", f"{n}/ties")) for n, m in layers.items()
        }
        self.masks.update_({name: torch.ones_like(mask) for name, mask in layers.items()})
        self._tie()

    def _tie(self) -> None:
        for name, bank in self.banks.items():
            self.weights[name].copy_(bank.written(self.weights[name]))

    @torch.no_grad()
    def before_step(self, *, scaled: bool = False) -> bool:
        for name, bank in self.banks.items():
            if (gradient := self.weights[name].grad) is not None:
                gradient.copy_(bank.gradient(gradient, self.rule.rescale))
        return False

    @torch.no_grad()
    def after_step(self) -> bool:
        self.steps += 1
        self._tie()
        return False

    def facts(self) -> dict[str, Any]:
        return {"free_parameters": sum(len(bank.places) for bank in self.banks.values())}

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"index": {name: bank.index for name, bank in self.banks.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, bank in self.banks.items():
            if not torch.equal(bank.index.cpu(), state.get("index", {}).get(name, torch.zeros(0)).cpu()):
                raise UserError(
                    "state", f"ties the weights of {name!r} in another way; begin with the same mask and seed"
                )
        super().load_state_dict(state)


@dataclass(frozen=True)
class Tied(Rule):
    rescale: bool = False
    signs: bool = False

    live = Tying


def tied(*, rescale: bool = False, signs: bool = False) -> Rule:
    return Tied("tied", rescale=rescale, signs=signs)
