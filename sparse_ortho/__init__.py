"""sparse_ortho: masks, orthogonal initialisation and training of sparse neural networks.

The public names are resolved on first use, so `import sparse_ortho` imports no torch.
"""

from typing import Any

_PUBLIC = {
    "Masks": "sparse_ortho.masks:Masks",
    "SparseTraining": "sparse_ortho.rewiring.sparse_training:SparseTraining",
    "UserError": "sparse_ortho.errors:UserError",
    "available": "sparse_ortho.registry:available",
    "ghost_skips_": "sparse_ortho.tricks.public:ghost_skips_",
    "gradinit_": "sparse_ortho.inits.gradinit:gradinit_",
    "initialize_": "sparse_ortho.inits.initialize:initialize_",
    "jacobian_singular_values": "sparse_ortho.measure.jacobian:jacobian_singular_values",
    "load_run": "sparse_ortho.training.runs:load_run",
    "make_masks": "sparse_ortho.prune:make_masks",
    "results": "sparse_ortho.report.collect:results",
    "soften_": "sparse_ortho.tricks.public:soften_",
    "sparse_orthogonal": "sparse_ortho.linalg.givens:sparse_orthogonal",
}
__all__ = sorted(_PUBLIC)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'sparse_ortho' has no attribute {name!r}")
    from sparse_ortho.registry import load_path

    return load_path(_PUBLIC[name])


def __dir__() -> list[str]:
    return __all__
