"""What a cell is: from a raw cell to the specs of its stages, each with an identity, by way of aliases and defaults.

A spec holds the fields that its own stage reads and the identities of its inputs, not their fields. Aliases are
expanded and options equal to their default dropped before hashing. Identity = readable slug + 12 hex of sha256(stage,
spec).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from sparse_ortho.artifacts import canonical, digest_text
from sparse_ortho.errors import UserError
from sparse_ortho.plan.grid import named
from sparse_ortho.plan.options import check, literal_of
from sparse_ortho.registry import resolve, table
from sparse_ortho.streams import PURPOSES

BUILD = "sparse_ortho.data.build:build#validation"  # an option that every data set has
INITIALIZE = "sparse_ortho.inits.initialize:initialize#bias_std"  # an option that every initialisation has
TRAIN = "sparse_ortho.training.options:TrainOptions"
SCORE_INIT = {"name": "kaiming"}
INIT_SUFFIXES = {"AI": "isometry", "EI": "eoi"}  # of the released program of EOI
MASK_ALIASES = {"GraSP": "grasp", "global_magnitude": "magnitude"}


@dataclass(frozen=True)
class Node:
    """One configuration of one stage: what a stage makes once a seed."""

    stage: str
    id: str
    spec: Mapping[str, Any]
    inputs: Mapping[str, str]  # role -> identity of an earlier node: data, mask, init
    methods: frozenset[str]  # module:attribute of everything that the spec names
    data: str
    model: str = ""


@dataclass(frozen=True)
class Cell:
    """A cell of a table: its nodes, the last of which gives it its identity."""

    nodes: dict[str, Node] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return self.nodes["train"].id

    def needed(self, stage: str) -> list[Node]:
        """The node of a stage and everything that it is made from."""
        node = self.nodes[stage]
        return [node, *(earlier for role in node.inputs for earlier in self.needed(role))]


def resolve_cell(raw: Mapping[str, Any], where: str) -> Cell:
    """The nodes of a raw cell: data, mask (unless dense), init, train."""
    raw = expand_aliases(raw, where)
    for key in ("data", "model", "init"):
        if raw.get(key) is None:
            raise UserError(f"{where}.{key}", "is required but absent")
    data = _method("datasets", raw["data"], f"{where}.data", BUILD)
    facts = literal_of(resolve("datasets", data["name"]), "FACTS", {})
    model = _method("models", raw["model"], f"{where}.model")
    init = _method("inits", raw["init"], f"{where}.init", INITIALIZE)
    mask = expand_mask(raw.get("mask", "dense"), f"{where}.mask")
    measure = _method("measures", raw.get("measure") or "jacobian", f"{where}.measure")
    density = _density(raw.get("density"), mask, where)
    fixed = _fixed_seeds(raw.get("fixed_seeds") or {}, f"{where}.fixed_seeds")
    net = {"model": model, "shape": list(facts["shape"]), "classes": facts["classes"]}
    words = [data["name"], model["name"], mask_word(mask), init["name"], f"d{_number(density)}"]
    nodes = {"data": _node("data", {"data": data}, {}, [("datasets", data)], words[:1])}
    if mask:
        nodes["mask"] = _mask_node(mask, density, net, nodes["data"], raw, fixed, words, where)
    nodes["init"] = _init_node(init, net, nodes, fixed, words)
    train = check((TRAIN,), named(raw.get("train") or {}, f"{where}.train"), f"{where}.train")
    spec = net | {"train": train} | _fixed(fixed, "order", "dropout", "augmentation", "rewiring")
    inputs = {"data": nodes["data"].id, "init": nodes["init"].id}
    nodes["train"] = _node("train", spec, inputs, [("models", model)], words)
    spec = net | {"measure": measure} | _fixed(fixed, "order")
    nodes["measure"] = _node("measure", spec, inputs, [("models", model), ("measures", measure)], words)
    return Cell(nodes)


def expand_aliases(raw: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """The papers' one-word spellings, such as snip_direct_EI or erk_AI: a mask, and after it an initialisation."""
    word = raw.get("mask")
    if not isinstance(word, str) or word in table("densities") or word in table("scores"):
        return raw
    stem, _, suffix = word.rpartition("_")
    init = INIT_SUFFIXES.get(suffix) if stem else None
    if init and raw.get("init") not in (None, init):
        raise UserError(f"{where}.mask", f"{word} says init={init}, and init says otherwise", found=raw["init"])
    base = stem if init else word
    mask = MASK_ALIASES.get(base, base.removesuffix("_direct"))
    return {**raw, "mask": mask} | ({"init": init} if init else {})


def expand_mask(value: Any, where: str) -> dict[str, Any] | None:
    """A mask as score and layers, None for dense; a density scheme alone has random positions, a score is global."""
    if value is None or value == "dense":
        return None
    if isinstance(value, str):
        if value in table("densities"):
            value = {"score": "random", "layers": value}
        elif value in table("scores"):
            value = {"score": value, "layers": "global"}
        else:
            known = sorted({"dense", *table("densities"), *table("scores")})
            raise UserError(where, "unknown mask", found=value, allowed=known)
    if not isinstance(value, dict):
        raise UserError(where, "must be a name, or a mapping with score and layers", found=value)
    for key in value:
        if key not in ("score", "layers"):
            raise UserError(f"{where}.{key}", "unknown key", found=key, allowed=("score", "layers"))
    layers = value.get("layers", "erk")
    if isinstance(layers, dict) and "name" not in layers:  # a density for each layer
        given = {str(name): _layer_density(d, f"{where}.layers.{name}") for name, d in layers.items()}
        expanded: Any = {"name": "given", "densities": given}
    else:
        kind = _layers_kind(named(layers, f"{where}.layers"))
        expanded = {"name": "global"} if layers == "global" else _method(kind, layers, f"{where}.layers")
    return {"score": _method("scores", value.get("score", "random"), f"{where}.score"), "layers": expanded}


