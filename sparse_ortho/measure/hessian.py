"""Spectrum of the Hessian of the training loss on the surviving weights (Ghorbani, Krishnan, Xiao, "An Investigation
into Neural Net Optimization via Hessian Eigenvalue Density", ICML 2019, arXiv 1901.10159; Yao, Gholami, Keutzer,
Mahoney, "PyHessian", 2020, arXiv 1912.07145).

    top:      the k largest eigenvalues, and the smallest, by Lanczos with full reorthogonalisation
    trace:    mean of v' H v over probes v of signs
    density:  phi(t) = (1 / probes) sum_v sum_j w_j(v) delta(t - theta_j(v)),  nodes and weights of Lanczos quadrature

`node/v/j` and `weight/v/j` are that density as it was found: what smooths it is the figure's affair, so that several
networks get one width. Not from the papers: only weights with a mask are coordinates (see `curvature`), and only those
that survive; the probes give trace and density at once, because the first product of Lanczos is v' H v.
"""

from __future__ import annotations

from torch import nn

from sparse_ortho.errors import UserError
from sparse_ortho.linalg.lanczos import extreme, quadrature, trace
from sparse_ortho.measure.curvature import Curvature
from sparse_ortho.measure.subject import BATCH, Subject

RANGES = {"top": "at least 1", "images": "at least 1", "probes": "at least 0", "depth": "at least 1"}


def hessian(
    model: nn.Module,
    subject: Subject,
    *,
    top: int = 5,
    images: int = 1000,
    steps: int = 100,
    tolerance: float = 1e-3,
    probes: int = 8,
    depth: int = 40,
) -> dict[str, float]:
    """`steps` and `tolerance` are of the largest eigenvalues; no `probes`: neither trace nor density, of `depth` nodes
    a probe."""
    for name, value, least in (("top", top, 1), ("images", images, 1), ("probes", probes, 0), ("depth", depth, 1)):
        if value < least:
            raise UserError(f"measure.{name}", f"must be at least {least}", found=value)
    if steps < top:
        raise UserError("measure.steps", f"must be at least the {top} eigenvalues that are wanted", found=steps)
    batches = list(subject.batches("train", images, BATCH))
    curvature = Curvature(model, subject.surviving(model), batches, subject.loss)
    starts = subject.streams("measure", "hessian")
    ends = extreme(curvature, lambda: curvature.drawn(starts), top, steps=steps, tolerance=tolerance)
    found: dict[str, float] = {f"top/{i}": value for i, value in enumerate(ends.largest, start=1)}
    found |= {"largest": ends.largest[0], "smallest": ends.smallest, "residual": ends.residual}
    found |= {"products_top": ends.products, "weights": curvature.size}
    found["gradient_norm"] = float(curvature.gradient().norm())
    return {name: float(value) for name, value in (found | _density(curvature, subject, probes, depth)).items()}


def _density(curvature: Curvature, subject: Subject, probes: int, depth: int) -> dict[str, float]:
    """Trace, its standard error, and the density's nodes and weights."""
    samples: list[float] = []
    found: dict[str, float] = {}
    for probe in range(probes):
        signs = curvature.drawn(subject.streams("measure", f"hessian/probe{probe}"), signs=True)
        nodes, weights, _ = quadrature(curvature, signs, depth)
        samples.append(curvature.size * sum(w * node for w, node in zip(weights, nodes, strict=True)))
        found |= {f"node/{probe}/{j}": node for j, node in enumerate(nodes)}
        found |= {f"weight/{probe}/{j}": weight for j, weight in enumerate(weights)}
    if not samples:
        return {}
    mean, error = trace(samples)
    return {"trace": mean, "trace_error": error, "products": curvature.products} | found
