"""A plan for the programs that are asked about it rather than given a job: plan, why, partial, store."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Any

from sparse_ortho.errors import UserError
from sparse_ortho.plan import paths
from sparse_ortho.plan.config import read_yaml
from sparse_ortho.plan.digest import ROOT
from sparse_ortho.plan.layout import STAGES
from sparse_ortho.plan.workflow import Plan


def add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", help="the configuration as JSON (default: config.yaml)")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="keys of the configuration to change")


def plan_of(arguments: argparse.Namespace) -> Plan:
    """The plan of config.yaml, of `--config`, with the keys of `--set` changed."""
    config: Any = json.loads(arguments.config) if arguments.config else read_yaml(ROOT / "config.yaml")
    return Plan(config | dict(parse_setting(text) for text in arguments.set))


def add_study(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--study", help="export: what this study is served, instead of all")
    parser.add_argument("--scale", help="export: at this scale (default: that of the configuration)")


def study_of(arguments: argparse.Namespace) -> Plan | None:
    """The plan of `--study` and `--scale`, or None if neither is given."""
    if not arguments.study and not arguments.scale:
        return None
    config = plan_of(arguments).config.model_dump()
    chosen = {"studies": [arguments.study]} if arguments.study else {}
    return Plan(config | chosen | ({"scale": arguments.scale} if arguments.scale else {}))


def parse_setting(text: str) -> tuple[str, Any]:
    """`key=value`, the value as YAML."""
    import yaml

    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UserError("--set", "must be KEY=VALUE", found=text)
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError:
        raise UserError(f"--set {key}", "its value is not valid YAML", found=value) from None


def planned_jobs(plan: Plan) -> Iterator[tuple[str, str, str, list[str]]]:
    """(stage, name, job, outputs) of everything that the configured studies make."""
    for study in plan.config.studies:
        for stage in STAGES:
            for name in plan.bundles(study, stage):
                more = [paths.curves(name)] if stage == "train" else []
                yield stage, name, plan.job(stage, name), [paths.bundle(stage, name), *more]
        for name, (exhibit, _, _) in plan.study(study).exhibits.items():
            outputs = paths.exhibit(exhibit.kind, study, plan.config.scale, name)
            yield "exhibit", f"{study}/{plan.config.scale}/{name}", plan.exhibit_job(study, name), outputs
    yield "report", "report", plan.report_job(), [paths.REPORT]
