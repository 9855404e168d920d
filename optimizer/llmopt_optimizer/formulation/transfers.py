"""The KV transfer between two pools as each pool sees it.

The transfer is as slow as its slower end, and each end's time depends on its own layout only, so that the
two pools stay separate columns. One thing couples them in truth: a latent cache is copied to every decode
rank that keeps it, and those copies leave through the sender. The sender's time here counts one copy; the
simulator counts all of them.
"""

from __future__ import annotations

from llmopt_calibration.step import SymbolicLayout
from llmopt_calibration.transfer import TransferLaw, kv_transfer_law
from llmopt_optimizer.formulation.disaggregated import Transfer
from llmopt_optimizer.formulation.pool import PoolInputs
from llmopt_optimizer.scenario import Scenario
from llmopt_optimizer.symbols import FrozenSymbols, PoolSymbols
from llmopt_problems.deployment import Layout
from llmopt_problems.hardware.spec import AcceleratorSpec, LinkSpec


def transfer_between(
    scenario: Scenario, frozen: FrozenSymbols, sender: PoolInputs, receiver: PoolInputs
) -> Transfer:
    """The transfer of a mean request from `sender` to `receiver`, both under symbolic decisions."""
    leaving = transfer_law(scenario, sender.accelerator, _layout(sender.symbols), Layout())
    arriving = transfer_law(scenario, receiver.accelerator, Layout(), _layout(receiver.symbols))
    tokens, rules = frozen.input_tokens, scenario.problem.search.kv_transfer
    return Transfer(
        latency_s=max(leaving.latency_s, arriving.latency_s) + rules.overhead_s,
        layers=scenario.model.layer_count if rules.mode == "per_layer" else 1,
        send_s=leaving.bytes_moved(tokens) / leaving.sender_bytes_per_s,
        receive_s=arriving.bytes_moved(tokens) / arriving.receiver_bytes_per_s,
    )


def transfer_law(
    scenario: Scenario,
    accelerator: AcceleratorSpec,
    prefill: Layout | SymbolicLayout,
    decode: Layout | SymbolicLayout,
    link: LinkSpec | None = None,
) -> TransferLaw:
    """The transfer over `link`, else over the problem's KV link, else over the network of `accelerator` as it
    was fitted.
    """
    fitted = scenario.site(accelerator.name).coefficients
    way = link or _link(scenario, accelerator)
    return kv_transfer_law(scenario.model, scenario.precision, prefill, decode, way, fitted)


def _link(scenario: Scenario, accelerator: AcceleratorSpec) -> LinkSpec:
    """The way between nodes; formulas take every cache over it, also where pools may share nodes."""
    given = scenario.problem.hardware.kv_link
    if given is None:
        return accelerator.network
    return LinkSpec("kv_link", given.bandwidth_bytes_per_s, given.latency_s, "problem file", reached=True)


def _layout(symbols: PoolSymbols) -> SymbolicLayout:
    return SymbolicLayout(symbols.tp, symbols.pp, symbols.ep, symbols.dp)
