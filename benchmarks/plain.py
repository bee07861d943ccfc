"""Training as it is usually written, for comparison: a data set of PIL pictures behind a DataLoader with workers, one
module after the other, `p.data = p.data * mask`, `.item()` after every step. Nothing of the package is used here but
the models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms


class Pictures(Dataset):
    """Images of uint8 (N, C, H, W), each made a PIL picture, transformed and made a tensor again."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, transform: transforms.Compose):
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[Any, int]:
        pixels = self.images[i]
        picture = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
        return self.transform(picture), int(self.labels[i])


def loader(
    images: np.ndarray, labels: np.ndarray, facts: Mapping, batch: int, workers: int, augment: bool
) -> DataLoader:
    size = images.shape[-1]
    more = [transforms.RandomCrop(size, 4, padding_mode="reflect"), transforms.RandomHorizontalFlip()]
    steps = [*(more if augment else []), transforms.ToTensor(), transforms.Normalize(facts["mean"], facts["std"])]
    data = Pictures(images, labels, transforms.Compose(steps))
    return DataLoader(data, batch, shuffle=augment or workers > 2, num_workers=workers)


def optimizer(model: torch.nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=1e-4)


def step(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    masks: Mapping[str, torch.Tensor],
    x: torch.Tensor,
    y: torch.Tensor,
) -> tuple[float, int]:
    optimizer.zero_grad()
    logits = model(x)
    loss = F.cross_entropy(logits, y)
    loss.backward()
    optimizer.step()
    for name, parameter in model.named_parameters():
        if name in masks:
            parameter.data = parameter.data * masks[name]
    return loss.item(), int((logits.argmax(1) == y).sum().item())


def epoch(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    masks: Mapping[str, torch.Tensor],
    train: DataLoader,
    validation: DataLoader,
    device: torch.device,
) -> None:
    model.train()
    for x, y in train:
        step(model, optimizer, masks, x.to(device), y.to(device))
    model.eval()
    with torch.no_grad():
        for x, y in validation:
            logits = model(x.to(device))
            F.cross_entropy(logits, y.to(device), reduction="sum").item()
            logits.argmax(1).eq(y.to(device)).sum().item()
