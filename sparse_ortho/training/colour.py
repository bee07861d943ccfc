"""Colour jitter of a batch, image by image: brightness, contrast, saturation and hue as torchvision defines them.

brightness   f x                      contrast   f x + (1 - f) mean(grey of the image)
saturation   f x + (1 - f) grey       hue        the hue of HSV turned by h of a full circle

grey = 0.299 R + 0.587 G + 0.114 B (ITU-R 601); after each step values are clamped to [0, white]. Factors are uniform in
[max(0, 1 - v), 1 + v], hue in [-v, v]. torchvision draws the order of the four for every image; here it is always the
one above. Its pictures are rounded to bytes after each step, and their hue to 1/255; here they are floats throughout.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

GREY = (0.299, 0.587, 0.114)


def jittered(images: torch.Tensor, numbers: Mapping[str, torch.Tensor], white: float) -> torch.Tensor:
    """`images` (B, C, H, W) in units of bytes, as floats, with the factors in `numbers`."""
    images = images.float()
    for name, change in CHANGES.items():
        if name in numbers:
            images = change(images, numbers[name][:, None, None, None]).clamp_(0, white)
    return images


def brightness(images: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    return images * factor


def contrast(images: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    return torch.lerp(grey(images).mean((1, 2, 3), keepdim=True), images, factor)


def saturation(images: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    return torch.lerp(grey(images), images, factor)


def hue(images: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
    """With k = (n + 6 h) mod 6 and n = 5, 3, 1 for red, green, blue: value - range x clamp(min(k, 4 - k), 0, 1)."""
    value, chroma = images.amax(1, keepdim=True), images.amax(1, keepdim=True) - images.amin(1, keepdim=True)
    k = sextants(images, value, chroma) + 6 * turn + torch.tensor([5.0, 3.0, 1.0], device=images.device)[:, None, None]
    k = k.remainder_(6)
    return value - chroma * torch.minimum(k, 4 - k).clamp_(0, 1)


CHANGES = {"brightness": brightness, "contrast": contrast, "saturation": saturation, "hue": hue}


def grey(images: torch.Tensor) -> torch.Tensor:
    if images.shape[1] == 1:
        return images
    weights = torch.tensor(GREY, device=images.device)[:, None, None]
    return (images * weights).sum(1, keepdim=True)


def sextants(images: torch.Tensor, value: torch.Tensor, chroma: torch.Tensor) -> torch.Tensor:
    """The hue in sixths of the circle; where there is no colour any number will do."""
    red, green, blue = images.split(1, 1)
    by_green, by_blue = blue - red + 2 * chroma, red - green + 4 * chroma
    distance = torch.where(red == value, green - blue, torch.where(green == value, by_green, by_blue))
    return distance / chroma.clamp_min(1e-12)
