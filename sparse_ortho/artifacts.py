"""Files in and out: tensors as safetensors, masks bit-packed, tables as parquet, facts as canonical JSON.

Writing is atomic (a temporary name nobody else uses, then a rename) and a pure function of what is written, so equal
content gives equal bytes. No torch here: tensors are numpy arrays, and a stage converts.
"""

from __future__ import annotations

import bisect
import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from sparse_ortho.errors import UserError, disk_errors

Arrays = dict[str, np.ndarray]
LAST = "\U0010ffff"  # sorts after every other letter


def canonical(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no spaces, no NaN. Refuses anything that is not plain data."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def digest_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def digest_file(path: Path | str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_arrays(arrays: Mapping[str, np.ndarray]) -> str:
    """Content digest of named arrays: names, types, shapes and values, in any order of insertion."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        total.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        total.update(array.tobytes())
    return total.hexdigest()


@contextmanager
def atomic(path: Path | str) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place on success and vanishes on failure."""
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}")
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path | str, data: bytes) -> None:
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path | str, text: str) -> None:
    write_bytes(path, text.encode())


def write_json(path: Path | str, value: Any) -> None:
    write_text(path, json.dumps(value, sort_keys=True, indent=1, allow_nan=False) + "\n")


def read_json(path: Path | str) -> Any:
    return json.loads(Path(path).read_text())


def pack(mask: np.ndarray) -> np.ndarray:
    """A boolean array as bits, eight to a byte."""
    return np.packbits(np.ascontiguousarray(mask, dtype=bool).reshape(-1), bitorder="little")


def unpack(bits: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    count = int(np.prod(shape, dtype=np.int64))
    return np.unpackbits(bits, count=count, bitorder="little").astype(bool).reshape(tuple(shape))


def tensors_to_bytes(arrays: Mapping[str, np.ndarray], facts: Any = None) -> bytes:
    """safetensors bytes; boolean arrays are bit-packed, `facts` is any plain data.

    All metadata sits under one key: safetensors writes several keys in an order that differs between processes.
    """
    from safetensors.numpy import save

    packed = {name: list(array.shape) for name, array in arrays.items() if array.dtype == bool}
    plain = {n: pack(a) if n in packed else np.asarray(a, order="C") for n, a in arrays.items()}
    return save(plain, metadata={"sparse_ortho": canonical({"facts": facts, "packed": packed})})


def write_tensors(path: Path | str, arrays: Mapping[str, np.ndarray], facts: Any = None) -> None:
    write_bytes(path, tensors_to_bytes(arrays, facts))


def read_facts(path: Path | str) -> Any:
    """The facts of a tensor file, without reading its tensors."""
    return _header(path)["facts"]


def read_tensors(path: Path | str, prefix: str = "") -> tuple[Arrays, Any]:
    """The arrays whose names begin with `prefix` (cut off the names), and the facts."""
    file = TensorFile(path)
    return file.tensors(prefix), file.facts


class TensorFile:
    """A tensor file that is asked many times: its header, long where it holds many cells, is read once."""

    def __init__(self, path: Path | str):
        from safetensors import safe_open

        header = _header(path)
        self.facts, self._packed = header["facts"], header["packed"]
        self._file = safe_open(str(path), framework="numpy")
        self._names = sorted(self._file.keys())

    def tensors(self, prefix: str = "") -> Arrays:
        """The arrays whose names begin with `prefix`, which is cut off."""
        arrays = {}
        first, end = (bisect.bisect_left(self._names, bound) for bound in (prefix, prefix + LAST))
        for name in self._names[first:end]:
            array = self._file.get_tensor(name)
            arrays[name.removeprefix(prefix)] = unpack(array, self._packed[name]) if name in self._packed else array
        return arrays


def _header(path: Path | str) -> dict[str, Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as file:
            header = (file.metadata() or {}).get("sparse_ortho")
    except FileNotFoundError:
        raise UserError(str(path), "no such file") from None
    except (SafetensorError, OSError) as error:
        raise UserError(str(path), f"is not a readable tensor file ({error})") from None
    if header is None:
        raise UserError(str(path), "is a safetensors file, but not one of sparse-ortho's")
    return json.loads(header)


def write_table(
    path: Path | str, rows: Iterable[Mapping[str, Any]], columns: Mapping[str, str], facts: Any = None
) -> None:
    """Rows as parquet with exactly `columns` (name -> pyarrow type name); an absent value is null."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields = [(name, pa.type_for_alias(kind)) for name, kind in columns.items()]
    schema = pa.schema(fields, metadata={"sparse_ortho": canonical(facts)})
    table = pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
    with atomic(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_tables(paths: Iterable[Path | str]) -> list[dict[str, Any]]:
    """All rows of several parquet files, in the order given."""
    import pyarrow.parquet as pq

    return [row for path in paths for row in pq.read_table(path).to_pylist()]
