"""Edge-popup at work: scores are trained, the k best of a layer choose among random weights (learned/edge_popup.py)."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from sparse_ortho.errors import UserError
from sparse_ortho.learned import biases, scaling
from sparse_ortho.learned.annealing import level_of, levels
from sparse_ortho.learned.latent import Learned
from sparse_ortho.masks import maskable, plain_name, select
from sparse_ortho.schedules import share
from sparse_ortho.streams import Streams

if TYPE_CHECKING:
    from sparse_ortho.learned.edge_popup import EdgePopup

LOG = logging.getLogger(__name__)


class Popup(Learned):
    driven = False  # by a part that knows the schedule of the learning rate and the ends of epochs

    def __init__(
        self,
        rule: EdgePopup,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        masks: Mapping[str, torch.Tensor],
        streams: Streams,
        total: int | None,
    ):
        super().__init__(rule, model, optimizer, masks)
        if rule.levels > 1 and not total:
            raise UserError(rule.where("levels"), "needs the number of steps of the training", found=rule.levels)
        self.options, self.streams, self.total = rule, streams, total or 1
        self.path = levels(rule.final_density, rule.start_density, rule.levels, self.masks.density)
        with torch.no_grad():
            if rule.scale_fan:
                for weight in self.weights.values():
                    weight.div_(math.sqrt(rule.final_density))
            spread = {name: math.sqrt(2 / fan_in(weight)) for name, weight in self.weights.items()}
            if rule.scale_fan:
                spread = {name: sigma / math.sqrt(rule.final_density) for name, sigma in spread.items()}
            biases.draw(rule.biases, model, spread, streams, rule.bias_scale)
        found = {plain_name(name): p for name, p in model.named_parameters(remove_duplicate=False)}
        self.layers = {name: [name] for name in self.weights}  # the members that share one k
        if rule.score_biases:
            for name, members in self.layers.items():
                bias = name.removesuffix("weight") + "bias"
                members += [bias] if bias in found else []
        names = [member for members in self.layers.values() for member in members]
        self.members = {name: found[name] for name in names}
        self.frame.update(
            {n: torch.ones_like(p, dtype=torch.bool) for n, p in self.members.items() if n not in self.frame}
        )
        self.random = {name: p.detach().clone() for name, p in self.members.items()}
        self.depth = [(found[n], found.get(n.removesuffix("weight") + "bias"), n) for n in maskable(model)]
        for layer, members in self.layers.items():
            for name in members:
                drawn = first_scores(rule.scores, self.random[name], self.weights[layer], streams, name)
                self.latent[name] = torch.nn.Parameter(drawn)
        self.frozen = [p for group in optimizer.param_groups for p in group["params"]]
        self.train(self.latent.values(), self.group_of(next(iter(self.weights.values()))))
        self.size = {layer: sum(self.members[n].numel() for n in names) for layer, names in self.layers.items()}
        self.room = {layer: sum(int(self.frame[n].sum()) for n in names) for layer, names in self.layers.items()}
        self._tell_clipped()
        with torch.no_grad():
            self.show()

    def before_step(self, *, scaled: bool = False) -> bool:
        if not self.driven:
            for option in ("restart", "scaling"):
                if getattr(self.options, option):
                    raise UserError(self.options.where(option), "is for trainings of the pipeline, which has epochs")
        return super().before_step(scaled=scaled)

    def pull_back(self) -> None:
        for name, scores in self.latent.items():
            gradient = self.members[name].grad
            if gradient is None:
                scores.grad = None
                continue
            slope = self.random[name] * scores.sign() if self.options.rank == "abs" else self.random[name]
            if self.options.outside == "zero":  # a weight outside of the frame is 0, and so is its slope
                slope = torch.where(self.frame[name], slope, 0)
            scores.grad = gradient * slope
        for p in self.frozen:
            p.grad = None

    def counts(self) -> dict[str, int]:
        """k of each layer at this level; of one layer that is all of them, if they share it."""
        density = self.path[level_of(self.steps, self.total, len(self.path))]
        if self.options.scope == "global":
            return {"": min(share(density, sum(self.size.values())), sum(self.room.values()))}
        return {layer: min(share(density, size), self.room[layer]) for layer, size in self.size.items()}

    def show(self) -> None:
        ranked = {n: s.detach().abs() if self.options.rank == "abs" else s.detach() for n, s in self.latent.items()}
        counts = self.counts()
        if self.options.scope == "global":
            chosen = select(ranked, counts[""], self.frame)
        else:
            chosen = {}
            for layer, members in self.layers.items():
                mine = {name: ranked[name] for name in members}
                chosen |= select(mine, counts[layer], {name: self.frame[name] for name in members})
        for name, mask in chosen.items():
            self.members[name].copy_(torch.where(mask, self.random[name], 0))
        self.masks.update_({name: chosen[name] for name in self.weights})

    @torch.no_grad()
    def scale_to(self, logits: torch.Tensor, labels: torch.Tensor) -> float:
        """Weights and biases of all layers, so that the logits fit the labels better; by how much in all."""
        scale = scaling.fitted(logits, labels)
        factors = scaling.of_layers(scale, len(self.depth))
        for (weight, bias, name), (of_weight, of_bias) in zip(self.depth, factors, strict=True):
            self.random.get(name, weight).mul_(of_weight)
            if bias is not None:
                self.random.get(name.removesuffix("weight") + "bias", bias).mul_(of_bias)
        self.show()
        return scale

    def finish(self) -> None:
        """The ablations: what is chosen, or the chosen weights with it, in places drawn anew."""
        if self.options.shuffle == "no":
            return
        with torch.no_grad():
            for name in self.weights:
                places = self.frame[name].reshape(-1).nonzero().view(-1)
                drawn = self.streams("rewiring", f"{name}/shuffle").permutation(len(places))
                order = places[torch.from_numpy(drawn).to(places.device)]
                moved = [self.latent[name].data, *([self.random[name]] if self.options.shuffle == "weights" else [])]
                for tensor in moved:
                    flat = tensor.reshape(-1).clone()
                    flat[places] = flat[order]
                    tensor.copy_(flat.view(tensor.shape))
            self.show()

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"random": self.random}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        with torch.no_grad():
            for name, value in state.get("random", {}).items():
                self.random[name].copy_(value)
        super().load_state_dict(state)

    def _tell_clipped(self) -> None:
        sizes, rooms = self.size, self.room
        if self.options.scope == "global":
            sizes, rooms = {"the network": sum(sizes.values())}, {"the network": sum(rooms.values())}
        for layer, size in sizes.items():
            if (count := share(self.options.final_density, size)) > rooms[layer]:
                LOG.warning("edge_popup: %s keeps all %d weights of its mask, not %d", layer, rooms[layer], count)


def fan_in(weight: torch.Tensor) -> int:
    return math.prod(weight.shape[1:])


def first_scores(kind: str, parameter: torch.Tensor, weight: torch.Tensor, streams: Streams, name: str) -> torch.Tensor:
    """Kaiming's uniform with a = sqrt(5) for weights, U(+-sqrt(6 / n)) for biases, or 0.5 ("as_released" where a
    convolution is, whose first choice is then that of the first places)."""
    if kind == "constant" or (kind == "as_released" and weight.ndim > 2):
        return torch.full_like(parameter, 0.5)
    bound = math.sqrt((1 if parameter.ndim > 1 else 6) / fan_in(weight))
    drawn = streams("init", f"{name}/scores").uniform(-bound, bound, tuple(parameter.shape))
    return torch.from_numpy(drawn).to(device=parameter.device, dtype=parameter.dtype)
