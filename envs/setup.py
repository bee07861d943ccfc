"""Make the environment: uv into .uv, a virtual environment into .venv, exactly what envs/lock.txt says into that.

    python3 envs/setup.py [--lock FILE] [--venv FOLDER] [--slurm]

Needs Python 3.11 or later with pip, and nothing else. Every file is checked against its hash in the lock. Running it
again changes nothing and takes a second. With --slurm there is also .venv-slurm: the same packages, and over them the
Slurm plugin of Snakemake, which must not be in .venv (where Slurm's clients are installed and no controller answers, it
delays every call of Snakemake by 9 seconds).
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UV = "uv==0.13.8"


def run(*words: object) -> None:
    done = subprocess.run([str(word) for word in words], cwd=ROOT)
    if done.returncode:
        sys.exit(f"error: envs/setup.py: this step failed: {' '.join(map(str, words))}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lock", type=Path, default=ROOT / "envs" / "lock.txt", help="requirements with hashes")
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="where the environment goes")
    parser.add_argument("--slurm", action="store_true", help="also make .venv-slurm, with Snakemake's Slurm plugin")
    arguments = parser.parse_args()
    arguments.lock, arguments.venv = arguments.lock.resolve(), arguments.venv.resolve()
    if sys.version_info < (3, 11):
        sys.exit(f"error: envs/setup.py: found Python {sys.version.split()[0]}, needed: 3.11 or later")
    if not arguments.lock.is_file():
        sys.exit(f"error: envs/setup.py: --lock: no such file: {arguments.lock}")
    uv = ROOT / ".uv" / "bin" / ("uv.exe" if sys.platform == "win32" else "uv")
    if not (uv.is_file() and (ROOT / ".uv" / f"uv-{UV.partition('==')[2]}.dist-info").is_dir()):
        print("installing uv into .uv", flush=True)
        shutil.rmtree(ROOT / ".uv", ignore_errors=True)
        run(
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--target",
            ROOT / ".uv",
            UV,
        )
    if not (arguments.venv / "pyvenv.cfg").is_file():
        print(f"making {arguments.venv} (6 GB: PyTorch comes with its CUDA libraries)", flush=True)
        run(uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, arguments.venv)
    run(uv, "pip", "sync", "--quiet", "--python", arguments.venv, "--require-hashes", arguments.lock)
    if arguments.slurm:
        lay_over(uv, arguments.venv, ROOT / ".venv-slurm", ROOT / "envs" / "slurm.txt")


def lay_over(uv: Path, base: Path, venv: Path, lock: Path) -> None:
    """An environment that sees all packages of another one, and has some of its own."""
    if not (venv / "pyvenv.cfg").is_file():
        run(uv, "venv", "--quiet", "--allow-existing", "--python", base / "bin" / "python", venv)
    [site] = base.glob("lib/python*/site-packages")
    (venv / site.relative_to(base) / "base.pth").write_text(f"{site}\n")
    run(uv, "pip", "install", "--quiet", "--python", venv, "--no-deps", "--require-hashes", "--requirement", lock)


if __name__ == "__main__":
    main()
