"""The device is named without torch, and set up once."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from sparse_ortho import devices
from sparse_ortho.errors import UserError


@pytest.mark.parametrize(
    ("environ", "files", "visible"),
    [
        ({}, ["nvidia0", "nvidiactl"], True),
        ({}, ["nvidiactl"], False),
        ({}, [], False),
        ({"CUDA_VISIBLE_DEVICES": ""}, ["nvidia0"], False),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, ["nvidia0"], False),
        ({"CUDA_VISIBLE_DEVICES": "1,0"}, ["nvidia0", "nvidia1"], True),
        ({"CUDA_VISIBLE_DEVICES": "GPU-8932f937"}, ["nvidia3"], True),
    ],
)
def test_cuda_is_visible_when_a_device_is_there_and_not_hidden(tmp_path, environ, files, visible):
    for name in files:
        (tmp_path / name).touch()
    assert devices.cuda_visible(environ, str(tmp_path)) is visible


@pytest.mark.parametrize(
    ("cuda", "cpu_build", "system", "machine", "expected"),
    [
        (True, False, "Linux", "x86_64", "cuda"),
        (True, True, "Linux", "x86_64", "cpu"),
        (False, False, "Linux", "aarch64", "cpu"),
        (False, False, "Darwin", "arm64", "mps"),
        (False, False, "Darwin", "x86_64", "cpu"),
    ],
)
def test_auto_takes_the_best_device(monkeypatch, cuda, cpu_build, system, machine, expected):
    monkeypatch.setattr(devices, "cuda_visible", lambda environ: cuda)
    monkeypatch.setattr(devices, "torch_is_cpu_only", lambda: cpu_build)
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert devices.resolve("auto") == expected


def test_a_named_device_is_taken_at_its_word_and_an_unknown_one_refused():
    assert [devices.resolve(name) for name in ("cpu", "cuda", "mps")] == ["cpu", "cuda", "mps"]
    with pytest.raises(UserError, match="did you mean 'cuda'"):
        devices.resolve("cuda:0")


def test_resolving_imports_no_torch():
    code = "import sys; from sparse_ortho import devices, schedules; devices.resolve('auto')"
    subprocess.run([sys.executable, "-c", f"{code}; assert 'torch' not in sys.modules"], check=True)


def test_prepare_sets_threads_and_determinism():
    import torch

    assert devices.prepare("cpu", 1) == torch.device("cpu")
    assert torch.get_num_threads() == 1
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cuda.matmul.allow_tf32
    with pytest.raises(UserError, match="at least 1"):
        devices.prepare("cpu", 0)


def test_cuda_without_a_device_is_refused(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="finds no CUDA device"):
        devices.prepare("cuda", 1)


def test_preparing_makes_torch_deterministic_without_its_compiler():
    code = "import sys, torch; from sparse_ortho import devices; devices.prepare('cpu', 1)"
    law = "assert torch.are_deterministic_algorithms_enabled() and torch.get_num_threads() == 1"
    light = "assert 'torch._inductor' not in sys.modules"
    subprocess.run([sys.executable, "-c", f"{code}; {law}; {light}"], check=True)
