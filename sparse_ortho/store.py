"""The store: a finished seed of a stage, kept under the digest of everything that made it.

    key = sha256(stage, spec, seed, code, env, inputs)        inputs = content digests of what this seed reads

A stage looks here before it imports torch. An entry is a folder that appears at once (written aside, then renamed)
and is verified each time it is read: a damaged one is set aside and made again. Nothing here is ever unpickled.
`lock` is held by who makes an entry and dies with its process, so two runs never make the same seed twice; on a file
system of a network it is a claim (`claims.py`). Beside a result stands all that its key is the digest of.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sparse_ortho import claims
from sparse_ortho.artifacts import canonical, digest_file, digest_text, read_tensors, tensors_to_bytes
from sparse_ortho.errors import UserError, disk_errors

UNREADABLE = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, UserError)
FACTS, TENSORS = "entry.json", "tensors.safetensors"


@dataclass(frozen=True)
class Result:
    """What a stage makes of one seed: a row of plain data, and tensors."""

    row: dict[str, Any]
    tensors: Mapping[str, np.ndarray] = field(default_factory=dict)


def key_of(
    stage: str, spec: Any, seed: int | None, code: str, env: Mapping[str, str], inputs: Mapping[str, str]
) -> str:
    """The name of a result: equal exactly when everything that made it is equal."""
    made_of = {"stage": stage, "spec": spec, "seed": seed, "code": code, "env": dict(env), "inputs": dict(inputs)}
    return digest_text(canonical(made_of))


def key_of_facts(stage: str, facts: Mapping[str, Any]) -> str:
    """The key that an entry must have by what it says made it."""
    about = facts["about"]
    return key_of(stage, about["spec"], about["seed"], about["code"], about["env"], about["inputs"])


def read_entry(folder: Path) -> tuple[Result, dict[str, Any]]:
    """The result in a folder and the facts beside it; raises if anything of it does not match its digest."""
    body = json.loads((folder / FACTS).read_text())
    if body.pop("digest") != digest_text(canonical(body)):
        raise ValueError("its facts do not match their digest")
    tensors: Mapping[str, np.ndarray] = {}
    if body["tensors"]:
        if digest_file(folder / TENSORS) != body["tensors"]:
            raise ValueError("its tensors do not match their digest")
        tensors, _ = read_tensors(folder / TENSORS)
    return Result(body["row"], tensors), body


class Store:
    """Entries under `root`; with `enabled=False` nothing is served, everything is made again (and kept)."""

    def __init__(self, root: Path | str, enabled: bool = True):
        self.root = Path(root)
        self.enabled = enabled
        self._claims: bool | None = None  # asked of the file system when first needed
        self.events: Counter[str] = Counter()  # what this process did: served, started, resumed, made, damaged

    def path(self, stage: str, key: str) -> Path:
        return self.root / stage / key[:2] / key

    def scratch(self, stage: str, key: str) -> Path:
        """The folder of a training's checkpoints: it survives a crash and is dropped with success."""
        return self.root / "checkpoints" / stage / key

    def has(self, stage: str, key: str) -> bool:
        """Whether there is an entry that would be served, not yet verified."""
        return self.enabled and self.path(stage, key).is_dir()

    def get(self, stage: str, key: str) -> Result | None:
        """The entry, verified; None when there is none or it is damaged."""
        folder = self.path(stage, key)
        if not folder.is_dir():
            return None
        try:
            return read_entry(folder)[0]
        except UNREADABLE as error:
            self.log("damaged", stage, key, reason=str(error))
            self._discard(folder)
            return None

    def put(self, stage: str, key: str, result: Result, about: Mapping[str, Any]) -> None:
        """Keep a result; whoever comes second with the same key changes nothing."""
        folder = self.path(stage, key)
        aside = self.root / "aside" / f"{key}.{os.getpid()}.{secrets.token_hex(4)}"
        with disk_errors(folder):
            try:
                aside.mkdir(parents=True)
                digest = None
                if result.tensors:
                    (aside / TENSORS).write_bytes(tensors_to_bytes(result.tensors))
                    digest = digest_file(aside / TENSORS)
                body = {"about": dict(about), "row": result.row, "tensors": digest}
                (aside / FACTS).write_text(json.dumps(body | {"digest": digest_text(canonical(body))}, sort_keys=True))
                if not self.enabled and folder.exists():
                    self._discard(folder)
                self.adopt(stage, key, aside)
            finally:
                shutil.rmtree(aside, ignore_errors=True)

    def adopt(self, stage: str, key: str, aside: Path) -> bool:
        """Make a whole folder of this store's disk the entry, unless there is one; whether it was."""
        folder = self.path(stage, key)
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.rename(aside, folder)
        except OSError:  # only a folder that is not there, or empty, gives way
            if not folder.exists():
                raise
            return False
        return True

    def ensure(
        self, stage: str, key: str, about: Mapping[str, Any], make: Callable[[Path], Result]
    ) -> tuple[Result, bool]:
        """The entry of `key`, made now if need be (`make` gets the folder for its checkpoints), and whether it was.

        `about` is kept beside the result; its cell and seed are in the log.
        """
        who = {name: about[name] for name in ("cell", "seed")}
        if self.enabled and (found := self.get(stage, key)):
            self.log("served", stage, key, **who)
            return found, False
        with self.lock(stage, key):
            if self.enabled and (found := self.get(stage, key)):  # made by another process while we waited
                self.log("served", stage, key, **who)
                return found, False
            scratch = self.scratch(stage, key)
            if not self.enabled:
                shutil.rmtree(scratch, ignore_errors=True)
            self.log("resumed" if scratch.exists() else "started", stage, key, **who)
            result = make(scratch)
            self.put(stage, key, result, about)
            shutil.rmtree(scratch, ignore_errors=True)
            self.log("made", stage, key, **who)
            return result, True

    @contextmanager
    def lock(self, stage: str, key: str) -> Iterator[None]:
        """`flock` on the key: a second maker waits for the first and takes its result."""
        path = self.root / "locks" / f"{stage}-{key}"
        if self._claims is None:
            self._claims = claims.wanted(self.root)
        if self._claims:
            with claims.claimed(path.with_suffix(".claim")):
                yield
            return
        while True:
            with disk_errors(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                file = open(path, "a")  # noqa: SIM115 (closed below, when the lock is given back)
            fcntl.flock(file, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                if os.fstat(file.fileno()).st_ino == path.stat().st_ino:
                    break
            file.close()  # the holder before us removed the file that we waited on: queue for the new one
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            file.close()

    def log(self, event: str, stage: str, key: str, **facts: Any) -> None:
        """One line a happening, appended whole, in `log.jsonl`: served, started, resumed, made, damaged."""
        self.events[event] += 1
        line = canonical({"event": event, "stage": stage, "key": key, "pid": os.getpid(), **facts}) + "\n"
        with disk_errors(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.root / "log.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(descriptor, line.encode())
            finally:
                os.close(descriptor)

    def _discard(self, folder: Path) -> None:
        aside = self.root / "aside" / f"{folder.name}.{os.getpid()}.{secrets.token_hex(4)}"
        aside.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.rename(folder, aside)
        except FileNotFoundError:
            return
        shutil.rmtree(aside, ignore_errors=True)
