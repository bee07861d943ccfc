"""Which filters have nothing left (after the analyses in VITA-Group/ToST: filters with more than 90 or 95 % zeros, maps
and histograms of them).

    rate_i = share of |w| <= threshold among the weights of filter i,    a filter: what makes one output of a layer
    zero_90 = share of filters with rate > 0.90,   zero_95 with rate > 0.95,   zero_100: nothing left at all

`zero_90/<layer>` and so on are the same layer by layer, `rate/<layer>` its mean rate, `filter/i` every filter's rate in
the order of the network and `size/<layer>` how many filters are whose; `share/k` is the histogram of the rates, of
filters with `from/k` < rate <= `from/(k + 1)`, the first with 0. Not from there: rows of linear layers count as filters
too; without `maps` there is no `filter/i`, of which an ImageNet network has tens of thousands.
"""

from __future__ import annotations

import torch
from torch import nn

from sparse_ortho.errors import UserError
from sparse_ortho.masks import maskable
from sparse_ortho.measure.subject import Subject

RANGES = {"threshold": "at least 0", "bins": "at least 1"}
SHARES = {"zero_90": 0.90, "zero_95": 0.95}
ROUNDING = 1e-9  # 0.15 times 20 is a little more than 3, and belongs to the third bin


def filters(
    model: nn.Module, subject: Subject, *, threshold: float = 1e-5, bins: int = 20, maps: bool = True
) -> dict[str, float]:
    """Of all maskable weights, as they are: zeros off the mask and those that training left."""
    if not threshold >= 0 or bins < 2:
        name, value = ("bins", bins) if bins < 2 else ("threshold", threshold)
        raise UserError(f"measure.{name}", "out of range", found=value)
    rates = {name: zero_rates(weight, threshold) for name, weight in maskable(model).items()}
    every = torch.cat(list(rates.values()))
    found = beyond(every)
    for name, layer in rates.items():
        found |= {f"{key}/{name}": share for key, share in beyond(layer).items()}
        found |= {f"rate/{name}": float(layer.mean()), f"size/{name}": float(len(layer))}
    places = ((every * bins - ROUNDING).ceil().long() - 1).clamp(min=0)
    counts = torch.bincount(places, minlength=bins)
    found |= {f"from/{k}": k / bins for k in range(bins)}
    found |= {f"share/{k}": int(count) / len(every) for k, count in enumerate(counts)}
    return found | ({f"filter/{i}": rate for i, rate in enumerate(every.tolist())} if maps else {})


def zero_rates(weight: torch.Tensor, threshold: float) -> torch.Tensor:
    return (weight.detach().abs() <= threshold).flatten(1).double().mean(1)


def beyond(rates: torch.Tensor) -> dict[str, float]:
    """The shares of filters that have lost so much."""
    shares = {name: float((rates > least).double().mean()) for name, least in SHARES.items()}
    return shares | {"zero_100": float((rates == 1).double().mean())}
