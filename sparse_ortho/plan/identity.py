"""What a cell is: from a raw cell to the specs of its stages, each with an identity, by way of aliases and defaults.

A spec holds the fields that its own stage reads and the identities of its inputs, not their fields. Aliases are
expanded and options equal to their default dropped before hashing. Identity = readable slug + 12 hex of sha256(stage,
spec).
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from sparse_ortho.artifacts import canonical, digest_text
from sparse_ortho.errors import UserError
from sparse_ortho.plan.data_facts import facts_of
from sparse_ortho.plan.fields import (
    BUILD,
    INITIALIZE,
    TAKE,
    TRAIN,
    canonical_or_refuse,
    cell_density,
    fixed_seeds,
    method,
)
from sparse_ortho.plan.grid import named
from sparse_ortho.plan.init_words import base_of, expand_init, needs_data, refuse_data
from sparse_ortho.plan.mask_sources import FILE, Source, expand_sources
from sparse_ortho.plan.mask_words import expand_aliases, expand_mask, layers_kind, mask_word
from sparse_ortho.plan.measures import expand_measure, measured
from sparse_ortho.plan.model_words import expand_model
from sparse_ortho.plan.options import check, literal_of
from sparse_ortho.plan.rule_criteria import criteria_of
from sparse_ortho.plan.rule_words import expand_rule
from sparse_ortho.plan.structure_words import BESIDE, asked_density, refuse_lost
from sparse_ortho.plan.ticket_options import expand_ticket
from sparse_ortho.plan.tickets import climb, rung
from sparse_ortho.plan.trick_words import expand_tricks
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
    sources: tuple[Source, ...] = ()  # files of the user's that it reads


@dataclass(frozen=True)
class Cell:
    """A cell of a table: its nodes, the last of which gives it its identity."""

    nodes: dict[str, Node] = field(default_factory=dict)
    ladder: tuple[Node, ...] = ()  # what its nodes are made from besides: the levels below the one that it starts from

    @property
    def id(self) -> str:
        return self.nodes["train"].id

    @property
    def start(self) -> Node | None:
        """What its initialisation made; a level of a ladder comes after it."""
        return next((node for node in self.every() if node.stage == "init"), None)

    def every(self) -> Iterator[Node]:
        yield from self.nodes.values()
        yield from self.ladder

    def needed(self, stage: str) -> list[Node]:
        """The node of a stage and everything that it is made from."""
        known = {node.id: node for node in self.every()}
        found, waiting = dict[str, Node](), [self.nodes[stage]]
        while waiting:
            node = waiting.pop()
            if node.id not in found:
                found[node.id] = node
                waiting += [known[identity] for identity in node.inputs.values()]
        return list(found.values())


def resolve_cell(raw: Mapping[str, Any], where: str) -> Cell:
    """The nodes of a raw cell: data, mask (unless dense), init, train."""
    spelled = {key: expand_init(raw[key], f"{where}.{key}") for key in ("init", "score_init") if raw.get(key)}
    raw = expand_aliases({**raw, **spelled}, where)
    bench = method("benches", raw["bench"], f"{where}.bench") if raw.get("bench") is not None else None
    if bench and not literal_of(resolve("benches", bench["name"]), "NEEDS", ()):
        return Cell({"bench": _bench_node(bench, fixed_seeds(raw.get("fixed_seeds") or {}, f"{where}.fixed_seeds"))})
    for key in ("data", "model", "init"):
        if raw.get(key) is None:
            raise UserError(f"{where}.{key}", "is required but absent")
    data = method("datasets", raw["data"], f"{where}.data", BUILD, TAKE)
    facts = facts_of(data, f"{where}.data")
    meant, sources = expand_sources(raw, where)
    model = method("models", expand_model(raw["model"], f"{where}.model", meant.get("density")), f"{where}.model")
    init = method("inits", raw["init"], f"{where}.init", INITIALIZE)
    mask = expand_mask(meant.get("mask", "dense"), f"{where}.mask")
    measure = expand_measure(raw.get("measure"), f"{where}.measure")
    density = cell_density(asked_density(meant.get("density"), mask, where), mask, where)
    refuse_lost(mask, init["name"], where)
    fixed = fixed_seeds(raw.get("fixed_seeds") or {}, f"{where}.fixed_seeds")
    net = {"model": model, "shape": list(facts["shape"]), "classes": facts["classes"]}
    words = [data["name"], model["name"], mask_word(mask), init["name"], f"d{_number(density)}"]
    nodes = {"data": _node("data", {"data": data}, {}, [("datasets", data)], words[:1])}
    if mask:
        chosen = _mask_node(mask, density, net, nodes["data"], raw, fixed, words, where)
        nodes["mask"] = replace(chosen, sources=sources)
    base_of(init, f"{where}.init")
    nodes["init"] = _init_node(init, net, nodes, fixed, words)
    ladder: tuple[Node, ...] = ()
    if ticket := expand_ticket(raw.get("ticket"), f"{where}.ticket"):
        purposes = _fixed(fixed, "mask", *(["init"] if ticket.get("kind") == "reinit" else []))
        about = (ticket, raw, nodes["init"], density, nodes["data"], purposes, words, where)
        nodes["init"], ladder = climb(*about, _once, _node)
        words = [*words[:-1], rung(ticket), words[-1]]
    train = check((TRAIN,), named(raw.get("train") or {}, f"{where}.train"), f"{where}.train")
    spec = net | {"train": train} | _fixed(fixed, "order", "dropout", "augmentation", "rewiring")
    inputs = {"data": nodes["data"].id, "init": nodes["init"].id}
    methods, spoken = [("models", model)], words
    if rule := expand_rule(raw.get("rule"), f"{where}.rule", None if mask is None else density, train):
        spec, spoken = spec | {"rule": rule}, [*words[:-1], rule["name"], words[-1]]
        methods += [("rules", rule), *criteria_of(rule)]
    if tricks := expand_tricks(raw.get("tricks"), f"{where}.tricks", train, net):
        spec, spoken = spec | {"tricks": tricks}, [*spoken[:-1], *tricks, spoken[-1]]
        methods += [("tricks", {"name": name}) for name in tricks]
    nodes["train"] = _node("train", spec, inputs, methods, spoken)
    told, inputs = measured(measure, *(nodes[stage].id for stage in ("data", "init", "train")))
    spec, ended = net | told | _fixed(fixed, "order", "measure"), "train" in inputs
    methods = [("measures", measure), *(m for m in methods if m[0] in ("models", *(["tricks"] if ended else [])))]
    nodes["measure"] = _node("measure", spec, inputs, methods, spoken if ended else words)
    if bench:
        nodes["bench"] = _bench_node(bench, fixed, net, {role: nodes[role].id for role in ("data", "init")}, words)
    return Cell(nodes, ladder)


@functools.lru_cache(maxsize=4096)
def _resolved(text: str, where: str) -> Cell:
    return resolve_cell(json.loads(text), where)


def _once(raw: Mapping[str, Any], where: str) -> Cell:
    """A cell that others are made from: the sixteen rungs of a ladder are asked for a hundred times."""
    return _resolved(canonical_or_refuse(raw, where), where)


def _bench_node(
    bench: dict[str, Any],
    fixed: Mapping[str, int],
    net: Mapping[str, Any] | None = None,
    inputs: dict[str, str] | None = None,
    words: list[str] | None = None,
) -> Node:
    """A bench by itself, or of the network of its cell."""
    spec = {**(net or {}), "bench": bench} | _fixed(fixed, "init", "mask", *(["order"] if net else []))
    methods = [("benches", bench)] + ([("models", net["model"])] if net else [])
    options = [str(value) for value in list(bench.values())[1:] if re.fullmatch(r"[\w.@]+", str(value))]
    spoken = [*words, bench["name"]] if words else ["bench", bench["name"], *options]
    node = _node("bench", spec, inputs or {}, methods, spoken)
    return node if net else replace(node, model="alone")  # a part of the names of bundles: one process for all


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
    methods = [("models", net["model"]), *((kind, mask[key]) for key, kind in BESIDE.items() if key in mask)]
    methods += [("scores", mask["score"])] if mask["score"]["name"] != FILE else []
    if mask["layers"]["name"] not in ("global", "given"):
        methods.append((layers_kind(mask["layers"]), mask["layers"]))
    scores = [method["name"] for kind, method in methods if kind == "scores"]
    needs = {need for name in scores for need in literal_of(resolve("scores", name), "NEEDS", ())}
    if "weights" in needs or "data" in needs:
        score_init = method("inits", raw.get("score_init") or SCORE_INIT, f"{where}.score_init", INITIALIZE)
        refuse_data(score_init, f"{where}.score_init")
        spec |= _fixed(fixed, "init") | ({} if score_init == SCORE_INIT else {"score_init": score_init})
        methods.append(("inits", score_init))
    if "data" in needs:
        inputs["data"] = data.id
    return _node("mask", spec, inputs, methods, [words[0], words[1], words[2], words[4]])


def _init_node(init: dict[str, Any], net: dict[str, Any], nodes: Mapping[str, Node], fixed: Any, words: Any) -> Node:
    inputs = {"mask": nodes["mask"].id} if "mask" in nodes else {}
    if needs_data(init):
        inputs["data"] = nodes["data"].id
    methods = [("models", net["model"]), ("inits", init)]
    if base := base_of(init):  # an initialisation that scales another one
        methods.append(("inits", {"name": base}))
    return _node("init", net | {"init": init} | _fixed(fixed, "init"), inputs, methods, words)


def _node(stage: str, spec: dict[str, Any], inputs: dict[str, str], methods: list[Any], words: list[str]) -> Node:
    spec = spec | ({"inputs": inputs} if inputs else {})
    identity = "-".join(words) + "-" + digest_text(canonical({"stage": stage, "spec": spec}))[:12]
    paths = frozenset(resolve(kind, method["name"]) for kind, method in methods)
    paths |= {part for path in paths if (part := literal_of(path, "PART", ""))}  # how a training takes a method
    model = spec["model"]["name"] if "model" in spec else ""
    return Node(stage, identity.lower(), spec, inputs, paths, words[0], model)


def _fixed(fixed: Mapping[str, int], *purposes: str) -> dict[str, Any]:
    """The fixed seeds that a stage reads, as a field of its spec (absent when there is none)."""
    mine = {purpose: fixed[purpose] for purpose in purposes if purpose in fixed}
    return {"fixed_seeds": mine} if mine else {}


def _number(value: float) -> str:
    return format(Decimal(str(value)).normalize(), "f")
