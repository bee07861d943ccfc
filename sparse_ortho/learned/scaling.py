"""The scale of a network whose weights are not trained (after the program beside Gadhikar, Mukherjee, Burkholz, ICML
2023, and Fischer, Gadhikar, Burkholz, "Lottery Tickets with Nonzero Biases", arXiv 2110.11150: `--scaling`).

    a_0 = 1,   a_{t+1} = a_t - 0.1 d/da mean_i CE(a z_i, y_i),  t < 20;   z the logits of one batch
    W_l <- a^(1/L) W_l,   b_l <- a^(l/L) b_l,   l = 1 .. L in module order;   1 where a is not above 0

With relu and without normalisation the logits are then a z, by a (x + c) = a x + a c layer after layer. Behind a
normalisation only what comes after the last one acts. Branches of a sum, and the shortcuts beside them, count as layers
one by one, as released, so such a network is scaled by less or more than a.

Not as released: z is of the last batch as its own step saw it, before its scores moved, not of one more pass; layers
without a bias are no mistake; a scale that is no number counts as 1.
"""

from __future__ import annotations

import torch

STEPS, RATE = 20, 0.1


def fitted(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """a, in float64."""
    z = logits.detach().double()
    right, a = z.gather(1, labels.view(-1, 1)).mean(), torch.ones((), dtype=torch.float64, device=z.device)
    for _ in range(STEPS):
        expected = (torch.softmax(a * z, 1) * z).sum(1).mean()  # d/da log sum_c exp(a z_c)
        a = a - RATE * (expected - right)
    return float(a) if a > 0 else 1.0


def of_layers(scale: float, depth: int) -> list[tuple[float, float]]:
    """Factor of the weights and of the biases of each layer."""
    return [(scale ** (1 / depth), scale ** (layer / depth)) for layer in range(1, depth + 1)]
