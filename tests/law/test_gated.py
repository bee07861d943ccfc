"""Recurrent and attention matrices: a block a gate, each orthogonal by itself, with masks that name them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import sparse_ortho as so
from sparse_ortho.gated import blocks_in
from sparse_ortho.masks import Masks, maskable
from sparse_ortho.prune import make_masks

LAYERS = [
    (nn.RNN(6, 8), 1),
    (nn.GRU(8, 6, num_layers=2), 3),
    (nn.LSTM(6, 8, bidirectional=True), 4),
    (nn.LSTMCell(6, 8), 4),
    (nn.GRUCell(8, 6), 3),
]


def copied(layer: nn.Module) -> nn.Module:
    """A layer of its own: tests change weights in place."""
    import copy

    return copy.deepcopy(layer)


def is_isometry(block: torch.Tensor, gain: float) -> bool:
    wide = block.double() if block.shape[0] <= block.shape[1] else block.double().T
    return bool((wide @ wide.T - gain**2 * torch.eye(len(wide))).abs().max() < 2e-6)


@pytest.mark.parametrize(("layer", "gates"), LAYERS)
@pytest.mark.parametrize("density", [0.3, 1.0])
def test_every_gate_keeps_norms_and_the_layer_its_number(layer: nn.Module, gates: int, density: float) -> None:
    model = copied(layer)
    masks = make_masks(model, density, layers="uniform", seed=0, maskable=["weight_*"])
    names = [name for name, parameter in model.named_parameters() if parameter.ndim == 2]
    assert list(masks) == names
    made = so.initialize_(model, masks, "eoi", seed=0, gain=1.5)
    assert made.nonzeros == masks.nonzeros == math.floor(density * masks.size + 0.5)
    for name in names:
        weight = model.get_parameter(name).detach()
        assert not weight[~made[name]].any()
        blocks = weight.chunk(gates)
        assert len(blocks) == gates and all(is_isometry(block, 1.5) for block in blocks)
        if gates > 1 and density == 1:  # and not the layer as one tall matrix
            assert not is_isometry(weight, 1.5)


@pytest.mark.parametrize("name", ["orthogonal", "isometry", "sao", "eoi_structured"])
def test_other_orthogonal_methods_see_the_gates_too(name: str) -> None:
    model = nn.LSTM(8, 8)
    masks = make_masks(model, 0.5, layers="uniform", seed=0, maskable=["*"])
    so.initialize_(model, None if name == "orthogonal" else masks, name, seed=0)
    for parameter in model.parameters():
        if parameter.ndim == 2:
            for block in parameter.detach().chunk(4):
                gram = block.double() @ block.double().T
                assert (gram - torch.eye(8)).abs().max() < (0.02 if name == "isometry" else 1e-6)


def test_an_lstm_without_a_bias_of_state_keeps_the_norm_of_every_gate() -> None:
    """W x + U h is what a gate sees: with orthogonal blocks each part has the norm of what comes in."""
    model = nn.LSTM(16, 16)
    so.initialize_(model, make_masks(model, 0.25, layers="uniform", seed=0, maskable=["*"]), "eoi", seed=0)
    x = torch.randn(5, 16, generator=torch.Generator().manual_seed(0))
    seen = (x @ model.get_parameter("weight_ih_l0").T).view(5, 4, 16)
    torch.testing.assert_close(seen.norm(dim=2), x.norm(dim=1)[:, None].expand(5, 4), rtol=1e-5, atol=0)
    assert not model.get_parameter("bias_ih_l0").any() and not model.get_parameter("bias_hh_l0").any()


def test_an_lstm_projection_is_one_matrix() -> None:
    model = nn.LSTM(6, 8, proj_size=3)
    assert blocks_in(model) == {"weight_ih_l0": 4, "weight_hh_l0": 4, "weight_hr_l0": 1}
    so.initialize_(model, None, "orthogonal", seed=0)
    assert is_isometry(model.get_parameter("weight_hr_l0").detach(), 1.0)


@pytest.mark.parametrize("widths", [{}, {"kdim": 6, "vdim": 10}])
def test_query_key_and_value_are_blocks_of_attention(widths: dict[str, int]) -> None:
    model = nn.MultiheadAttention(8, 2, **widths)
    masks = make_masks(model, 0.4, layers="uniform", seed=0, maskable=["*"])
    names = ["q_proj_weight", "k_proj_weight", "v_proj_weight"] if widths else ["in_proj_weight"]
    assert sorted(masks) == sorted([*names, "out_proj.weight"])
    made = so.initialize_(model, masks, "eoi", seed=0, bias_std=0.5)
    assert made.nonzeros == masks.nonzeros
    for name in names:
        assert all(is_isometry(b, 1.0) for b in model.get_parameter(name).detach().chunk(1 if widths else 3))
    assert 0.2 < float(model.get_parameter("in_proj_bias").detach().std()) < 0.9


def test_they_are_masked_only_where_they_are_named() -> None:
    model = nn.ModuleDict({"lstm": nn.LSTM(4, 4), "fc": nn.Linear(4, 2)})
    assert list(make_masks(model, 0.5, seed=0)) == ["fc.weight"]
    assert list(maskable(model, include=["lstm.weight_hh*", "fc.*"])) == ["lstm.weight_hh_l0", "fc.weight"]
    with pytest.raises(so.UserError, match=r"allowed: .*lstm\.weight_ih_l0|allowed: .*weight_ih_l0"):
        make_masks(nn.LSTM(4, 4), 0.5, seed=0)


def test_what_the_masks_leave_out_is_dense_orthogonal_and_names_of_wrappers_are_known() -> None:
    model = nn.DataParallel(nn.GRU(4, 4))
    masks = Masks({"weight_hh_l0": torch.eye(4).repeat(3, 1).bool()})
    made = so.initialize_(model, masks, "eoi", seed=0)
    assert list(made) == ["weight_hh_l0"] and made.nonzeros == 12
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2:
            assert all(is_isometry(block, 1.0) for block in parameter.detach().chunk(3))
            assert int(parameter.count_nonzero()) == (12 if "hh" in name else 48)
