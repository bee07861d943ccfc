"""Random directions of the size of the weights (Li, Xu, Taylor, Studer, Goldstein, "Visualizing the Loss Landscape of
Neural Nets", NeurIPS 2018, arXiv 1712.09913).

    d_ij <- d_ij / |d_ij| * |w_ij|       filter j of layer i: what makes one output, of a convolution or a linear layer

so that one step along d changes every filter by its own size, whatever the scale at which normalisation left it. Biases
and normalisation keep their values. Not from the paper: d is zero off the mask before it is normalised, so the network
stays as sparse as it is.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from sparse_ortho.masks import maskable
from sparse_ortho.streams import Streams

Direction = dict[str, torch.Tensor]


def direction(model: nn.Module, masks: Mapping[str, torch.Tensor], streams: Streams, name: str) -> Direction:
    """One of them, of every maskable weight; each layer has a stream of its own."""
    return {
        layer: filter_normalised(
            torch.from_numpy(streams("measure", f"{name}/{layer}").standard_normal(tuple(w.shape))).to(w),
            w,
            masks[layer],
        )
        for layer, w in maskable(model).items()
    }


def filter_normalised(drawn: torch.Tensor, weight: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """`drawn`, zero off the mask, each filter with the norm of the weight's; a filter without weights stays zero."""
    kept = (drawn * mask).flatten(1)
    norms = kept.norm(dim=1, keepdim=True)
    scale = (weight.detach() * mask).flatten(1).norm(dim=1, keepdim=True) / norms.where(norms > 0, 1)
    return (kept * scale).view_as(weight)
