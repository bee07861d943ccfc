"""What a cell is: from a raw cell to the specs of its stages, each with an identity, by way of aliases and defaults.

A spec holds the fields that its own stage reads and the identities of its inputs, not their fields. Aliases are
expanded and options equal to their default dropped before hashing. Identity = readable slug + 12 hex of sha256(stage,
spec).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from sparse_ortho.artifacts import canonical, digest_text
from sparse_ortho.errors import UserError
from sparse_ortho.plan.data_facts import facts_of
from sparse_ortho.plan.fields import BUILD, INITIALIZE, TAKE, TRAIN, cell_density, fixed_seeds, method
from sparse_ortho.plan.grid import named
from sparse_ortho.plan.mask_words import expand_aliases, expand_mask, layers_kind, mask_word
from sparse_ortho.plan.model_words import expand_model
from sparse_ortho.plan.options import check, literal_of
from sparse_ortho.plan.rule_words import expand_rule
from sparse_ortho.registry import resolve

SCORE_INIT = {"name": "kaiming"}


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
    data = method("datasets", raw["data"], f"{where}.data", BUILD, TAKE)
    facts = facts_of(data, f"{where}.data")
    model = method("models", expand_model(raw["model"], f"{where}.model", raw.get("density")), f"{where}.model")
    init = method("inits", raw["init"], f"{where}.init", INITIALIZE)
    mask = expand_mask(raw.get("mask", "dense"), f"{where}.mask")
    measure = method("measures", raw.get("measure") or "jacobian", f"{where}.measure")
    density = cell_density(raw.get("density"), mask, where)
    fixed = fixed_seeds(raw.get("fixed_seeds") or {}, f"{where}.fixed_seeds")
    net = {"model": model, "shape": list(facts["shape"]), "classes": facts["classes"]}
    words = [data["name"], model["name"], mask_word(mask), init["name"], f"d{_number(density)}"]
    nodes = {"data": _node("data", {"data": data}, {}, [("datasets", data)], words[:1])}
    if mask:
        nodes["mask"] = _mask_node(mask, density, net, nodes["data"], raw, fixed, words, where)
    nodes["init"] = _init_node(init, net, nodes, fixed, words)
    train = check((TRAIN,), named(raw.get("train") or {}, f"{where}.train"), f"{where}.train")
    spec = net | {"train": train} | _fixed(fixed, "order", "dropout", "augmentation", "rewiring")
    inputs = {"data": nodes["data"].id, "init": nodes["init"].id}
    methods, spoken = [("models", model)], words
    if rule := expand_rule(raw.get("rule"), f"{where}.rule", None if mask is None else density, train):
        spec, spoken = spec | {"rule": rule}, [*words[:-1], rule["name"], words[-1]]
        methods.append(("rules", rule))
    nodes["train"] = _node("train", spec, inputs, methods, spoken)
    spec = net | {"measure": measure} | _fixed(fixed, "order")
    nodes["measure"] = _node("measure", spec, inputs, [("models", model), ("measures", measure)], words)
    return Cell(nodes)


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
        methods.append((layers_kind(mask["layers"]), mask["layers"]))
    scores = [method["name"] for kind, method in methods if kind == "scores"]
    needs = {need for name in scores for need in literal_of(resolve("scores", name), "NEEDS", ())}
    if "weights" in needs or "data" in needs:
        score_init = method("inits", raw.get("score_init") or SCORE_INIT, f"{where}.score_init", INITIALIZE)
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


def _fixed(fixed: Mapping[str, int], *purposes: str) -> dict[str, Any]:
    """The fixed seeds that a stage reads, as a field of its spec (absent when there is none)."""
    mine = {purpose: fixed[purpose] for purpose in purposes if purpose in fixed}
    return {"fixed_seeds": mine} if mine else {}


def _number(value: float) -> str:
    return format(Decimal(str(value)).normalize(), "f")
