"""What a user writes: config.yaml, a study's study.yaml and one YAML an exhibit, checked before anything is planned."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sparse_ortho.errors import UserError
from sparse_ortho.plan.options import explain

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
STUDIES = ["eoi", "sparse_momentum", "tost", "er_lottery"]
Axis = str  # a key of a cell, dotted for an option: mask, init, density, model.activation


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Config(Strict):
    """config.yaml together with `--config key=value`."""

    studies: list[Name] = Field(STUDIES, description="studies that `snakemake` builds: folders under studies/")
    scale: Name = Field("quick", description="quick, laptop or paper: a scale that the studies define")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="where networks are trained")
    paths: dict[Name, str] = Field({}, description="data set -> your folder or file of it, instead of a download")
    bundle: int = Field(16, ge=1, le=64, description="cells of one kind that one process makes")
    store: bool = Field(True, description="false: serve nothing from the store")
    checkpoint: float = Field(30.0, ge=0, description="seconds between the checkpoints of a training")
    slots: int = Field(1, ge=1, description="trainings that share a GPU of this machine")
    max_hours: float | None = Field(None, gt=0, description="budget of a run: no seed begins that would end later")
    split_minutes: float = Field(60.0, gt=0, description="nominal minutes above which a seed is a job of its own")


class Block(Strict):
    """The seeds of a scale and what all its cells share."""

    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
    cell: dict[str, Any] = {}


class Grid(Strict):
    """Which cells an exhibit reads at one scale: products of lists, some left out, perhaps with seeds of their own."""

    cells: Annotated[list[dict[str, Any]], Field(min_length=1)]
    exclude: list[dict[str, Any]] = []
    tune: Annotated[dict[str, list[Any]], Field(description="options whose values are tried, such as train.lr")] = {}
    by: Annotated[str | None, Field(description="what chooses: validation_accuracy_last if nothing is said")] = None
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] | None = None
    footnotes: list[str] = []


class Exhibit(Strict):
    """One table or figure of a study."""

    kind: Name
    title: str
    caption: str
    category: str
    labels: dict[str, str] = {}
    order: int = 100
    scales: Annotated[dict[Name, Grid], Field(min_length=1)]
    rows: list[Axis] = []
    columns: list[Axis] = []
    metric: str = "test_accuracy_last"
    published: bool = False
    baseline: Annotated[str | None, Field(description="of a table: the value that all others are compared with")] = None
    footnotes: list[str] = []
    x: str = "epoch"
    y: str = "train_loss"
    panels: list[Axis] = []
    hue: Axis | None = None
    quantities: list[str] = ["mean", "min", "max"]
    dash: Axis | None = None
    log_x: bool = False
    log_y: bool = False
    layer: str | None = None


class Study(Strict):
    """One paper: what it is and what its cells share at each scale."""

    title: str
    paper: str
    scales: Annotated[dict[Name, Block], Field(min_length=1)]


Model = TypeVar("Model", bound=BaseModel)


def read_yaml(path: Path) -> Any:
    """A YAML file as plain data; a syntax error or a repeated key ends in one sentence with the line."""
    try:
        return yaml.load(path.read_text(), Loader=_UniqueKeys)
    except FileNotFoundError:
        raise UserError(str(path), "no such file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"{path}{line}", f"not valid YAML: {getattr(error, 'problem', None) or error}") from None


def parse(model: type[Model], value: Any, where: str) -> Model:
    """`value` as `model`; the first mistake as one sentence."""
    if not isinstance(value, dict):
        raise UserError(where, "must be a mapping of keys", found=value)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise explain(error, where, value, _allowed_at(model, error.errors()[0]["loc"])) from None


def _allowed_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The keys allowed where an unknown one was found: follows the location through nested models."""
    for part in location[:-1]:
        field = model.model_fields.get(str(part))
        inner = [m for m in (Block, Grid) if field and m.__name__ in str(field.annotation)]
        model = inner[0] if inner else model
    return list(model.model_fields)


class _UniqueKeys(yaml.SafeLoader):
    """YAML silently keeps the last of two equal keys; here that is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str | int | float | bool) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is there twice", key_node.start_mark
                )
            if isinstance(key, str | int | float | bool):
                seen.add(key)
        return super().construct_mapping(node, deep)
