"""Masks: which weights of a model are active, and the exact selection of the best scores.

A mask lives outside the model, refers to its parameter by object and is called by the parameter's name without the
prefixes that wrappers add (`module.`, `_orig_mod.`). Buffers are allocated once and updated in place. Selection keeps
exactly k weights: released code compares with a threshold and keeps every tie, which at many equal scores (SynFlow of a
saturated net: all of them) keeps anything between k and N.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from sparse_ortho import artifacts, gated, mask_files
from sparse_ortho.errors import UserError, nearest

# Transposed convolutions are left out: their fan-in is not the product of the trailing dimensions.
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
WORDS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # bytes of a weight -> integer of that width


def plain_name(name: str) -> str:
    """The name of a parameter without what DataParallel, DDP and torch.compile put before it."""
    name = name.replace("_orig_mod.", "")
    while name.startswith("module."):
        name = name.removeprefix("module.")
    return name


def maskable(
    model: nn.Module, include: Sequence[str] | None = None, exclude: Sequence[str] | None = None
) -> dict[str, nn.Parameter]:
    """Weights of linear and convolution layers in module order, tied ones once; patterns as in a shell.

    The matrices of recurrent and attention layers only where `include` names them.
    """
    found: dict[str, nn.Parameter] = {}
    seen: set[int] = set()
    others: set[str] = set()
    for path, module in model.named_modules():
        own = ["weight"] if isinstance(module, LAYERS) else [name for name, _ in gated.matrices_of(module)]
        for attribute in own:
            weight, name = getattr(module, attribute), plain_name(f"{path}.{attribute}" if path else attribute)
            if isinstance(weight, nn.Parameter) and id(weight) not in seen:
                seen.add(id(weight))
                found[name] = weight
                others |= set() if isinstance(module, LAYERS) else {name}
    kept = {
        name: weight
        for name, weight in found.items()
        if (name not in others if include is None else _matches(name, include)) and not _matches(name, exclude or ())
    }
    if not kept:
        patterns = f"include={include!r}, exclude={exclude!r}"
        raise UserError("maskable", f"no linear or convolution weight matches ({patterns})", allowed=found or "none")
    for name, weight in kept.items():
        if isinstance(weight, nn.UninitializedParameter):
            raise UserError(name, "has no shape yet; run one batch through the lazy model first")
    return kept


def groups_of(model: nn.Module) -> dict[str, int]:
    """The number of groups of every convolution, by the name of its weight."""
    return {
        plain_name(f"{path}.weight" if path else "weight"): module.groups
        for path, module in model.named_modules()
        if isinstance(module, LAYERS) and not isinstance(module, nn.Linear)
    }


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


class Masks(Mapping[str, torch.Tensor]):
    """Boolean tensors by parameter name; with `model`, bound to its parameters.

    Change a mask with `update_` or torch's in-place operations, which count its versions; not through `.data` or numpy.
    """

    def __init__(self, tensors: Mapping[str, torch.Tensor], model: nn.Module | None = None):
        self._tensors = {plain_name(n): mask.detach().to(torch.bool, copy=True) for n, mask in tensors.items()}
        self._words: dict[str, tuple[int, torch.Tensor]] = {}
        self._parameters = self._find(model) if model is not None else {}
        for name, parameter in self._parameters.items():
            self._tensors[name] = self._tensors[name].to(parameter.device)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_words": {}}  # a copy counts its versions anew

    def _find(self, model: nn.Module) -> dict[str, nn.Parameter]:
        known = {plain_name(name): p for name, p in model.named_parameters(remove_duplicate=False)}
        for name, mask in self._tensors.items():
            if name not in known:
                near = nearest(name, known)
                hint = f"; did you mean {near!r}?" if near else ""
                raise UserError("masks", f"the model has no parameter {name!r}{hint}")
            if mask.shape != known[name].shape:
                shapes = f"{tuple(mask.shape)}, the parameter {tuple(known[name].shape)}"
                raise UserError("masks", f"the mask of {name!r} has shape {shapes}")
        return {name: known[name] for name in self._tensors}

    def __getitem__(self, name: str) -> torch.Tensor:
        return self._tensors[plain_name(name)]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def __repr__(self) -> str:
        return f"Masks({len(self)} layers, {self.nonzeros} of {self.size} weights, density {self.density:.6g})"

    @property
    def nonzeros(self) -> int:
        return sum(int(mask.count_nonzero()) for mask in self.values())

    @property
    def size(self) -> int:
        return sum(mask.numel() for mask in self.values())

    @property
    def density(self) -> float:
        return self.nonzeros / self.size

    def layer_densities(self) -> dict[str, float]:
        return {name: int(mask.count_nonzero()) / mask.numel() for name, mask in self.items()}

    @torch.no_grad()
    def apply_(self, model: nn.Module | None = None) -> Masks:
        """Set masked weights of `model` (or of the parameters bound to) to exactly 0, also where they are NaN or -0."""
        parameters = self._parameters if model is None else self._find(model)
        if len(parameters) != len(self):
            raise UserError("masks", "are bound to no model; call apply_(model)")
        for name, parameter in parameters.items():
            words = self._word(name, parameter)
            parameter.view(words.dtype).bitwise_and_(words)
        return self

    def _word(self, name: str, parameter: nn.Parameter) -> torch.Tensor:
        """The mask as integers as wide as a weight, all bits set where active; made again when the mask has changed.

        `and` gives +0 for any weight, at 40 us a LeNet-300-100 on one core; masked_fill_ with a boolean takes 210 us.
        """
        if self._tensors[name].device != parameter.device:
            self._tensors[name] = self._tensors[name].to(parameter.device)
            self._words.pop(name, None)
        mask, kind = self._tensors[name], WORDS[parameter.element_size()]
        version, words = self._words.get(name, (-1, mask))
        if version != mask._version or words.dtype != kind:
            words = mask.to(kind).neg_()
            self._words[name] = (mask._version, words)
        return words

    def update_(self, tensors: Mapping[str, torch.Tensor]) -> Masks:
        """Overwrite the masks named, in their buffers."""
        for name, tensor in tensors.items():
            self[name].copy_(tensor.view(self[name].shape))  # copy_ alone would broadcast
        return self

    def arrays(self) -> dict[str, np.ndarray]:
        return {name: mask.cpu().numpy().copy() for name, mask in self.items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], model: nn.Module | None = None) -> Masks:
        return cls({name: torch.from_numpy(np.array(array, dtype=bool)) for name, array in arrays.items()}, model)

    def digest(self) -> str:
        return artifacts.digest_arrays(self.arrays())

    def save(self, path: Path | str, *, plain: bool = False) -> None:
        """Bits in safetensors; .npz, or `plain` safetensors, for other programs."""
        mask_files.write(path, self.arrays(), plain)

    @classmethod
    def load(
        cls, path: Path | str, model: nn.Module | None = None, *, nonzero: bool = False, digest: str | None = None
    ) -> Masks:
        """Masks of a file (mask_files.py); with `model`, refused unless names and shapes are those of its parameters.

        `nonzero`: the file holds weights, kept where they are not 0; of a model's file, the maskable ones are read.
        """
        arrays = mask_files.read(path, nonzero)
        if nonzero and model is not None:
            wanted = maskable(model)
            arrays = {name: array for name, array in arrays.items() if plain_name(name) in wanted}
        try:
            masks = cls.from_arrays(arrays, model)
        except UserError as error:
            raise UserError(str(path), f"does not fit the model: {error}") from None
        if digest is not None and masks.digest() != digest:
            raise UserError(str(path), "holds other masks than expected: its digest differs", found=masks.digest())
        return masks


def select(
    scores: Mapping[str, torch.Tensor],
    counts: int | Mapping[str, int],
    among: Mapping[str, torch.Tensor] | None = None,
) -> dict[str, torch.Tensor]:
    """Keep exactly the `counts` highest scores: a number for all layers together, a mapping for each layer.

    Ties go to the lowest index, in the order of the layers and then of the flat weights. Where the masks `among` are
    False nothing is kept.
    """
    for name, score in scores.items():
        if score.numel() and torch.isnan(score.amax()):  # the largest of numbers with a NaN is NaN
            raise UserError(name, "the score of this layer is not a number (NaN) for some weights")
    flat = {name: score.detach().reshape(-1) for name, score in scores.items()}
    left = {name: None if among is None else among[name].reshape(-1) for name in flat}
    if isinstance(counts, Mapping):
        if counts.keys() != scores.keys():
            raise UserError("counts", "one number a layer", found=sorted(counts), allowed=scores)
        best = {name: _highest([score], [left[name]], counts[name], name)[0] for name, score in flat.items()}
    else:
        kinds = {score.dtype for score in flat.values()}
        kind = kinds.pop() if len(kinds) == 1 else torch.float64
        pieces = [score.to(kind) for score in flat.values()]
        best = dict(zip(flat, _highest(pieces, list(left.values()), counts, "all layers"), strict=True))
    return {name: mask.view(scores[name].shape) for name, mask in best.items()}


def _highest(
    pieces: list[torch.Tensor], among: list[torch.Tensor | None], count: int, where: str
) -> list[torch.Tensor]:
    """The `count` highest of all pieces together, of ties those that come first."""
    return (_by_numpy if pieces[0].device.type == "cpu" else _by_torch)(pieces, among, count, where)


def _by_numpy(pieces: list[torch.Tensor], among: list[Any], count: int, where: str) -> list[torch.Tensor]:
    """The best of 25 million float32 take 0.04 s, and 0.8 s by kthvalue and comparisons of torch on the CPU."""
    if pieces[0].is_floating_point() and pieces[0].element_size() < 4:
        pieces = [piece.float() for piece in pieces]  # numpy has no bfloat16, and float16 only without vectors
    arrays, masks = [p.numpy() for p in pieces], [None if mask is None else mask.numpy() for mask in among]
    # take: a boolean index takes ten times as long where the mask has no pattern.
    left = [a if m is None else a.take(np.flatnonzero(m)) for a, m in zip(arrays, masks, strict=True)]
    size = _size(left, count, where)
    together = np.concatenate(left)
    if count:
        together.partition(size - count)
    kept = _above(arrays, masks, count, together[size - count] if count else np.inf)
    return [torch.from_numpy(mask) for mask in kept]


def _by_torch(pieces: list[torch.Tensor], among: list[Any], count: int, where: str) -> list[torch.Tensor]:
    left = [piece if mask is None else piece[mask] for piece, mask in zip(pieces, among, strict=True)]
    size = _size(left, count, where)
    return _above(pieces, among, count, torch.cat(left).kthvalue(size - count + 1).values if count else torch.inf)


def _size(pieces: Sequence[Any], count: int, where: str) -> int:
    size = sum(len(piece) for piece in pieces)
    if not 0 <= count <= size:
        raise UserError(where, "cannot keep so many weights", found=count, allowed=f"0 to {size}")
    return size


def _above(pieces: list[Any], among: Sequence[Any], count: int, threshold: Any) -> list[Any]:
    """Where pieces are at least the threshold, the last ties taken away; for arrays as for tensors."""
    tools = torch if isinstance(pieces[0], torch.Tensor) else np
    kept = [piece >= threshold for piece in pieces]
    kept = [mask if left is None else mask & left for mask, left in zip(kept, among, strict=True)]
    excess = sum(int(tools.count_nonzero(mask)) for mask in kept) - count
    for piece, mask in zip(reversed(pieces), reversed(kept), strict=True):
        if excess:
            ties = tools.argwhere((piece == threshold) & mask)[-excess:]
            mask[ties[:, 0]] = False
            excess -= len(ties)
    return kept
