"""Masks from files and into them: our own (bits, safetensors), plain safetensors, and numpy's npz.

Tensors only: a pickle can run code, so .pt and .pkl are refused, whatever is in them. A mask is a tensor of zeros and
ones; `weight_mask`, torch.nn.utils.prune's name, is the mask of `weight`. With `nonzero` the file is a plain state dict
of weights, such as a finished ticket, and a weight is kept where it is not 0.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sparse_ortho import artifacts
from sparse_ortho.errors import UserError

PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt")
SUFFIX = "_mask"
Arrays = dict[str, np.ndarray]


def write(path: Path | str, masks: Mapping[str, np.ndarray], plain: bool = False) -> None:
    """.npz, or safetensors: of bits with what they are, or `plain`, bytes of 0 and 1 for other programs."""
    if Path(path).suffix == ".npz":
        artifacts.write_bytes(path, _npz({name: mask.astype(np.uint8) for name, mask in masks.items()}))
    elif plain:
        from safetensors.numpy import save

        artifacts.write_bytes(path, save({name: mask.astype(np.uint8) for name, mask in masks.items()}))
    else:
        artifacts.write_tensors(path, masks)


def read(path: Path | str, nonzero: bool = False) -> Arrays:
    """Boolean arrays by parameter name, from any of the formats."""
    arrays = _read_npz(path) if Path(path).suffix == ".npz" else _read_safetensors(path)
    if not arrays:
        raise UserError(str(path), "holds no tensor")
    return {name.removesuffix(SUFFIX): _mask(array, f"{path}: {name}", nonzero) for name, array in arrays.items()}


def _mask(array: np.ndarray, where: str, nonzero: bool) -> np.ndarray:
    if array.dtype == bool:
        return array
    if array.dtype.kind not in "iuf":
        raise UserError(where, "is no tensor of numbers", found=str(array.dtype))
    if not nonzero and not np.isin(array, (0, 1)).all():
        raise UserError(where, "is no mask: it holds other values than 0 and 1; nonzero=True keeps what is not 0")
    return array != 0


def _read_safetensors(path: Path | str) -> Arrays:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if Path(path).suffix in PICKLES:
        raise UserError(str(path), "is read as no pickle, which could run code; save it as .safetensors or .npz")
    try:
        return artifacts.read_tensors(path)[0]
    except UserError as error:
        if "not one of sparse-ortho's" not in str(error):
            raise
    try:
        return load_file(path)
    except (SafetensorError, KeyError, TypeError) as error:  # numpy has no bfloat16
        raise UserError(str(path), f"holds tensors that numpy cannot hold ({error})") from None


def _read_npz(path: Path | str) -> Arrays:
    try:
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:  # numpy leaves its own open
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise UserError(str(path), "no such file") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(str(path), f"is not a readable npz of plain arrays ({error})") from None


def _npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    """As numpy writes it, without the time of day: equal masks give equal bytes."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as file:
        for name in sorted(arrays):
            one = io.BytesIO()
            np.lib.format.write_array(one, np.ascontiguousarray(arrays[name]), allow_pickle=False)
            file.writestr(zipfile.ZipInfo(f"{name}.npy"), one.getvalue(), zipfile.ZIP_DEFLATED)
    return whole.getvalue()
