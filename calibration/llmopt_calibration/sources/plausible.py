"""Whether measured times can be true on an accelerator: units and devices told apart by physics.

The floor of an operator is what its FLOP, bytes and link take at the data sheet's rates. Caches and
in-network reduction can beat the memory and link terms by small factors, a wrong unit by a thousand, so a
time is refused below `FASTEST_SHARE` of the floor, and a whole family when its median is beyond what any
kernel does: that is a unit, and the error says which one it looks like.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray
from sympy import Expr, Max, lambdify

from llmopt_calibration.laws import HARDWARE, Law, hardware_values, law
from llmopt_calibration.sources.errors import SourceError
from llmopt_calibration.sources.measurements import Measurements, without
from llmopt_problems import catalog
from llmopt_problems.hardware.spec import AcceleratorSpec

Array = NDArray[np.float64]
FASTEST_SHARE = 0.4
"""A row below this share of its floor is refused: L2 hits and in-network reduction stay above it."""
SLOWEST_RATIO = 200.0
"""A median this many times the law's default prediction is a unit, not a slow kernel."""
FASTEST_RATIO = 0.05
UNITS = ("s", "ms", "us", "ns")


def checked(data: Measurements, accelerator: AcceleratorSpec) -> Measurements:
    """`data` without the rows that are faster than physics, counted by that reason.

    Raises `SourceError` when the file names another device than `accelerator`, and when the family as a whole
    is off by what a wrong unit makes.
    """
    _check_device(data, accelerator)
    measured_law = law(data.family)
    expected = evaluated(measured_law, accelerator, data)
    _check_unit(data, float(np.median(data.seconds / expected)))
    floor = floor_seconds(measured_law, accelerator, data)
    return without(data, data.seconds < FASTEST_SHARE * floor, "faster than physics allows")


def evaluated(of: Law, accelerator: AcceleratorSpec, data: Measurements) -> Array:
    """Seconds that the law predicts for every row with its default coefficients."""
    values = {item.symbol: item.default for item in of.coefficients}
    return _numbers(of, of.seconds.subs(values), accelerator, data)


def floor_seconds(of: Law, accelerator: AcceleratorSpec, data: Measurements) -> Array:
    """The least time of every row: the largest of FLOP, memory and link traffic at full rate.

    Traffic that may go over a link or the network is charged at the faster of the two.
    """
    rates = hardware_values(accelerator, of.arithmetic)
    link = max(rates[HARDWARE.link_bytes_per_s], rates[HARDWARE.network_bytes_per_s])
    floor = Max(
        of.flops / HARDWARE.peak_flops_per_s, of.hbm_bytes / HARDWARE.hbm_bytes_per_s, of.network_bytes / link
    )
    return _numbers(of, floor, accelerator, data)


def _numbers(of: Law, expression: Expr, accelerator: AcceleratorSpec, data: Measurements) -> Array:
    function = lambdify([list(of.shape)], expression.xreplace(hardware_values(accelerator, of.arithmetic)))
    columns = data.shape[[symbol.name for symbol in of.shape]].to_numpy(float).T
    return np.broadcast_to(np.asarray(function(columns), dtype=float), data.seconds.shape).copy()


def _check_unit(data: Measurements, ratio: float) -> None:
    if FASTEST_RATIO <= ratio <= SLOWEST_RATIO:
        return
    steps = round(float(np.log10(ratio)) / 3)
    kind = f"{ratio:.3g} times what the hardware can do"
    looks = f": a factor of 1000{'' if abs(steps) == 1 else f' to the {abs(steps)}'} off" if steps else ""
    unit = "a smaller" if ratio > 1 else "a larger"
    names = ", ".join(f"time_{name}" for name in UNITS)
    raise SourceError(
        data.provenance.table,
        f"the times of {data.family} have the wrong unit{looks} (their median is {kind})",
        f"name the unit in the column ({names}); it looks like {unit} one",
    )


def _check_device(data: Measurements, accelerator: AcceleratorSpec) -> None:
    device = data.provenance.device
    if not device:
        return
    known = catalog_device(device)
    is_cpu = device.casefold().startswith("cpu")
    if known == accelerator.name or (known is None and not is_cpu):
        return
    if is_cpu and accelerator.name not in catalog.accelerator_names():
        return
    raise SourceError(
        data.provenance.table,
        f"measured on {device}, not on {accelerator.name}",
        f"calibrate it as {known}" if known else "describe that device in a file and give it with --hardware",
    )


def catalog_device(device: str) -> str | None:
    """The accelerator that a driver's device name means: the longest catalog name in it, or None."""
    words = _condensed(device)
    stems = {
        stem: name
        for name in catalog.accelerator_names()
        if (stem := _condensed(re.sub(r"[-_ ]?(SXM\d?|NVL\d*|80GB).*$", "", name)))
    }
    found = [stem for stem in stems if stem in words]
    return stems[max(found, key=len)] if found else None


def _condensed(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold())
