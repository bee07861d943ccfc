"""Matrices of recurrent and attention layers: one parameter holds several, one above the other, for the same inputs.

    nn.RNN 1, nn.GRU 3, nn.LSTM 4 gates:  weight_ih and weight_hh, of each layer and direction, and of the single cells
    nn.MultiheadAttention:  in_proj_weight is query, key and value; apart where they have widths of their own

Orthogonal means every block of it by itself: all gates together cannot keep a norm, but each can. An LSTM's projection
weight_hr is one matrix.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

GATES: tuple[tuple[Any, int], ...] = (
    *((kind, 1) for kind in (nn.RNN, nn.RNNCell)),
    *((kind, 3) for kind in (nn.GRU, nn.GRUCell)),
    *((kind, 4) for kind in (nn.LSTM, nn.LSTMCell)),
)
ALL = tuple(kind for kind, _ in GATES)
APART = ("q_proj_weight", "k_proj_weight", "v_proj_weight")


def matrices_of(module: nn.Module) -> Iterator[tuple[str, int]]:
    """The matrix parameters of a recurrent or attention layer, with their number of blocks; none of other modules."""
    if isinstance(module, nn.MultiheadAttention):
        names = (("in_proj_weight", 3), *((name, 1) for name in APART))
        yield from ((name, blocks) for name, blocks in names if getattr(module, name) is not None)
    if isinstance(module, ALL):
        gates = next(gates for kind, gates in GATES if isinstance(module, kind))
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.ndim == 2:
                yield name, 1 if name.startswith("weight_hr") else gates


def biases_of(module: nn.Module) -> Iterator[str]:
    """Their bias parameters."""
    if isinstance(module, nn.MultiheadAttention | nn.RNNBase | nn.RNNCellBase):
        for name, parameter in module.named_parameters(recurse=False):
            if "bias" in name and parameter.ndim == 1:  # the bias_k and bias_v of attention are tokens
                yield name


def blocks_in(model: nn.Module) -> dict[str, int]:
    """The number of blocks of every such parameter, by its name."""
    return {
        f"{path}.{name}" if path else name: blocks
        for path, module in model.named_modules()
        for name, blocks in matrices_of(module)
    }
