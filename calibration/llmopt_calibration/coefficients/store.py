"""Coefficients of one accelerator and engine: measured where a fit exists, else transferred, else physics
defaults.

A data file holds the fits of one accelerator × engine, one entry a family (a family names its precision, so
dtypes are apart). A family without an entry takes the fit of another engine on the same accelerator, or of
the accelerator most like it (`donors`), and is labelled *transferred*; a family that nobody measured takes
the defaults that its law declares and is labelled *default*. The label only ever goes down on this way.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from llmopt_calibration.coefficients.donors import donors
from llmopt_calibration.coefficients.residual import Residual, parse_residual
from llmopt_calibration.coefficients.transfer_errors import transfer_errors
from llmopt_calibration.coefficients.user_files import CoefficientError, user_file
from llmopt_calibration.engine import engine_layer
from llmopt_calibration.laws import Law, law

Basis = Literal["measured", "transferred", "default"]
ENGINES = ("sglang", "vllm", "trtllm")


@dataclass(frozen=True, slots=True)
class FamilyCoefficients:
    """The numbers of one law and where they come from."""

    family: str
    values: Mapping[str, float]
    standard_errors: Mapping[str, float]
    """Of the coefficients that the data determined; the others kept their defaults."""
    basis: Basis
    held_out_error: float | None
    """Mean absolute relative error on shapes not fitted; None for defaults."""
    training_range: Mapping[str, tuple[float, float]]
    """Smallest and largest value of every shape symbol that was fitted; empty for defaults."""
    source: str
    residual: Residual | None = None
    """A learned correction of the law inside the shapes that it was trained on."""


@dataclass(frozen=True, slots=True)
class CoefficientSet:
    """Coefficients of every law on one accelerator under one engine."""

    accelerator: str
    engine: str
    families: Mapping[str, FamilyCoefficients]
    margin: float = 1.0
    """Factor on the time of every operator of a step: what laws are wanted to be safe by (`lengthened`)."""

    def lengthened(self, margin: float) -> CoefficientSet:
        """The same coefficients for steps that take `margin` times as long."""
        return replace(self, margin=self.margin * margin)

    def family(self, name: str) -> FamilyCoefficients:
        """Coefficients of the law `name`; the law's defaults, labelled so, where nothing was fitted."""
        found = self.families.get(name)
        return default_coefficients(law(name)) if found is None else found

    def laws_alone(self) -> CoefficientSet:
        """The same coefficients without learned residuals."""
        plain = {name: replace(item, residual=None) for name, item in self.families.items()}
        return replace(self, families=plain)


def default_coefficients(of: Law) -> FamilyCoefficients:
    """What physics suggests for a law that nobody fitted."""
    return FamilyCoefficients(of.family, of.defaults(), {}, "default", None, {}, "physics default of the law")


def load(
    accelerator: str,
    engine: str,
    directory: Path | None = None,
    *,
    farther_than: float | None = None,
) -> CoefficientSet:
    """The coefficients of `accelerator` (a catalog name such as H200-SXM) under `engine`.

    Families in the files of `directory`, where it has files of this accelerator, come before the bundled
    ones: those of `engine` first, then those of other engines, labelled transferred. With
    `farther_than` the files of the accelerator and of those no farther from it (`distance`) are left out, as
    if nobody had measured them. Raises `ValueError` on an unknown engine, `CoefficientError` on a file of
    `directory` that cannot be used.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine {engine!r} is unknown; known: {', '.join(ENGINES)}")
    families: dict[str, FamilyCoefficients] = {}
    for donor in reversed(donors(accelerator, farther_than or 0.0)):
        families |= scaled(of_accelerator(donor, engine), donor, engine)
    if farther_than is None:
        families |= of_accelerator(accelerator, engine)
    families |= {"engine_step": engine_step_coefficients(engine)}
    if directory is not None:
        families |= user_families(directory, accelerator, engine, families)
    return CoefficientSet(accelerator, engine, families)


def scaled(
    families: Mapping[str, FamilyCoefficients], donor: str, engine: str
) -> dict[str, FamilyCoefficients]:
    """The same coefficients, labelled as another accelerator's, with the error that such a transfer has."""
    errors = transfer_errors(engine)
    return {
        name: replace(
            item,
            basis="transferred",
            held_out_error=errors.get(name),
            source=f"{item.source}, scaled from {donor}",
        )
        for name, item in families.items()
    }


