"""Singular values of the Jacobian: known for orthogonal nets, equal to autograd's and to finite differences."""

import math

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import sparse_ortho as so
from sparse_ortho.inits.initialize import initialize_
from sparse_ortho.measure.jacobian import jacobian_singular_values, jacobians, summary
from sparse_ortho.models.mlp import mlp
from sparse_ortho.models.resnet import cifar_resnet
from sparse_ortho.prune import make_masks


class Largest(TorchDispatchMode):
    """The most elements of any tensor made inside."""

    most = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        found = [leaf.numel() for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor)]
        self.most = max([self.most, *found])
        return out


def everything(model):
    state = {name: value.numpy().tobytes() for name, value in model.state_dict().items()}
    grads = [p.grad is None for p in model.parameters()], [p.requires_grad for p in model.parameters()]
    return state, grads, [m.training for m in model.modules()]


def small(dtype=torch.float64):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 9), nn.Tanh(), nn.Linear(9, 5)).to(dtype)


@pytest.mark.parametrize("gain", [1.0, 1.3])
@pytest.mark.parametrize(("density", "layers"), [(0.1, "uniform"), (0.4, "erk"), (1.0, "erk")])
def test_a_linear_eoi_net_has_all_singular_values_gain_to_the_depth(gain, density, layers):
    model = mlp((1, 28, 28), 10, depth=7, width=100, activation="linear").double()
    initialize_(model, make_masks(model, density, layers=layers, seed=0), "eoi", seed=0, gain=gain)
    values = jacobian_singular_values(model, torch.randn(4, 1, 28, 28))
    assert values.shape == (4, 10) and values.dtype == torch.float64
    assert (values / gain**7 - 1).abs().max() < 1e-5


def test_expanding_layers_keep_all_singular_values_too():
    model = nn.Sequential(nn.Linear(20, 50), nn.Linear(50, 50), nn.Linear(50, 60)).double()
    initialize_(model, make_masks(model, 0.1, seed=0), "eoi", seed=0)
    values = jacobian_singular_values(model, torch.randn(3, 20))
    assert values.shape == (3, 20) and (values - 1).abs().max() < 1e-5


@pytest.mark.parametrize("model", [small(), nn.Sequential(nn.Linear(3, 40), nn.Tanh(), nn.Linear(40, 30)).double()])
def test_it_is_the_jacobian_of_autograd_and_of_finite_differences(model):
    x = torch.randn(6, 12 if isinstance(model[0], nn.Flatten) else 3, dtype=torch.float64)
    found = jacobians(model, x)
    whole = torch.autograd.functional.jacobian(model, x)  # images x outputs x images x inputs
    step, moved = 1e-6, torch.eye(x.shape[1], dtype=torch.float64)
    for n in range(6):
        torch.testing.assert_close(found[n], whole[n, :, n])
        difference = torch.stack([(model(x[n : n + 1] + step * e) - model(x[n : n + 1] - step * e))[0] for e in moved])
        assert (found[n] - difference.T / (2 * step)).abs().max() < 1e-8
        torch.testing.assert_close(jacobian_singular_values(model, x)[n], torch.linalg.svdvals(whole[n, :, n]))


def test_values_descend_and_k_takes_the_first():
    model, x = small(), torch.randn(4, 12)
    values = jacobian_singular_values(model, x)
    assert (values.diff(dim=1) <= 0).all() and values.min() >= 0
    assert torch.equal(jacobian_singular_values(model, x, k=2), values[:, :2])
    with pytest.raises(so.UserError, match="^k: must be at least 1"):
        jacobian_singular_values(model, x, k=0)


def test_small_singular_values_survive_float32():
    # 1e-5 of the largest: its square is under the resolution of a Gram matrix in float32.
    model = nn.Linear(200, 3, bias=False)
    with torch.no_grad():
        model.weight.zero_()
        model.weight[0, 0], model.weight[1, 1], model.weight[2, 2] = 1.0, 1e-3, 1e-5
    values = jacobian_singular_values(model, torch.randn(2, 200))
    torch.testing.assert_close(values, torch.tensor([[1.0, 1e-3, 1e-5]] * 2), rtol=1e-3, atol=0)


def test_the_model_is_left_as_it_is_and_evaluated_with_its_running_statistics():
    torch.manual_seed(0)
    model = cifar_resnet((1, 8, 8), 4, depth=8, width=4).train()
    model.blocks[0].eval()
    next(model.parameters()).requires_grad_(False)
    x = torch.randn(5, 1, 8, 8, requires_grad=True)
    before = everything(model)
    with torch.no_grad():
        values = jacobian_singular_values(model, x)
    with torch.inference_mode():
        again = jacobian_singular_values(model, x.detach())
    assert everything(model) == before and x.grad is None and not values.requires_grad
    assert torch.equal(values, again)
    one_by_one = torch.cat([jacobian_singular_values(model, x[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(values, one_by_one)  # in training mode images would mix through BN


def test_modes_come_back_after_an_error():
    model = small().train()
    with pytest.raises(RuntimeError):
        jacobian_singular_values(model, torch.randn(2, 7))
    assert all(module.training for module in model.modules())


def test_no_tensor_has_more_than_outputs_times_images_times_inputs_elements():
    model, x = mlp((1, 28, 28), 10, depth=3, width=20), torch.randn(64, 1, 28, 28)
    with Largest() as seen:
        jacobian_singular_values(model, x)
    assert seen.most == 10 * 64 * 784


def test_constant_logits_have_singular_values_zero():
    model = nn.Linear(6, 3)
    with torch.no_grad():
        model.weight.zero_()
    assert not jacobian_singular_values(model, torch.randn(2, 6)).any()


def test_integers_are_refused():
    with pytest.raises(so.UserError, match="^x: must be a batch of floating-point inputs"):
        jacobian_singular_values(nn.Linear(3, 2), torch.ones(2, 3, dtype=torch.long))


def test_summary_is_of_all_values_together():
    found = summary(torch.tensor([[3.0, 1.0], [2.0, 0.0]]))
    assert found == {"mean": 1.5, "min": 0.0, "max": 3.0, "var": pytest.approx(5 / 3)}
    assert all(math.isfinite(value) and isinstance(value, float) for value in found.values())
