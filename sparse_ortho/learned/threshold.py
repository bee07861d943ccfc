"""Soft thresholds at work: weights and thresholds are trained, the network computes with what is above them
(learned/soft_threshold.py)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from sparse_ortho.errors import UserError
from sparse_ortho.learned.latent import Learned

if TYPE_CHECKING:
    from sparse_ortho.learned.soft_threshold import SoftThreshold

SHARED = "s"  # the threshold of all layers; that of one layer is called by the weight


class Threshold(Learned):
    def __init__(
        self,
        rule: SoftThreshold,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        masks: Mapping[str, torch.Tensor],
    ):
        super().__init__(rule, model, optimizer, masks)
        self.options, names = rule, list(self.weights)
        spared = {names[0]} if rule.first_layer == "mask" else set()
        spared |= {names[-1]} if rule.last_layer == "mask" else set()
        self.of = {name: SHARED if rule.scope == "global" else f"{name}/s" for name in names if name not in spared}
        if not self.of:
            raise UserError(rule.where("last_layer"), "leaves no layer with a threshold", found=rule.last_layer)
        self.raw = {name: torch.nn.Parameter(w.detach().clone()) for name, w in self.weights.items()}
        like = next(iter(self.weights.values()))
        self.s = {name: torch.nn.Parameter(like.new_full((), rule.s_init)) for name in dict.fromkeys(self.of.values())}
        self.latent = self.raw | self.s
        plain = self.group_of(like)
        for group in list(optimizer.param_groups):  # each weight with the options that it had
            mine = {id(p) for p in group["params"]}
            if moved := [self.raw[name] for name, w in self.weights.items() if id(w) in mine]:
                self.train(moved, group)
        self.train(self.s.values(), plain)
        self.decay(plain["weight_decay"] if rule.s_decay is None else rule.s_decay)
        with torch.no_grad():
            self.show()

    def decay(self, value: float) -> None:
        """The weight decay of s from now on."""
        self.optimizer.param_groups[-1]["weight_decay"] = value

    def thresholds(self) -> dict[str, torch.Tensor]:
        """g(s) of every layer that has one."""
        g = torch.sigmoid if self.options.function == "sigmoid" else torch.exp
        return {name: g(self.s[s].detach()) for name, s in self.of.items()}

    def active(self, name: str, threshold: torch.Tensor | None) -> torch.Tensor:
        """Where gradient goes through: all of the mask where no threshold acts, weights that are 0 among them."""
        if threshold is None:
            return self.frame[name]
        return self.frame[name] & ((self.raw[name].detach().abs() > threshold) | (threshold == 0))

    def pull_back(self) -> None:
        thresholds = self.thresholds()
        sums: dict[str, torch.Tensor] = {}
        for name, weight in self.weights.items():
            if weight.grad is None:
                continue
            threshold = thresholds.get(name)
            gradient = torch.where(self.active(name, threshold), weight.grad, 0)
            self.raw[name].grad = gradient
            weight.grad = None
            if threshold is not None:
                slope = threshold * (1 - threshold) if self.options.function == "sigmoid" else threshold
                total = -slope * (gradient * self.raw[name].detach().sign()).sum()
                s = self.of[name]
                sums[s] = sums[s] + total if s in sums else total
        for s, total in sums.items():
            self.s[s].grad = total

    def show(self) -> None:
        thresholds = self.thresholds()
        for name, weight in self.weights.items():
            threshold, raw = thresholds.get(name), self.raw[name].detach()
            active = self.active(name, threshold)
            # W - clamp(W, -g, g) = sign(W) relu(|W| - g), the same float
            shrunk = raw if threshold is None else raw - raw.clamp(-threshold, threshold)
            weight.copy_(torch.where(active, shrunk, 0))
            self.masks[name].copy_(active)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"s_decay": self.optimizer.param_groups[-1]["weight_decay"]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.decay(state["s_decay"])

    def facts(self) -> dict[str, float]:
        """What was learned besides weights: threshold by layer, and the weight decay of s that led there."""
        found = {f"threshold/{name}": float(value) for name, value in self.thresholds().items()}
        return found | {"s_decay": float(self.optimizer.param_groups[-1]["weight_decay"])}
