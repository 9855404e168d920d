"""Kernel profiles: refused rows, and a step law that is the sum of what was measured."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from llmopt_calibration.compiled import step_seconds
from llmopt_calibration.imbalance import ContextSpread, context_spread, imbalance_share
from llmopt_calibration.profiled import ProfiledStep, profiled_law
from llmopt_calibration.sources.errors import SourceError
from llmopt_calibration.sources.llmservingsim import KernelProfile, read_kernel_profile
from llmopt_calibration.tabulated import compile_tabulated

MEASURED = Path(__file__).parents[2].parent / "shared" / "data" / "open_loop"
CHUNKS, BEFORES = (0, 16, 64), (0, 32, 128)
DECODES, CONTEXTS = (0, 1, 4, 8), (0, 16, 64, 512)
LAYERS = ("embedding", "final_layernorm", "layernorm", "qkv_proj")
META = {"gpu": "X", "model": "m", "vllm_version": "0.19.0", "tp_degrees": [1, 2]}
META |= {"skew_fit": {"enabled": True}}


def attention_us(chunk: float, before: float, decodes: float, context: float) -> float:
    """Linear on every axis, with products: what interpolation between knots gives back exactly."""
    return 0.1 * chunk + 1e-3 * chunk * before + 0.02 * decodes * context + 1e-3 * chunk * decodes + 3.0


def attention_rows() -> list[tuple[float, ...]]:
    rows = []
    for shape in itertools.product(CHUNKS, BEFORES, DECODES, CONTEXTS):
        chunk, before, decodes, context = shape
        possible = chunk + decodes > 0 and (chunk > 0 or before == 0) and (decodes > 0) == (context > 0)
        if possible and not (chunk > 0 and decodes == 8):  # large batches are profiled without prefill only
            rows.append((*shape, attention_us(*shape)))
    return rows


def write_profile(directory: Path, attention: list[tuple[float, ...]] | None = None) -> Path:
    """A small profile: dense layers take 2 µs a token and 10 µs, a head 5 µs a sequence."""
    folder = directory / "tp1"
    folder.mkdir()
    (directory / "meta.yaml").write_text(yaml.safe_dump(META))
    dense = [(layer, n, 10.0 + 2.0 * n) for layer in LAYERS for n in (1, 8, 64, 128)]
    pd.DataFrame(dense, columns=["layer", "tokens", "time_us"]).to_csv(folder / "dense.csv", index=False)
    heads = [("lm_head", n, 5.0 * n) for n in (1, 8, 16)]
    columns = ["layer", "sequences", "time_us"]
    pd.DataFrame(heads, columns=columns).to_csv(folder / "per_sequence.csv", index=False)
    columns = ["prefill_chunk", "kv_prefill", "n_decode", "kv_decode", "time_us"]
    frame = pd.DataFrame(attention or attention_rows(), columns=columns)
    frame.to_csv(folder / "attention.csv", index=False)
    skew = [(8, 2, 0, 0, 512, 224, 100.0, 300.0, 150.0), (8, 2, 16, 0, 512, 224, 100.0, 300.0, 120.0)]
    skew += [(8, 2, 0, 0, 64, 28, 100.0, 90.0, 95.0)]  # the longest no slower than the mean
    columns = ["n", "nb", "pc", "kp", "kv_big", "kv_mean", "t_mean_us", "t_max_us", "t_skew_us"]
    pd.DataFrame(skew, columns=columns).to_csv(folder / "skew.csv", index=False)
    return directory


@pytest.fixture
def profile(tmp_path: Path) -> KernelProfile:
    return read_kernel_profile(write_profile(tmp_path), 1)


def dense_us(tokens: float, blocks: int) -> float:
    """Embedding and last norm once, a block's norm twice, its projection once."""
    return (2 + blocks * 3) * (10.0 + 2.0 * tokens)


