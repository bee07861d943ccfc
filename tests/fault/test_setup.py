"""The environment is exactly what the lock says: a file that is not what its hash says is never installed."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE, ANOTHER = "iniconfig", "packaging"  # small wheels without dependencies
NETWORK = re.compile(r"dns|connect|network|timed? ?out|tunnel|unreachable|error sending request|certificate", re.I)


def run_setup(*words: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "envs" / "setup.py"), *map(str, words)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)


def installed(venv: Path) -> list[str]:
    return sorted(path.name for path in venv.glob("lib/*/site-packages/*") if not path.name.startswith("_"))


def contents(venv: Path) -> dict[str, tuple[bytes, int]]:
    files = [path for path in venv.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(venv)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def lines_of(package: str) -> str:
    """What the lock says about one package, with its hashes."""
    text = (ROOT / "envs" / "lock.txt").read_text()
    found = re.search(rf"^{package}==.*\\\n(?:    --hash=sha256:[0-9a-f]{{64}}(?: \\)?\n)+", text, re.MULTILINE)
    assert found, f"{package} is not in the lock, or without hashes"
    return found[0]


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """A lock of one package and the environment that setup.py makes of it."""
    folder = tmp_path_factory.mktemp("setup")
    lock, venv = folder / "lock.txt", folder / "venv"
    lock.write_text(lines_of(PACKAGE))
    done = run_setup("--lock", lock, "--venv", venv)
    told = done.stdout + done.stderr
    if done.returncode and NETWORK.search(told) and "mismatch" not in told:
        pytest.skip(f"the registry cannot be reached: {' '.join(told.split())[:200]}")
    assert done.returncode == 0, told
    yield lock, venv


def test_exactly_the_lock_is_installed(venv: tuple[Path, Path]) -> None:
    names = installed(venv[1])
    assert [name.partition("-")[0] for name in names] == [PACKAGE, PACKAGE]
    python = venv[1] / "bin" / "python"
    done = subprocess.run([python, "-c", f"import {PACKAGE}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_setting_up_again_changes_nothing(venv: tuple[Path, Path]) -> None:
    before = contents(venv[1])
    done = run_setup("--lock", venv[0], "--venv", venv[1])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert contents(venv[1]) == before


def test_what_is_not_in_the_lock_goes(venv: tuple[Path, Path], tmp_path: Path) -> None:
    """An environment that holds more than the lock is the lock's again."""
    lock, other = tmp_path / "lock.txt", tmp_path / "venv"
    lock.write_text(venv[0].read_text() + lines_of(ANOTHER))
    assert run_setup("--lock", lock, "--venv", other).returncode == 0
    assert {name.partition("-")[0] for name in installed(other)} == {PACKAGE, ANOTHER}
    assert run_setup("--lock", venv[0], "--venv", other).returncode == 0
    assert installed(other) == installed(venv[1])


@pytest.mark.usefixtures("venv")  # else a registry that cannot be reached would look like a refusal
@pytest.mark.parametrize("position", [0, 63])
def test_a_wrong_hash_installs_nothing(position: int, tmp_path: Path) -> None:
    def corrupt(found: re.Match[str]) -> str:
        digits = list(found[1])
        digits[position] = "0" if digits[position] != "0" else "1"
        return "sha256:" + "".join(digits)

    lock, venv = tmp_path / "lock.txt", tmp_path / "venv"
    lock.write_text(re.sub(r"sha256:([0-9a-f]{64})", corrupt, lines_of(PACKAGE)))
    for _ in range(2):  # the second time the file is in the cache
        done = run_setup("--lock", lock, "--venv", venv)
        assert done.returncode != 0 and "mismatch" in done.stderr.lower()
        assert done.stderr.splitlines()[-1].startswith("error: envs/setup.py: this step failed: ")
        assert "Traceback" not in done.stderr
        assert installed(venv) == []


@pytest.mark.usefixtures("venv")
def test_a_package_without_a_hash_installs_nothing(tmp_path: Path) -> None:
    lock, venv = tmp_path / "lock.txt", tmp_path / "venv"
    lock.write_text(lines_of(PACKAGE).partition(" ")[0] + "\n")
    done = run_setup("--lock", lock, "--venv", venv)
    assert done.returncode != 0 and "hash" in done.stderr.lower()
    assert installed(venv) == []


def test_a_missing_lock_is_one_sentence(tmp_path: Path) -> None:
    done = run_setup("--lock", tmp_path / "none.txt", "--venv", tmp_path / "venv")
    assert done.returncode != 0 and done.stdout == ""
    assert done.stderr == f"error: envs/setup.py: --lock: no such file: {tmp_path / 'none.txt'}\n"
    assert not (tmp_path / "venv").exists()


def test_every_package_of_the_lock_has_its_hashes_and_no_address() -> None:
    text = (ROOT / "envs" / "lock.txt").read_text()
    assert "://" not in text and "--index" not in text and "--trusted" not in text
    pinned = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]
    assert len(pinned) > 50
    for line in pinned:
        assert re.match(r"[a-z0-9][a-z0-9._-]*==\S+ .*\\$", line), f"not pinned, or without a hash: {line}"
