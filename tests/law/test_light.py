"""The laws of training/light.py: torch's optimizer, bit for bit, and without torch's compiler."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sparse_ortho.training.light import light

ROOT = Path(__file__).resolve().parents[2]
KINDS = {
    "sgd": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    "adam": (torch.optim.Adam, {"weight_decay": 0.01}),
    "adamw": (torch.optim.AdamW, {}),
}


def three_steps(kind: type[torch.optim.Optimizer], options: dict, fused: bool) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(5, 3, generator=draw))
    optimizer = kind([weight], lr=0.1, fused=fused, foreach=not fused, **options)  # pyright: ignore[reportCallIssue]
    for _ in range(3):
        optimizer.zero_grad()
        (weight * torch.randn(5, 3, generator=draw)).square().sum().backward()
        optimizer.step()
    return [weight.detach(), *(v for v in optimizer.state[weight].values() if isinstance(v, torch.Tensor))]


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("name", KINDS)
def test_it_steps_as_torch_does(name: str, fused: bool) -> None:
    kind, options = KINDS[name]
    own, torchs = three_steps(light(kind), options, fused), three_steps(kind, options, fused)
    assert all(torch.equal(a, b) for a, b in zip(own, torchs, strict=True))


@pytest.mark.parametrize("name", KINDS)
def test_its_state_goes_to_torchs_and_back(name: str) -> None:
    kind, options = KINDS[name]
    weight = torch.nn.Parameter(torch.ones(3))
    own, torchs = light(kind)([weight], lr=0.1, **options), kind([weight], lr=0.1, **options)
    weight.sum().backward()
    own.step()
    torchs.load_state_dict(own.state_dict())
    own.load_state_dict(torchs.state_dict())
    state = torchs.state[weight]
    assert all(torch.equal(torch.as_tensor(v), torch.as_tensor(state[k])) for k, v in own.state[weight].items())
    assert isinstance(own, kind)
    assert type(own).__name__ == kind.__name__


def test_a_step_computes_no_gradients() -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    weight.grad = torch.ones(3)
    light(torch.optim.SGD)([weight], lr=0.1, momentum=0.9).step()
    assert weight.is_leaf
    assert weight.requires_grad


def test_a_training_does_not_bring_the_compiler_along() -> None:
    program = (
        "import sys, torch\n"
        "from sparse_ortho.training.options import TrainOptions\n"
        "from sparse_ortho.training.optimizers import optimizer\n"
        "for name in ('sgd', 'adam', 'adamw'):\n"
        "    model = torch.nn.Linear(3, 2)\n"
        "    made = optimizer(TrainOptions(optimizer=name), model)\n"
        "    model(torch.ones(1, 3)).sum().backward()\n"
        "    made.step(); made.zero_grad(); made.load_state_dict(made.state_dict())\n"
        "print('torch._dynamo' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