def test_law_is_the_sum_of_the_kernels(profile: KernelProfile) -> None:
    """A step's time is the measured formula itself, where interpolation is exact, padded tokens included."""
    law = compile_tabulated(profiled_law(profile, ProfiledStep(3, (1, 2, 4, 16, 32), overhead_s=1e-3)))
    arrays, scratch, rng = law.arrays(), law.scratch(), np.random.default_rng(1)
    for _ in range(500):
        b, p, before = int(rng.integers(0, 9)), int(rng.integers(16, 65)), int(rng.integers(0, 3000))
        p = p if rng.random() < 0.6 or b == 0 else 0
        context = float(rng.uniform(16, 2000))
        tokens = b + p
        padded = next((size for size in (1, 2, 4, 16, 32) if size >= tokens), tokens)
        attention = attention_us(p, before if p else 0, b, context if b else 0.0)
        expected = 1e-3 + 1e-6 * (dense_us(padded, 3) + 5.0 * (b + (p > 0)) + 3 * attention)
        state = (b, b * context, p, 0.0, tokens, b + (p > 0), float(before if p else 0), 0.0)
        assert step_seconds(arrays, scratch, *state) == pytest.approx(expected, rel=1e-12)
    assert np.isnan(step_seconds(arrays, scratch, 0, 0.0, 129, 0.0, 129, 1, 0.0, 0.0))


def test_unequal_contexts_take_the_measured_share(profile: KernelProfile) -> None:
    """Eight decodes whose longest context is twice the mean lie a quarter of the way, as the profile says."""
    spread = ContextSpread(100.0, np.full(9, 200.0), np.full(9, 80.0))
    law = compile_tabulated(profiled_law(profile, ProfiledStep(1, spread=spread)))
    plain = compile_tabulated(profiled_law(profile, ProfiledStep(1)))
    for p, share in ((0, 0.25), (16, 0.1)):
        seconds = []
        for step, context in ((law, 64.0), (plain, 64.0), (plain, 128.0)):
            state = (8, 8 * context, p, 0.0, 8 + p, 9, 0.0, 0.0)
            seconds.append(step_seconds(step.arrays(), step.scratch(), *state))
        assert (seconds[0] - seconds[1]) / (seconds[2] - seconds[1]) == pytest.approx(share, rel=1e-9)


def test_nonsense_rows_are_counted(tmp_path: Path) -> None:
    bad = [(0, 0, 0, 0, 5.0), (16, 0, 0, 0, -1.0), (16, 0, 0, 0, np.nan), (0, 64, 1, 16, 5.0)]
    bad += [(16.5, 0, 0, 0, 1.0), (16, 0, 0, 0, 1e9), (16, 0, 0, 0, 4.6)]
    profile = read_kernel_profile(write_profile(tmp_path, attention_rows() + bad), 1)
    dropped = profile.dropped["attention"]
    assert dropped == {
        "not a number": 1,
        "not a count": 1,
        "no time": 1,
        "longer than 10 s": 1,
        "empty batch": 1,
        "context of no tokens": 1,
        "repeated shape": 1,
    }
    assert len(profile.attention) == len(attention_rows())
    assert profile.dropped["skew"]["longest no slower than mean"] == 1
    assert profile.provenance["attention"].table == "tp1/attention.csv"


