"""What a mask may be called: a density scheme, a score, both, or a word of the papers that also names the init."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sparse_ortho.errors import UserError
from sparse_ortho.plan.fields import layer_density, method
from sparse_ortho.plan.grid import named
from sparse_ortho.plan.mask_sources import FILE
from sparse_ortho.plan.structure_words import BESIDE, beside, of_one_density, only_density
from sparse_ortho.registry import table

# Of the released program of EOI; its SAO keeps the first and the last layer dense, whatever the word before it says.
INIT_SUFFIXES = {"AI": "isometry", "EI": "eoi", "EIS": "eoi_structured", "SAO": "sao"}
# Scores of ToST, density schemes of Random Pruning and of the program beside "Why Random Pruning Is All We Need".
MASK_ALIASES: dict[str, Any] = {
    **{"FORCE": "force", "GraSP": "grasp", "OMP": "magnitude", "SNIP": "snip", "SynFlow": "synflow"},
    **{"global_magnitude": "magnitude", "RP": {"score": "random", "layers": "global"}},
    "TP": {"score": {"name": "taylor", "squares": "after"}, "layers": "global"},
    **{"ER": "er", "ERK": "erk", "ERK_plus": "erk_plus", "ER_init": "uniform", "uni_skip": "uniform_skip"},
    **{"ER_same_params": "balanced", "ER_same_params_per_layer": "balanced"},
    **{"pyramid_sparsity": "pyramid", "pyramidal": "pyramid"},
    "ER_flow": {"score": "random_flow", "layers": "uniform"},
    **{"ER_init_global": "synflow_ratio", "ER_synflow": "synflow_ratio"},
    **{f"ER-{paper}": f"{score}_ratio" for paper, score in (("GraSP", "grasp"), ("SNIP", "snip"))},
    "ER-SynFlow": "synflow_ratio",
}
RATIO = "_ratio"  # after a score: the layers' counts are its own, positions are random
WORD_ALIASES = {"SAO": "uni_skip_SAO", "uniform_SAO": "uni_skip_SAO"}

KEYS = ("score", "layers", *BESIDE)


def expand_aliases(raw: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """The papers' one-word spellings, such as snip_direct_EI or erk_AI: a mask, and after it an initialisation.

    `init` may repeat the initialisation that the word names, or give options to it.
    """
    whole = raw.get("mask")
    if isinstance(whole, dict) and isinstance(whole.get("name"), str):  # a word with more said about it
        rest = {key: value for key, value in whole.items() if key != "name"}
        expanded = expand_aliases({**raw, "mask": whole["name"]}, where)
        mask = expanded["mask"]
        return {**expanded, "mask": ({"name": mask} if isinstance(mask, str) else mask) | rest}
    word = whole
    if not isinstance(word, str) or word in table("densities") or word in table("scores"):
        return raw
    stem, _, suffix = WORD_ALIASES.get(word, word).rpartition("_")
    init = INIT_SUFFIXES.get(suffix) if stem else None
    base = stem if init else word
    mask = MASK_ALIASES.get(base, base.removesuffix("_direct"))
    if isinstance(mask, str) and mask.endswith(RATIO) and mask.removesuffix(RATIO) in table("scores"):
        mask = {"score": "random", "layers": mask.removesuffix(RATIO)}
    if not init:
        return {**raw, "mask": mask}
    given = named(raw.get("init") or init, f"{where}.init")
    if given.setdefault("name", init) != init:
        raise UserError(f"{where}.mask", f"{word} says init={init}, and init says otherwise", found=given["name"])
    return {**raw, "mask": mask, "init": given}


def expand_mask(value: Any, where: str) -> dict[str, Any] | None:
    """A mask as score and layers, None for dense; a density scheme alone has random positions, a score is global."""
    if value is None or value == "dense":
        return None
    if isinstance(value, str):
        value = _word(value, where)
    if not isinstance(value, dict):
        raise UserError(where, "must be a name, or a mapping with score and layers", found=value)
    if value.get("name") == "dense":
        more = [key for key in value if key != "name"] or ["name"]
        raise UserError(f"{where}.{more[0]}", "a dense network has no mask to say more of; write mask: dense")
    if "name" in value:
        value = _word(value["name"], f"{where}.name") | {key: part for key, part in value.items() if key != "name"}
    for key in value:
        if key not in KEYS:
            raise UserError(f"{where}.{key}", "unknown key", found=key, allowed=KEYS)
    if isinstance(value.get("score"), dict) and value["score"].get("name") == FILE:
        return {"score": value["score"], "layers": value["layers"]} | beside(value, where)
    layers, more = value.get("layers", "erk"), beside(value, where)
    if only_density(more) is not None:
        layers = of_one_density(value.get("layers", "uniform"), more, f"{where}.layers")
    if isinstance(layers, dict) and "name" not in layers:  # a density for each layer
        given = {str(name): layer_density(d, f"{where}.layers.{name}") for name, d in layers.items()}
        expanded: Any = {"name": "given", "densities": given}
    else:
        kind = layers_kind(named(layers, f"{where}.layers"))
        expanded = {"name": "global"} if layers == "global" else method(kind, layers, f"{where}.layers")
    return {"score": method("scores", value.get("score", "random"), f"{where}.score"), "layers": expanded} | more


def _word(value: Any, where: str) -> dict[str, Any]:
    if value in table("densities"):
        return {"score": "random", "layers": value}
    if value in table("scores"):
        return {"score": value, "layers": "global"}
    known = sorted({"dense", *table("densities"), *table("scores")})
    raise UserError(where, "unknown mask", found=value, allowed=known)


def layers_kind(layers: Mapping[str, Any]) -> str:
    """A density scheme; or a score, whose own global selection gives the counts of the layers ("ratio only")."""
    name = layers.get("name")
    return "scores" if name in table("scores") and name not in table("densities") else "densities"


def mask_word(mask: Mapping[str, Any] | None) -> str:
    """The shortest name that means this mask: what a reader would type."""
    if mask is None:
        return "dense"
    score, layers = mask["score"]["name"], mask["layers"]["name"]
    more = "".join(f"_{mask[key]['name']}" for key in BESIDE if key in mask)
    if score == FILE:
        return FILE + more
    if score == "random" and layers not in ("global", "given"):
        return (layers if layers_kind(mask["layers"]) == "densities" else f"{layers}{RATIO}") + more
    return (score if layers == "global" else f"{score}_{layers}") + more