def of_accelerator(accelerator: str, engine: str) -> dict[str, FamilyCoefficients]:
    """What the bundled files of an accelerator say: those of other engines only where `engine` has none."""
    families: dict[str, FamilyCoefficients] = {}
    for other in ENGINES:
        if other != engine:
            families = transferred(read_file(accelerator, other)) | families
    families |= read_file(accelerator, engine)
    return families


def user_families(
    directory: Path, accelerator: str, engine: str, shipped: Mapping[str, FamilyCoefficients]
) -> dict[str, FamilyCoefficients]:
    """Families of the user's files: all of `engine`; of another engine those not measured for `engine`."""
    found: dict[str, FamilyCoefficients] = {}
    for other in ENGINES:
        if other != engine:
            found |= transferred(read_user_file(directory, accelerator, other))
    measured = {name for name, item in shipped.items() if item.basis == "measured"}
    kept = {name: item for name, item in found.items() if name not in measured}
    return kept | read_user_file(directory, accelerator, engine)


def engine_step_coefficients(engine: str) -> FamilyCoefficients:
    """The law of an engine's step from its engine layer: fitted to served requests, not to tables."""
    layer = engine_layer(engine)
    values = {name: layer.value(name) for name in ("step_s", "layer_s")}
    source = f"engine layer: {layer.source}"
    return FamilyCoefficients("engine_step", values, {}, "measured", layer.held_out_tpot, {}, source)


def transferred(families: Mapping[str, FamilyCoefficients]) -> dict[str, FamilyCoefficients]:
    """The same coefficients, labelled as taken from another engine."""
    return {name: replace(item, basis="transferred") for name, item in families.items()}


@cache
def read_file(accelerator: str, engine: str) -> Mapping[str, FamilyCoefficients]:
    """Families fitted for exactly this accelerator and engine; empty when there is no file."""
    file = resources.files(__package__).joinpath("data", f"{accelerator}.{engine}.json")
    if not file.is_file():
        return {}
    entries = json.loads(file.read_text(encoding="utf-8"))["families"]
    return {name: parse_family(name, entry) for name, entry in entries.items()}


def read_user_file(directory: Path, accelerator: str, engine: str) -> dict[str, FamilyCoefficients]:
    """Families in the file of this accelerator and engine in `directory`; empty when there is no file."""
    content = user_file(directory, accelerator, engine)
    try:
        return {name: parse_family(name, entry) for name, entry in content.items()}
    except (KeyError, TypeError, ValueError) as error:
        place = directory / f"{accelerator}.{engine}.json"
        raise CoefficientError(f"{place}: {error}; calibrate again with this version") from error


def fitted_pairs() -> tuple[tuple[str, str], ...]:
    """Every (accelerator, engine) that has a shipped data file, sorted."""
    files = resources.files(__package__).joinpath("data").iterdir()
    names = sorted(file.name for file in files if file.name.endswith(".json"))
    return tuple((name.rsplit(".", 2)[0], name.rsplit(".", 2)[1]) for name in names)


def parse_family(name: str, entry: Mapping[str, Any]) -> FamilyCoefficients:
    """One entry of a data file; `ValueError` when its coefficients are not those that the law declares."""
    numbers = entry["coefficients"]
    declared = {item.symbol.name for item in law(name).coefficients}
    if set(numbers) != declared:
        raise ValueError(
            f"{name}: coefficients {sorted(numbers)} but the law declares {sorted(declared)}; refit"
        )
    source = entry["source"]
    less = f" less {source['subtracted_table']}" if source["subtracted_table"] else ""
    residual = parse_residual(entry["residual"]) if "residual" in entry else None
    learned = "" if residual is None else ", with a learned residual inside the measured shapes"
    error = entry["held_out_mape"] if residual is None else residual.held_out_mape
    return FamilyCoefficients(
        family=name,
        values={key: float(item["value"]) for key, item in numbers.items()},
        standard_errors={
            key: float(item["standard_error"]) for key, item in numbers.items() if "standard_error" in item
        },
        basis=entry["basis"],
        held_out_error=float(error),
        training_range={
            key: (float(low), float(high)) for key, (low, high) in entry["training_range"].items()
        },
        source=f"{source['package']} {source['package_version']}, {source['table']}{less}{learned}",
        residual=residual,
    )
