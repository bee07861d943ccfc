"""What exists under which name: one line a method, `name -> module:attribute`, alphabetical.

Nothing is imported until it is asked for. Third parties add names through entry points `sparse_ortho.<kind>`. This file
is the only place that imports by string, and it is in no code digest: a new line here makes nothing stale.
"""

from __future__ import annotations

import functools
import importlib
import re
from importlib import metadata
from typing import Any

from sparse_ortho.errors import UserError

TABLES: dict[str, dict[str, str]] = {
    "benches": {
        "kernels": "sparse_ortho.bench.kernels:kernels",
        "matrices": "sparse_ortho.bench.matrices:matrices",
        "rotations": "sparse_ortho.bench.rotations:rotations",
        "widths": "sparse_ortho.bench.widths:widths",
    },
    "datasets": {
        "acs_employment": "sparse_ortho.data.acs_employment:acs_employment",
        "cifar10": "sparse_ortho.data.cifar10:cifar10",
        "cifar100": "sparse_ortho.data.cifar100:cifar100",
        "cifar10_jpeg": "sparse_ortho.data.cifar10_jpeg:cifar10_jpeg",
        "cinic10": "sparse_ortho.data.cinic10:cinic10",
        "digits": "sparse_ortho.data.digits:digits",
        "fashion_mnist": "sparse_ortho.data.fashion_mnist:fashion_mnist",
        "higgs": "sparse_ortho.data.higgs:higgs",
        "image_folder": "sparse_ortho.data.image_folder:image_folder",
        "imagenet": "sparse_ortho.data.imagenet:imagenet",
        "kmnist": "sparse_ortho.data.kmnist:kmnist",
        "made_table": "sparse_ortho.data.made_table:made_table",
        "mnist": "sparse_ortho.data.mnist:mnist",
        "svhn": "sparse_ortho.data.svhn:svhn",
        "tiny_imagenet": "sparse_ortho.data.tiny_imagenet:tiny_imagenet",
    },
    "densities": {
        "balanced": "sparse_ortho.densities.balanced:balanced",
        "balanced@as_released": "sparse_ortho.densities.as_released:balanced_as_released",
        "er": "sparse_ortho.densities.er:er",
        "erk": "sparse_ortho.densities.erk:erk",
        "erk@as_released": "sparse_ortho.densities.as_released:erk_as_released",
        "erk_plus": "sparse_ortho.densities.erk_plus:erk_plus",
        "fixed": "sparse_ortho.densities.fixed:fixed",
        "pyramid": "sparse_ortho.densities.pyramid:pyramid",
        "uniform": "sparse_ortho.densities.uniform:uniform",
        "uniform_plus": "sparse_ortho.densities.uniform_plus:uniform_plus",
        "uniform_plus@as_released": "sparse_ortho.densities.as_released:uniform_plus_as_released",
        "uniform_skip": "sparse_ortho.densities.uniform_skip:uniform_skip",
    },
    "drops": {
        "global_magnitude": "sparse_ortho.rewiring.drops:global_magnitude",
        "gradstep": "sparse_ortho.rewiring.gradient_drops:gradstep",
        "grasp": "sparse_ortho.rewiring.grasp_drop:grasp",
        "magnitude": "sparse_ortho.rewiring.drops:magnitude",
        "magnitude_variance": "sparse_ortho.rewiring.drops:magnitude_variance",
        "mest": "sparse_ortho.rewiring.gradient_drops:mest",
        "random": "sparse_ortho.rewiring.drops:random",
        "reciprocal_sensitivity": "sparse_ortho.rewiring.gradient_drops:reciprocal_sensitivity",
        "running_magnitude": "sparse_ortho.rewiring.running:running_magnitude",
        "running_snip": "sparse_ortho.rewiring.running:running_snip",
        "sensitivity": "sparse_ortho.rewiring.gradient_drops:sensitivity",
        "set": "sparse_ortho.rewiring.drops:signed",
        "snip": "sparse_ortho.rewiring.gradient_drops:snip",
        "snip_half": "sparse_ortho.rewiring.gradient_drops:snip_half",
        "snip_plus": "sparse_ortho.rewiring.gradient_drops:snip_plus",
        "taylor_f0": "sparse_ortho.rewiring.gradient_drops:taylor_f0",
        "threshold": "sparse_ortho.rewiring.drops:threshold",
    },
    "exhibits": {
        "collapse": "sparse_ortho.report.collapse:render",
        "compared": "sparse_ortho.report.compared:render",
        "curves": "sparse_ortho.report.curves:render",
        "dynamics": "sparse_ortho.report.dynamics:render",
        "factorial": "sparse_ortho.report.factorial:render",
        "filter_maps": "sparse_ortho.report.filter_maps:render",
        "layer_budgets": "sparse_ortho.report.layer_budgets:render",
        "layer_map": "sparse_ortho.report.layer_map:render",
        "layers": "sparse_ortho.report.layers:render",
        "lines": "sparse_ortho.report.lines:render",
        "mask_distance": "sparse_ortho.report.mask_distance:render",
        "mask_pictures": "sparse_ortho.report.mask_pictures:render",
        "matrix": "sparse_ortho.report.matrix:render",
        "methods": "sparse_ortho.report.methods:render",
        "outcomes": "sparse_ortho.report.outcomes:render",
        "paper_points": "sparse_ortho.report.paper_points:render",
        "profile": "sparse_ortho.report.profile:render",
        "side_by_side": "sparse_ortho.report.side_by_side:render",
        "specialisation": "sparse_ortho.report.specialisation:render",
        "spectrum": "sparse_ortho.report.spectrum:render",
        "surface": "sparse_ortho.report.surface:render",
        "table": "sparse_ortho.report.tables:render",
        "theory": "sparse_ortho.report.theory:render",
        "timing": "sparse_ortho.report.timing:render",
        "widths": "sparse_ortho.report.widths:render",
    },
    "growths": {
        "global_momentum": "sparse_ortho.rewiring.growth:global_momentum",
        "gradient": "sparse_ortho.rewiring.growth:gradient",
        "momentum": "sparse_ortho.rewiring.growth:momentum",
        "momentum_neuron": "sparse_ortho.rewiring.growth:momentum_neuron",
        "random": "sparse_ortho.rewiring.growth:random",
    },
    "inits": {
        "bimodal": "sparse_ortho.inits.bimodal:bimodal",
        "binary": "sparse_ortho.inits.binary:binary",
        "default": "sparse_ortho.inits.default:default",
        "eoi": "sparse_ortho.inits.eoi:eoi",
        "eoi@as_released": "sparse_ortho.inits.eoi_as_released:eoi_as_released",
        "eoi_structured": "sparse_ortho.inits.eoi_structured:eoi_structured",
        "gradinit": "sparse_ortho.inits.gradinit:gradinit",
        "gradinit@as_released": "sparse_ortho.inits.gradinit:gradinit_as_released",
        "isometry": "sparse_ortho.inits.isometry:isometry",
        "isometry@as_released": "sparse_ortho.inits.isometry:isometry_as_released",
        "kaiming": "sparse_ortho.inits.kaiming:kaiming",
        "kaiming_plus": "sparse_ortho.inits.kaiming_plus:kaiming_plus",
        "kaiming_scaled": "sparse_ortho.inits.kaiming_scaled:kaiming_scaled",
        "kaiming_uniform": "sparse_ortho.inits.kaiming_uniform:kaiming_uniform",
        "looks_linear": "sparse_ortho.inits.looks_linear:looks_linear",
        "max_sparse_orthogonal": "sparse_ortho.inits.max_sparse_orthogonal:max_sparse_orthogonal",
        "metainit": "sparse_ortho.inits.metainit:metainit",
        "ortho_repair": "sparse_ortho.inits.ortho_repair:ortho_repair",
        "ortho_repair@as_released": "sparse_ortho.inits.ortho_repair:ortho_repair_as_released",
        "orthogonal": "sparse_ortho.inits.orthogonal:orthogonal",
        "sao": "sparse_ortho.inits.sao:sao",
        "sparse_fan_in": "sparse_ortho.inits.sparse_fan_in:sparse_fan_in",
        "vgg": "sparse_ortho.inits.vgg:vgg",
    },
    "measures": {
        "activations": "sparse_ortho.measure.activations:activations",
        "connectivity": "sparse_ortho.measure.connectivity:connectivity",
        "effective": "sparse_ortho.measure.effective:effective",
        "features": "sparse_ortho.measure.features:features",
        "filters": "sparse_ortho.measure.filters:filters",
        "flops": "sparse_ortho.measure.flops:flops",
        "graph": "sparse_ortho.measure.graph:graph",
        "hessian": "sparse_ortho.measure.hessian:hessian",
        "jacobian": "sparse_ortho.measure.jacobian:jacobian",
        "landscape": "sparse_ortho.measure.landscape:landscape",
        "layers": "sparse_ortho.measure.layers:layers",
        "paths": "sparse_ortho.measure.paths:paths",
        "pruned": "sparse_ortho.measure.pruned:pruned",
    },
    "models": {
        "alexnet": "sparse_ortho.models.alexnet:alexnet",
        "chollet_convnet": "sparse_ortho.models.chollet_convnet:chollet_convnet",
        "conv_cifar10": "sparse_ortho.models.conv_cifar10:conv_cifar10",
        "deep_conv": "sparse_ortho.models.deep_conv:deep_conv",
        "deep_resnet": "sparse_ortho.models.deep_resnet:deep_resnet",
        "densenet": "sparse_ortho.models.densenet:densenet",
        "efficientnet": "sparse_ortho.models.efficientnet:efficientnet",
        "lenet300_100": "sparse_ortho.models.lenet:lenet300_100",
        "lenet5": "sparse_ortho.models.lenet:lenet5",
        "mlp": "sparse_ortho.models.mlp:mlp",
        "mobilenet": "sparse_ortho.models.mobilenet:mobilenet",
        "resnet": "sparse_ortho.models.resnet:cifar_resnet",
        "tabular": "sparse_ortho.models.tabular:tabular",
        "thin_mlp": "sparse_ortho.models.thin_mlp:thin_mlp",
        "vanilla": "sparse_ortho.models.vanilla:vanilla",
        "vgg": "sparse_ortho.models.vgg:vgg",
        "vgg_c": "sparse_ortho.models.vgg_snip:vgg_c",
        "vgg_d": "sparse_ortho.models.vgg_snip:vgg_d",
        "vgg_imagenet": "sparse_ortho.models.vgg_imagenet:vgg_imagenet",
        "vgg_like": "sparse_ortho.models.vgg_snip:vgg_like",
        "wide_resnet": "sparse_ortho.models.wide_resnet:wide_resnet",
    },
    "repairs": {
        "flow": "sparse_ortho.repairs.flow:flow",
        "units": "sparse_ortho.repairs.units:units",
        "units@as_released": "sparse_ortho.repairs.as_released:units_as_released",
    },
    "rules": {
        "ac_dc": "sparse_ortho.rewiring.ac_dc:ac_dc",
        "deepr": "sparse_ortho.rewiring.deepr:deepr",
        "deepr@as_released": "sparse_ortho.rewiring.deepr:deepr_as_released",
        "dsr": "sparse_ortho.rewiring.dsr:dsr",
        "dst": "sparse_ortho.rewiring.dst:dst",
        "edge_popup": "sparse_ortho.learned.edge_popup:edge_popup",
        "end_pruning": "sparse_ortho.rewiring.end_pruning:end_pruning",
        "gmp": "sparse_ortho.rewiring.gmp:gmp",
        "granet": "sparse_ortho.rewiring.granet:granet",
        "itop": "sparse_ortho.rewiring.itop:itop",
        "mest": "sparse_ortho.rewiring.mest:mest",
        "n_m": "sparse_ortho.rewiring.n_m:n_m",
        "rigl": "sparse_ortho.rewiring.rigl:rigl",
        "set": "sparse_ortho.rewiring.set:evolution",
        "set@as_released": "sparse_ortho.rewiring.set_as_released:set_as_released",
        "soft_threshold": "sparse_ortho.learned.soft_threshold:soft_threshold",
        "sparse_momentum": "sparse_ortho.rewiring.sparse_momentum:sparse_momentum",
        "sparse_momentum@as_released": "sparse_ortho.rewiring.sparse_momentum_as_released:sparse_momentum_as_released",
        "srigl": "sparse_ortho.rewiring.srigl:srigl",
        "static": "sparse_ortho.rewiring.static:static",
        "tied": "sparse_ortho.rewiring.tied:tied",
        "top_kast": "sparse_ortho.rewiring.top_kast:top_kast",
    },
    "scores": {
        "force": "sparse_ortho.scores.force:force",
        "grasp": "sparse_ortho.scores.grasp:grasp",
        "grasp@as_released": "sparse_ortho.scores.grasp:grasp_as_released",
        "magnitude": "sparse_ortho.scores.magnitude:magnitude",
        "ntk_sap": "sparse_ortho.scores.ntk_sap:ntk_sap",
        "random": "sparse_ortho.scores.random:random",
        "random_flow": "sparse_ortho.scores.random_flow:random_flow",
        "snip": "sparse_ortho.scores.snip:snip",
        "snip@as_released": "sparse_ortho.scores.snip:snip_as_released",
        "synflow": "sparse_ortho.scores.synflow:synflow",
        "synflow@as_released": "sparse_ortho.scores.synflow:synflow_as_released",
        "taylor": "sparse_ortho.scores.taylor:taylor",
    },
    "shares": {
        "magnitude": "sparse_ortho.rewiring.shares:magnitude",
        "momentum": "sparse_ortho.rewiring.shares:momentum",
        "nonzeros": "sparse_ortho.rewiring.shares:nonzeros",
        "size": "sparse_ortho.rewiring.shares:size",
        "variance": "sparse_ortho.rewiring.shares:variance",
    },
    "structures": {
        "block": "sparse_ortho.structures.block:block",
        "fan_in": "sparse_ortho.structures.fan_in:fan_in",
        "kernel": "sparse_ortho.structures.kernel:kernel",
        "n_m": "sparse_ortho.structures.n_m:n_m",
    },
    "tricks": {
        "ghost": "sparse_ortho.tricks.ghost:ghost",
        "smoothing": "sparse_ortho.tricks.smoothing:smoothing",
        "soft": "sparse_ortho.tricks.soft:soft",
    },
}