def test_a_sweep_that_meta_disables_is_not_read(tmp_path: Path) -> None:
    write_profile(tmp_path)
    (tmp_path / "meta.yaml").write_text(yaml.safe_dump(META | {"skew_fit": {"enabled": False}}))
    assert read_kernel_profile(tmp_path, 1).skew.empty
    assert len(read_kernel_profile(tmp_path, 1, skewed=True).skew) == 2


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: (d / "meta.yaml").unlink(), "meta.yaml"),
        (lambda d: (d / "meta.yaml").write_text("[1, 2]"), "lacks gpu"),
        (lambda d: (d / "meta.yaml").write_text("{"), "is no YAML"),
        (lambda d: (d / "tp1" / "dense.csv").unlink(), "no such file"),
        (lambda d: (d / "tp1" / "dense.csv").write_text(""), "is no CSV"),
        (lambda d: (d / "tp1" / "dense.csv").write_text("layer,tokens\na,1\n"), "lacks the columns"),
        (lambda d: (d / "tp1" / "dense.csv").write_text("layer,tokens,time_us\na,1,x\n"), "no row is left"),
        (lambda d: (d / "tp1" / "dense.csv").write_text("layer,tokens,time_us\na,1,2\n"), "one point"),
    ],
)
def test_damaged_profiles_are_refused(tmp_path: Path, damage, message: str) -> None:
    damage(write_profile(tmp_path))
    with pytest.raises(SourceError, match=message):
        read_kernel_profile(tmp_path, 1)


def test_a_degree_that_was_not_profiled_is_refused(tmp_path: Path) -> None:
    write_profile(tmp_path)
    with pytest.raises(SourceError, match="tp 4 was not profiled"):
        read_kernel_profile(tmp_path, 4)


def test_a_profile_without_collectives_makes_no_law(tmp_path: Path) -> None:
    (write_profile(tmp_path) / "tp1").rename(tmp_path / "tp2")
    with pytest.raises(SourceError, match="all-reduces"):
        profiled_law(read_kernel_profile(tmp_path, 2), ProfiledStep(1))


def test_spread_is_the_order_statistics_of_draws() -> None:
    """Against 20,000 batches drawn: mean, longest and shortest context within 1%."""
    rng = np.random.default_rng(3)
    inputs, outputs = rng.integers(1, 900, 80), rng.integers(1, 300, 80)
    spread = context_spread(inputs, outputs, 32)
    for n in (1, 2, 8, 32):
        drawn = rng.choice(80, (20_000, n), p=outputs / outputs.sum())
        contexts = inputs[drawn] + rng.random(drawn.shape) * outputs[drawn]
        assert spread.longest_tokens[n] == pytest.approx(contexts.max(axis=1).mean(), rel=0.01)
        assert spread.shortest_tokens[n] == pytest.approx(contexts.min(axis=1).mean(), rel=0.02)
        assert spread.mean_tokens == pytest.approx(contexts.mean(), rel=0.01)


def test_share_takes_the_nearest_profiled_shape() -> None:
    rows = [(2, 1, 0, 0.5), (64, 16, 0, 0.06), (64, 48, 0, 0.2), (64, 16, 128, 0.08), (128, 32, 0, 0.02)]
    skew = pd.DataFrame(rows, columns=["n", "nb", "pc", "share"]).astype(float)
    assert imbalance_share(skew, 80, 0.3, mixed=False) == 0.06
    assert imbalance_share(skew, 100, 0.3, mixed=False) == 0.02
    assert imbalance_share(skew, 60, 0.7, mixed=False) == 0.2
    assert imbalance_share(skew, 64, 0.3, mixed=True) == 0.08
    assert imbalance_share(skew, 1, 0.3, mixed=False) == 0.0


@pytest.mark.parametrize("name", ["RTX4090_Llama-3.1-8B", "RTXPRO6000_Llama-3.1-8B"])
def test_measured_skew_times_are_sums_over_three_repetitions(name: str) -> None:
    """Why only their ratio is read: where both tables have a shape, one time is thrice the other."""
    if not (MEASURED / name).is_dir():
        pytest.skip(f"no measured data at {MEASURED / name}")
    folder = MEASURED / name / "kernels" / "tp1"
    keys = {"pc": "prefill_chunk", "kp": "kv_prefill", "n": "n_decode", "kv_big": "kv_decode"}
    skew = pd.read_csv(folder / "skew.csv").rename(columns=keys)
    both = skew.merge(pd.read_csv(folder / "attention.csv"), on=list(keys.values()))
    assert len(both) > 1000
    assert float((both["t_max_us"] / both["time_us"]).median()) == pytest.approx(3.0, rel=0.02)
