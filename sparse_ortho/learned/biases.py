"""Biases of the frozen networks of strong tickets (Gadhikar et al., ICML 2023; nonzero ones after Fischer, Gadhikar,
Burkholz, "Lottery Tickets with Nonzero Biases", arXiv 2110.11150).

    sigma_l = sqrt(2 / n_l), over sqrt(rho) where fans are scaled;   g_l = scale * sigma_1 * .. * sigma_l

    normal       b ~ N(0, g_l^2)
    signed       b = +- sigma_l
    mirrored     b = (beta, -beta),  beta ~ N(0, g_l^2): for outputs that come as (z, -z), see inits/looks_linear.py
    cancelling   odd layers as mirrored; an even one has (-M beta, M beta), M its first block, and so takes away what
                 the odd one before it has added: the dense network is that without biases

Names there: kn-nonzero-bias, signed-const-with-bias, ortho-nonzero-bias, ortho-bias-special. Not as released: the last
layer, whose outputs are not mirrored, has no bias as mirrored and -M beta as cancelling; a convolution sums M over its
taps, which holds where its window is whole.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from sparse_ortho.errors import UserError
from sparse_ortho.masks import plain_name
from sparse_ortho.streams import Streams


def draw(kind: str, model: torch.nn.Module, spread: Mapping[str, float], streams: Streams, scale: float) -> None:
    """Write the biases beside the weights that `spread` names, in their order; "given" leaves all as they are."""
    if kind == "given":
        return
    found = {plain_name(name): p for name, p in model.named_parameters()}
    product, before, last = scale, None, list(spread)[-1]
    for number, (name, sigma) in enumerate(spread.items(), start=1):
        product *= sigma
        bias, weight = found.get(name.removesuffix("weight") + "bias"), found[name]
        if bias is None:
            raise UserError("rule.edge_popup.biases", f"the layer of {name} has none", found=kind, allowed=["given"])
        rng, outputs = streams("init", f"{name}/bias"), len(bias)
        if kind == "normal":
            made = torch.from_numpy(rng.standard_normal(outputs) * product)
        elif kind == "signed":
            made = torch.from_numpy(rng.choice([-1.0, 1.0], outputs) * sigma)
        elif kind == "cancelling" and number % 2 == 0 and before is not None:
            made = -_through(weight, before, name, mirrored=name != last)
            before = None
        elif name == last:
            made = torch.zeros(outputs)
        else:
            if outputs % 2:
                where = "rule.edge_popup.biases"
                raise UserError(where, f"mirrors the outputs of {name}", found=outputs, allowed="an even number")
            before = torch.from_numpy(rng.standard_normal(outputs // 2) * product)
            made = torch.cat([before, -before])
        bias.copy_(made)


def _through(weight: torch.Tensor, beta: torch.Tensor, name: str, mirrored: bool) -> torch.Tensor:
    """W (beta, -beta) of inputs that come as (relu(z), relu(-z)): M beta, and its mirror below it."""
    matrix = weight.detach().double().flatten(2).sum(2) if weight.ndim > 2 else weight.detach().double()
    if matrix.shape[1] != 2 * len(beta):
        raise UserError("rule.edge_popup.biases", f"{name} does not read the mirrored outputs before it")
    half = matrix[: len(matrix) // 2] if mirrored else matrix
    found = half[:, : len(beta)] @ beta.to(matrix.device)
    return torch.cat([found, -found]) if mirrored else found