SINGULAR = {"benches": "bench", "densities": "density scheme"}  # the others lose an s
OPEN = ("drops", "growths", "shares")  # a function of the user's own may stand here, as module:function
NAME = re.compile(r"[a-z][a-z0-9_@]*")  # names are parts of file names


@functools.cache
def table(kind: str) -> dict[str, str]:
    """All names of a kind, our own and those of installed plug-ins."""
    entries = dict(TABLES[kind])
    for point in metadata.entry_points(group=f"sparse_ortho.{kind}"):
        if not NAME.fullmatch(point.name):
            where = f"entry point sparse_ortho.{kind}"
            raise UserError(where, "a name needs lower case", found=point.name, allowed="letters, digits, _ and @")
        if point.name in entries:
            raise UserError(
                f"entry point sparse_ortho.{kind}", f"{point.value} takes a name already in use", found=point.name
            )
        entries[point.name] = point.value
    return dict(sorted(entries.items()))


def resolve(kind: str, name: str, where: str = "") -> str:
    """`module:attribute` of a registered name, or of the user's own; an unknown one is refused with the nearest."""
    if kind in OPEN and isinstance(name, str) and ":" in name:
        return name
    entries = table(kind)
    if not isinstance(name, str) or name not in entries:
        singular = SINGULAR.get(kind, kind.removesuffix("s"))
        raise UserError(where or kind, f"unknown {singular}", found=name, allowed=entries)
    return entries[name]


def load(kind: str, name: str) -> Any:
    """The registered object itself, imported now."""
    module, _, attribute = resolve(kind, name).partition(":")
    return getattr(importlib.import_module(module), attribute)


def beside(kind: str, name: str, attribute: str, otherwise: Any) -> Any:
    """A module-level literal of a registered method, such as its NEEDS."""
    return getattr(importlib.import_module(resolve(kind, name).partition(":")[0]), attribute, otherwise)


def load_path(path: str) -> Any:
    """Any `module:attribute`, for lazy public names."""
    module, _, attribute = path.partition(":")
    return getattr(importlib.import_module(module), attribute)


def available() -> dict[str, list[str]]:
    """Every name that a config may use, by kind."""
    return {kind: list(table(kind)) for kind in sorted(TABLES)}