def _layers_kind(layers: Mapping[str, Any]) -> str:
    """A density scheme; or a score, whose own global selection gives the counts of the layers ("ratio only")."""
    name = layers.get("name")
    return "scores" if name in table("scores") and name not in table("densities") else "densities"


def mask_word(mask: Mapping[str, Any] | None) -> str:
    """The shortest name that means this mask: what a reader would type."""
    if mask is None:
        return "dense"
    score, layers = mask["score"]["name"], mask["layers"]["name"]
    if score == "random" and layers not in ("global", "given"):
        return layers if _layers_kind(mask["layers"]) == "densities" else f"{layers}_ratio"
    return score if layers == "global" else f"{score}_{layers}"


def _mask_node(
    mask: Mapping[str, Any],
    density: float,
    net: dict[str, Any],
    data: Node,
    raw: Any,
    fixed: Any,
    words: Any,
    where: str,
) -> Node:
    spec = net | {"mask": mask, "density": density} | _fixed(fixed, "mask")
    inputs: dict[str, str] = {}
    methods = [("models", net["model"]), ("scores", mask["score"])]
    if mask["layers"]["name"] not in ("global", "given"):
        methods.append((_layers_kind(mask["layers"]), mask["layers"]))
    scores = [method["name"] for kind, method in methods if kind == "scores"]
    needs = {need for name in scores for need in literal_of(resolve("scores", name), "NEEDS", ())}
    if "weights" in needs or "data" in needs:
        score_init = _method("inits", raw.get("score_init") or SCORE_INIT, f"{where}.score_init", INITIALIZE)
        spec |= _fixed(fixed, "init") | ({} if score_init == SCORE_INIT else {"score_init": score_init})
        methods.append(("inits", score_init))
    if "data" in needs:
        inputs["data"] = data.id
    return _node("mask", spec, inputs, methods, [words[0], words[1], words[2], words[4]])


def _init_node(init: dict[str, Any], net: dict[str, Any], nodes: Mapping[str, Node], fixed: Any, words: Any) -> Node:
    inputs = {"mask": nodes["mask"].id} if "mask" in nodes else {}
    if "data" in literal_of(resolve("inits", init["name"]), "NEEDS", ()):
        inputs["data"] = nodes["data"].id
    return _node(
        "init", net | {"init": init} | _fixed(fixed, "init"), inputs, [("models", net["model"]), ("inits", init)], words
    )


def _node(stage: str, spec: dict[str, Any], inputs: dict[str, str], methods: list[Any], words: list[str]) -> Node:
    spec = spec | ({"inputs": inputs} if inputs else {})
    identity = "-".join(words) + "-" + digest_text(canonical({"stage": stage, "spec": spec}))[:12]
    paths = frozenset(resolve(kind, method["name"]) for kind, method in methods)
    model = spec["model"]["name"] if "model" in spec else ""
    return Node(stage, identity.lower(), spec, inputs, paths, words[0], model)


def _method(kind: str, value: Any, where: str, *shared: str) -> dict[str, Any]:
    """{name, options without defaults} of a registered method; `shared` adds options common to the whole kind."""
    given = named(value, where)
    return dict(_method_of(kind, canonical_or_refuse(given, where), where, shared))


@functools.cache
def _method_of(kind: str, text: str, where: str, shared: tuple[str, ...]) -> dict[str, Any]:
    import json

    given = json.loads(text)
    name = given.pop("name", None)
    if name is None:
        raise UserError(f"{where}.name", "is required but absent")
    path = resolve(kind, name, where)
    return {"name": name} | check((path, *shared), given, where)


def canonical_or_refuse(value: Any, where: str) -> str:
    try:
        return canonical(value)
    except (TypeError, ValueError) as error:
        raise UserError(where, f"holds something that is not plain data: {error}") from None


def _density(value: Any, mask: Any, where: str) -> float:
    if mask is None:
        if value not in (None, 1, 1.0):
            raise UserError(f"{where}.density", "a dense cell keeps every weight", found=value, allowed="1")
        return 1.0
    if value is None:
        if mask["layers"]["name"] == "given":
            return 1.0
        raise UserError(f"{where}.density", "is required but absent", allowed="(0, 1]")
    return _layer_density(value, f"{where}.density")


def _layer_density(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise UserError(where, "out of range", found=value, allowed="(0, 1]")
    return float(value)


def _fixed_seeds(value: Any, where: str) -> dict[str, int]:
    if not isinstance(value, dict):
        raise UserError(where, "must map purposes to seeds", found=value)
    for purpose, seed in value.items():
        if purpose not in PURPOSES:
            raise UserError(f"{where}.{purpose}", "unknown purpose", found=purpose, allowed=PURPOSES)
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise UserError(f"{where}.{purpose}", "must be a whole number from 0", found=seed)
    return dict(value)


def _fixed(fixed: Mapping[str, int], *purposes: str) -> dict[str, Any]:
    """The fixed seeds that a stage reads, as a field of its spec (absent when there is none)."""
    mine = {purpose: fixed[purpose] for purpose in purposes if purpose in fixed}
    return {"fixed_seeds": mine} if mine else {}


def _number(value: float) -> str:
    return format(Decimal(str(value)).normalize(), "f")
