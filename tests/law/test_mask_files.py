"""Masks from other programs' files and into them: the same bits, names checked, and no pickle."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from sparse_ortho.errors import UserError
from sparse_ortho.masks import Masks


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 4))


def drawn() -> Masks:
    generator = torch.Generator().manual_seed(1)
    shapes = {"0.weight": (3, 1, 3, 3), "3.weight": (4, 12)}
    return Masks({name: torch.rand(shape, generator=generator) < 0.4 for name, shape in shapes.items()})


@pytest.mark.parametrize(("name", "plain"), [("m.npz", False), ("m.safetensors", True), ("m.safetensors", False)])
def test_what_is_saved_comes_back_and_equal_masks_are_equal_bytes(tmp_path: Path, name: str, plain: bool) -> None:
    masks, place = drawn(), tmp_path / name
    masks.save(place, plain=plain)
    back = Masks.load(place, network(), digest=masks.digest())
    assert back.keys() == masks.keys() and all(torch.equal(back[n], masks[n]) for n in masks)
    first = place.read_bytes()
    masks.save(place, plain=plain)
    assert place.read_bytes() == first


def test_other_programs_read_what_is_saved(tmp_path: Path) -> None:
    masks = drawn()
    masks.save(tmp_path / "m.npz")
    with np.load(tmp_path / "m.npz", allow_pickle=False) as file:
        assert all(np.array_equal(file[name], mask.numpy()) for name, mask in masks.items())


@pytest.mark.parametrize("kind", [torch.float32, torch.uint8, torch.bool, torch.int64])
def test_zeros_and_ones_of_any_type_are_masks_also_under_the_names_of_torch_prune(tmp_path: Path, kind) -> None:
    masks = drawn()
    tensors = {f"module.{name}_mask": mask.to(kind).contiguous() for name, mask in masks.items()}
    save_file(tensors, tmp_path / "m.safetensors")
    back = Masks.load(tmp_path / "m.safetensors", network())
    assert back.digest() == masks.digest()


def test_the_zeros_of_a_state_dict_are_its_masks(tmp_path: Path) -> None:
    """Biases and normalisation are in the file too, and are no masks."""
    model, masks = network(), drawn()
    masks.apply_(model)
    save_file(model.state_dict(), tmp_path / "ticket.safetensors")
    assert Masks.load(tmp_path / "ticket.safetensors", network(), nonzero=True).digest() == masks.digest()
    with pytest.raises(UserError, match="is no mask: it holds other values than 0 and 1"):
        Masks.load(tmp_path / "ticket.safetensors", network())


def test_no_pickle_is_read(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "harm",))

    (tmp_path / "m.pt").write_bytes(pickle.dumps(Harm()))
    np.savez(tmp_path / "m.npz", a=np.array([Harm()], dtype=object))
    for name in ("m.pt", "m.npz"):
        with pytest.raises(UserError, match=name):
            Masks.load(tmp_path / name)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("name", ["m.npz", "m.safetensors"])
def test_what_is_no_file_of_masks_is_one_sentence(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="no such file"):
        Masks.load(tmp_path / name)
    (tmp_path / name).write_bytes(b"PK nothing")
    with pytest.raises(UserError, match="is not a readable"):
        Masks.load(tmp_path / name)
    masks = drawn()
    masks.save(tmp_path / name)
    with pytest.raises(UserError, match="its digest differs"):
        Masks.load(tmp_path / name, digest="0" * 64)
    with pytest.raises(UserError, match="does not fit the model"):
        Masks.load(tmp_path / name, nn.Sequential(nn.Linear(3, 3)))
