"""KV transfers by hand-counted bytes and links."""

from __future__ import annotations

import pytest
import sympy as sp

from llmopt_calibration.laws import law
from llmopt_calibration.precision import Precision
from llmopt_calibration.step import SymbolicLayout
from llmopt_calibration.transfer import TransferLaw, kv_transfer_law
from llmopt_problems import catalog
from llmopt_problems.deployment import Layout
from llmopt_problems.models.facts import kv_bytes_of_sequence

LINK = catalog.link("InfiniBand-NDR")
BF16 = Precision("bf16", "bf16")


def _transfer(name: str, prefill: Layout, decode: Layout) -> TransferLaw:
    return kv_transfer_law(catalog.model(name), BF16, prefill, decode, LINK)


def test_seconds_are_latency_and_bytes_over_all_links() -> None:
    """Llama-3.3-70B: 80 layers, 8 KV heads of 128 + 128, bf16: 327,680 bytes a token, over 4 links."""
    send = law("send").defaults()
    transfer = _transfer("Llama-3.3-70B", Layout(4), Layout(8))
    expected = (
        LINK.latency_s
        + send["overhead_s"]
        + 4000 * 327_680 / (4 * LINK.bytes_per_s * send["network_efficiency"])
    )
    assert float(transfer.bytes_per_token) == 327_680
    assert float(transfer.seconds(4000)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", catalog.model_names())
def test_the_whole_context_moves(name: str) -> None:
    """A prefix hit is no argument of the law: what moves is what the sequence holds."""
    moved = _transfer(name, Layout(), Layout()).bytes_moved(3000)
    assert float(moved) == pytest.approx(kv_bytes_of_sequence(catalog.model(name), "bf16", 3000), rel=1e-12)


def test_no_link_is_faster_than_its_rate() -> None:
    transfer = _transfer("Llama-3.3-70B", Layout(8), Layout(8))
    assert float(transfer.seconds(10**6)) >= 327_680 * 10**6 / (8 * LINK.bytes_per_s)


def test_a_latent_goes_to_every_decode_rank_of_the_replica() -> None:
    one, all_ranks, parallel = (
        float(_transfer("DeepSeek-V3", Layout(8), decode).bytes_per_token)
        for decode in (Layout(), Layout(8), Layout(8, ep=8, dp=8))
    )
    assert one == 61 * 576 * 2
    assert all_ranks == 8 * one
    assert parallel == one


def test_kv_heads_are_repeated_beyond_their_number() -> None:
    few, many = (float(_transfer("Qwen3-235B-A22B", Layout(4), Layout(tp)).bytes_per_token) for tp in (4, 8))
    assert many == 2 * few


def test_windows_are_cut_off() -> None:
    transfer = _transfer("gpt-oss-120b", Layout(), Layout())
    full = 18 * 8 * (64 + 64) * 2
    assert float(transfer.bytes_moved(50_001) - transfer.bytes_moved(50_000)) == full
    assert float(transfer.bytes_moved(11) - transfer.bytes_moved(10)) == 2 * full


def test_the_smaller_side_limits() -> None:
    rates = _transfer("Llama-3.3-70B", Layout(2), Layout(8))
    assert float(rates.receiver_bytes_per_s) == 4 * float(rates.sender_bytes_per_s)
    assert float(rates.seconds(1000)) == pytest.approx(
        float(_transfer("Llama-3.3-70B", Layout(2), Layout(2)).seconds(1000))
    )


def test_layouts_may_be_symbols() -> None:
    split, n = SymbolicLayout(), sp.Symbol("n", positive=True)
    symbolic = kv_transfer_law(catalog.model("DeepSeek-V3"), BF16, Layout(8), split, LINK).seconds(n)
    values = {**dict(zip(split.symbols(), (4, 2, 1, 2), strict=True)), n: 777}
    expected = _transfer("DeepSeek-V3", Layout(8), Layout(4, 2, dp=2)).seconds(777)
    assert float(symbolic.subs(values)) == pytest.approx(float(expected), rel=1e-12)
