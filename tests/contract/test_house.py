"""Rules of the house that no linter knows."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from sparse_ortho.plan.digest import LEFT_OUT, ROOT
from sparse_ortho.plan.options import fields_of, literal_of
from sparse_ortho.registry import TABLES, load, resolve, table
from sparse_ortho.stages.schemas import contents

SOURCES = sorted((ROOT / "sparse_ortho").rglob("*.py"))


def tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def imported(code: str) -> set[str]:
    """Top-level packages that a fresh process has imported after `code`."""
    script = f"import sys\n{code}\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


PLAN = "from sparse_ortho.plan.workflow import Plan; p = Plan({'device': 'cpu'}); p.targets(); p.report_job()"


@pytest.mark.parametrize(
    "code",
    [
        "import sparse_ortho; sparse_ortho.available(); sparse_ortho.UserError; dir(sparse_ortho)",
        f"{PLAN}; [p.job(s, b) for s in ('data', 'mask', 'init', 'train') for b in p.bundles('eoi', s)]",
        f"{PLAN}; from sparse_ortho.plan.summary import summary; summary(p)",
        "import sparse_ortho.stages.exhibit, sparse_ortho.report.tables, sparse_ortho.report.page",
        "import sparse_ortho.stages.train, sparse_ortho.stages.init, sparse_ortho.stages.mask, sparse_ortho.store",
    ],
)
def test_no_torch_is_imported(code: str) -> None:
    assert "torch" not in imported(code)


def test_tables_import_no_matplotlib() -> None:
    assert "matplotlib" not in imported("import sparse_ortho.report.tables, sparse_ortho.stages.exhibit")


def test_init_files_hold_no_logic() -> None:
    """They are in no code digest."""
    for path in SOURCES:
        if path.name == "__init__.py" and path.parent != ROOT / "sparse_ortho":
            assert path.read_text().strip() == "", path
    names = {getattr(node, "name", "") for node in ast.parse((ROOT / "sparse_ortho/__init__.py").read_text()).body}
    assert names <= {"", "__getattr__", "__dir__"}


def test_only_the_registry_imports_by_string() -> None:
    """An import that `ast` cannot see would make a code digest lie."""
    for path in SOURCES:
        if path.name != "registry.py":
            assert not re.search(r"import_module|__import__\(|\bexec\(|(?<![.\w])eval\(", path.read_text()), path


def test_what_is_left_out_of_digests_makes_no_result() -> None:
    assert LEFT_OUT == ("sparse_ortho.registry", "sparse_ortho.stages.program")


@pytest.mark.parametrize("kind", TABLES)
def test_registries_are_alphabetical_and_resolve(kind: str) -> None:
    assert list(TABLES[kind]) == sorted(TABLES[kind])
    for name in table(kind):
        assert callable(load(kind, name))
        fields_of(resolve(kind, name))  # literal defaults, simple annotations


def test_every_data_set_states_its_facts() -> None:
    for name in TABLES["datasets"]:
        facts = literal_of(resolve("datasets", name), "FACTS", {})
        assert {"shape", "classes", "train", "test", "mean", "std", "scale", "licence", "version"} <= facts.keys(), name


def test_schemas_are_in_step() -> None:
    for name, text in contents().items():
        assert (ROOT / "schemas" / name).read_text() == text, f"schemas/{name} is stale: make schemas"


def test_config_yaml_states_every_key_with_its_default() -> None:
    from sparse_ortho.plan.config import Config

    assert yaml.safe_load((ROOT / "config.yaml").read_text()) == Config().model_dump(mode="json")


def test_thin_files_stay_thin() -> None:
    assert len((ROOT / "Snakefile").read_text().splitlines()) <= 40
    for path in (ROOT / "workflow_scripts").glob("*.py"):
        assert len(path.read_text().splitlines()) <= 35, path.name
    for path in SOURCES:
        assert len(path.read_text().splitlines()) <= 300, path


def test_every_rule_has_log_and_benchmark() -> None:
    for path in (ROOT / "rules").glob("*.smk"):
        for rule in re.split(r"\n(?=rule )", path.read_text()):
            if rule.startswith("rule "):
                name = rule.split(":")[0]
                assert "\n    log:" in rule, f"{path.name}: {name}"
                assert ("\n    benchmark:" in rule) == ("\n    output:" in rule), f"{path.name}: {name}"


def test_nothing_says_sparsity_where_density_is_meant() -> None:
    banned = re.compile(r"\b(prune_rate|death_rate|sparsity)\b")
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.arg] if isinstance(node, ast.arg) else [node.id] if isinstance(node, ast.Name) else []
            names += [node.name] if isinstance(node, ast.FunctionDef) else []
            assert not [name for name in names if banned.search(name)], f"{path}: {names}"


def test_no_registry_host_is_committed() -> None:
    hosts = re.compile(r"pyp[i]\.org|pythonhost[e]d|registry\.np[m]js|index-ur[l][ =]\S*://|extra-inde[x]")
    for path in tracked():
        if path.suffix in {".png", ".gz"}:
            continue
        assert not hosts.search(path.read_text(errors="replace")), path
    assert "://" not in (ROOT / "envs" / "lock.txt").read_text()
    assert not [path for path in tracked() if path.name in {"uv.lock", "poetry.lock"}]


def test_the_lock_holds_every_dependency_within_its_range() -> None:
    import tomllib

    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = project["project"]["dependencies"] + project["dependency-groups"]["dev"]
    locked: dict[str, list[str]] = {}
    for line in (ROOT / "envs" / "lock.txt").read_text().splitlines():
        if found := re.match(r"([a-z0-9][a-z0-9._-]*)==([^ \\;]+)", line):
            locked.setdefault(found[1].replace("_", "-"), []).append(found[2])
    for text in wanted:
        need = Requirement(text)
        versions = locked.get(need.name.lower().replace("_", "-"))
        assert versions, f"{need.name} is not in envs/lock.txt: make lock"
        assert all(need.specifier.contains(version) for version in versions), f"{text}: locked {versions}"


def test_every_profile_keeps_the_promises() -> None:
    """A later profile may replace the default one, so each says what caching and locking need."""
    for path in (ROOT / "profiles").glob("*/profile.yaml"):
        profile = yaml.safe_load(path.read_text())
        assert profile["max-checksum-file-size"] == 2_000_000_000, path
        assert profile["nolock"] is True and profile["rerun-incomplete"] is True, path
