"""What the plan can see of a learned mask that cannot be: found before any job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sparse_ortho.errors import UserError
from sparse_ortho.plan.fields import TRAIN, layer_density
from sparse_ortho.plan.options import defaults, literal_of
from sparse_ortho.registry import resolve


def refuse_learned(path: str, options: Mapping[str, Any], trained: Mapping[str, Any], where: str) -> None:
    """`path` is module:attribute of a rule, `options` all of its options, `trained` all of the training."""
    usual = defaults(TRAIN)
    for key, reason in literal_of(path, "FORBIDS", {}).items():
        if trained[key] != usual[key]:
            raise UserError(f"{where}: {options['name']} and train.{key}", reason, found=trained[key])
    if options.get("within") == "start" and options.get("flow", "none") != "none":
        raise UserError(f"{where}.flow", "moves weights anywhere, and within is start", found=options["flow"])
    if options.get("levels", 1) < 1:
        raise UserError(f"{where}.levels", "must be at least 1", found=options["levels"])
    if "start_density" in options:
        start = layer_density(options["start_density"], f"{where}.start_density")
        if options["levels"] > 1 and start < options["final_density"]:
            raise UserError(f"{where}.start_density", "is below final_density", found=start)
    if options.get("restart") and trained["epochs"] % options["levels"]:
        problem = f"needs levels of whole epochs, and there are {trained['epochs']} in all"
        raise UserError(f"{where}.restart", problem, found=options["levels"])
    if options.get("scaling") and trained["ranks"] > 1:
        raise UserError(f"{where}.scaling", "is fitted by one process", found=trained["ranks"])
    if target := options.get("target_density"):
        layer_density(target, f"{where}.target_density")
        if trained["ranks"] > 1:
            raise UserError(f"{where}.target_density", "is looked for by one process", found=trained["ranks"])
        for key in ("probes", "tolerance"):
            if options[key] <= 0:
                raise UserError(f"{where}.{key}", "must be above 0", found=options[key])
    for key in ("bias_scale", "s_decay", "probe_epochs"):
        if (options.get(key) or 0) < 0:
            raise UserError(f"{where}.{key}", "must be at least 0", found=options[key])


def trainings(rule: Mapping[str, Any]) -> float:
    """How many whole trainings a training with this rule comes to, at most: those of a search for a density, and it."""
    if not rule.get("target_density"):
        return 1.0
    options = defaults(resolve("rules", rule["name"])) | dict(rule)
    return 1.0 + options["probes"]
