"""Passes in bfloat16 or float16 over float32 weights.

The weights, their gradients, the momentum and the masks stay float32, so a masked weight is exactly 0 in every
precision (the released fp16 code trains pure half weights, or masks only the copies). float16 scales the loss; a step
whose gradients overflow is skipped: `step` says so, and nothing that counts steps of the topology moves then.
"""

from __future__ import annotations

import contextlib
from typing import Any

import torch

HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Precision:
    def __init__(self, name: str, device: torch.device):
        self.kind = HALF.get(name)
        self.device = device
        self.scaler = torch.amp.GradScaler(device.type) if name == "fp16" else None

    def passes(self) -> contextlib.AbstractContextManager[Any]:
        """Around a forward pass. A cast weight is not kept, so memory holds no second copy of the network."""
        if self.kind is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.kind, cache_enabled=False)

    def backward(self, loss: torch.Tensor) -> None:
        (loss if self.scaler is None else self.scaler.scale(loss)).backward()

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Gradients in their true size, and whether they are finite: asked once those of all ranks are summed."""
        if self.scaler is not None:
            self.scaler.unscale_(optimizer)

    def step(self, optimizer: torch.optim.Optimizer) -> bool:
        """Whether the step was taken."""
        if self.scaler is None:
            optimizer.step()
            return True
        before = self.scaler.get_scale()
        self.scaler.step(optimizer)
        self.scaler.update()
        return self.scaler.get_scale() >= before

    def state_dict(self) -> dict[str, Any]:
        return {} if self.scaler is None else self.scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self.scaler is not None:
            self.scaler.load_state_dict(state)
