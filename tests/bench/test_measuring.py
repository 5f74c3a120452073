"""What `lightfusion bench` tells is measured fairly, counted right, and has the form that scripts read."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import joint
import pytest
import torch
from samples import ids, latents, reference, references, relative_error
from tiny import CONFIG

from lightfusion_core import CapabilityError, InputError, LightFusion
from lightfusion_core.bench import counts, memory, step, timing
from lightfusion_core.bench.plain import JointForward
from lightfusion_core.bench.presets import PRESETS, preset, random_generation
from lightfusion_core.bench.report import Report, Series
from lightfusion_core.bench.requests import Request
from lightfusion_core.bench.settings import Settings
from lightfusion_core.bench.timing import Spread
from lightfusion_core.cli import main
from lightfusion_core.commands.bench import SUBJECTS
from lightfusion_core.understanding.encoder import Encoder

CPU = torch.device("cpu")
TINY = Settings(preset("tiny"), CPU, torch.float32, rounds=1, side=3, prompt=5)


def run(capsys: pytest.CaptureFixture[str], *line: object) -> tuple[int, str, str]:
    code = main(["bench", *(str(word) for word in line)])
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return code, said.out, said.err


def test_tasks_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards fairness: a task that always came second would always find warm caches or a hot processor."""
    order: list[str] = []
    tasks = {name: lambda name=name: order.append(name) for name in ("a", "b", "c")}
    times = timing.interleaved(tasks, 4, CPU, warmup=1)
    assert "".join(order) == "abc" + "abc" + "cba" + "abc" + "cba"
    assert {name: len(found) for name, found in times.items()} == {"a": 4, "b": 4, "c": 4}


def test_ratios_are_paired_round_by_round() -> None:
    """Guards against a ratio of medians, which a machine that slows down half way spoils."""
    times = {"ours": [1.2, 2.4, 12.0, 2.4, 1.2], "plain": [1.0, 2.0, 10.0, 2.0, 1.0]}
    found = timing.ratio(times, "ours", "plain")
    assert (found.low, found.median, found.high) == pytest.approx((1.2, 1.2, 1.2))
    assert Spread.of([4.0, 1.0, 3.0, 2.0, 5.0]) == Spread(3.0, 2.0, 4.0, 5)
    assert Spread(1.2, 1.1, 1.3, 9).straddles(1.25) and not Spread(1.2, 1.1, 1.22, 9).straddles(1.25)


@pytest.mark.parametrize(("side", "count"), [(3, 0), (4, 1)])
def test_operations_in_closed_form_are_those_that_torch_counts(side: int, count: int) -> None:
    """Guards the bound of the step's time, attention included."""
    settings = replace(TINY, side=side)
    config, request = settings.config, Request(side, count, 7)
    ours = step.our_step(settings, random_generation(config, CPU, torch.float32), request)
    assert counts.counted(ours) == counts.step(config, side**2, [request.context(config) + 2] * 2)
    assert counts.counted(step.plain_step(settings)) == counts.plain_step(config.dit, side**2, 2)


def test_the_published_setting_gives_the_known_ratios() -> None:
    """Guards the setting that the bounds were given for: context lengths and operation counts."""
    config = preset("bench")
    dit = config.dit
    assert (dit.dim, dit.num_heads, dit.num_layers, dit.ffn_dim, dit.text_len) == (1024, 8, 8, 4736, 512)
    assert (config.fusion.num_layers, dit.text_dim, dit.in_dim) == (7, 1024, 48)
    plain = counts.plain_step(dit, 1024, 2)
    for references_, tokens, wanted in ((0, 102, 1.23), (1, 1491, 1.35)):
        request = Request(config.defaults.size // config.token_size, references_)
        assert (request.tokens, request.context(config)) == (1024, tokens)
        assert counts.step(config, 1024, [tokens + 2] * 2) / plain == pytest.approx(wanted, abs=0.011)


def test_the_plain_step_is_the_stock_transformer() -> None:
    """Guards the other side of the ratio against a handicap: one modulation a picture, attention as it comes."""
    from diffusers.models.transformers.transformer_wan import WanAttnProcessor

    from lightfusion_core.bench.plain import diffusers_wan

    model = diffusers_wan(TINY.config.dit, CPU, torch.float32)
    assert model.config.cross_attn_norm and model.config.in_channels == TINY.config.dit.in_dim
    assert all(type(block.attn1.processor) is WanAttnProcessor for block in model.blocks)
    out = model(torch.randn(2, 48, 1, 4, 6), torch.tensor([600, 600]), torch.randn(2, 16, 32), return_dict=False)[0]
    assert out.shape == (2, 48, 1, 4, 6) and out.isfinite().all()


@pytest.mark.parametrize("count", [0, 2])
def test_the_joint_forward_is_the_plain_one(frozen: LightFusion, count: int) -> None:
    """Guards the other side of the cache's ratio: it must compute the same, and compute it whole."""
    images, prompt, negative = references(count), ids("a red circle"), ids("blurred")
    x = latents(1, 3, 5)
    sov, eov = CONFIG.special_tokens.sov_token_id, CONFIG.special_tokens.eov_token_id
    encoder = Encoder(frozen.understanding, CONFIG, (sov, eov), coupled=True)
    forward = JointForward(frozen.generation, frozen.understanding, encoder.encode([prompt], images, [negative]))
    full = joint.velocity(frozen, joint.pieces([prompt], images), x, 600)
    other = joint.velocity(frozen, joint.pieces([negative], images), x, 600)
    assert relative_error(forward(x, 600, 3.0), other + 3 * (full - other)) <= 2e-5


def test_random_references_have_the_sizes_of_real_ones() -> None:
    """Guards the context's length, on which an edit's time hangs."""
    request = Request(3, 2, 7)
    config = TINY.config
    conditioning = request.conditioning(config, CPU, torch.float32)
    assert sum(segment.split.length for segment in conditioning.full.segments) == request.context(config)
    assert conditioning.no_image is not None and conditioning.no_image.segments[0].split.columns == 7
    prepared = request.prepared(config)[0]
    assert prepared.latent is not None and prepared.latent.shape == reference(vae=(3, 3)).latent.shape
    assert len(request.prompt_ids(config)) == 7 and max(request.prompt_ids(config)) < config.text.vocab_size


def test_peak_memory_sees_what_came_and_went() -> None:
    """Guards the sampler: memory that is held only for a moment counts."""
    with memory.PeakMemory(CPU) as peak:
        held = torch.ones(1 << 25)
        held.add_(1)
        del held
    assert 1 << 27 <= peak.rise < (1 << 27) * 1.3


@pytest.mark.parametrize(
    "subject", [pytest.param(name, marks=[pytest.mark.slow] * (name == "memory")) for name in SUBJECTS]
)
def test_every_subject_runs_and_writes_json(subject: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if subject == "gpu":
        pytest.importorskip("lightfusion_core.generation.scaled", reason="this engine holds no fp8 weights")
    file = tmp_path / "made" / "out.json"
    line = (subject, "--preset", "tiny", "--size", 64, "--prompt", 5, "--rounds", 2, "--device", "cpu", "--quiet")
    code, out, _ = run(capsys, *line, "--json", file)
    assert code == 0 and "tiny" in out
    told = json.loads(file.read_text(encoding="utf-8"))
    assert told["settings"]["preset"] == "tiny" and told["machine"]["threads"] >= 1 and told["table"]["rows"]


def test_the_steps_json_has_the_promised_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "step.json"
    run(capsys, "step", "--preset", "tiny", "--size", 64, "--rounds", 3, "--device", "cpu", "--json", file)
    told = json.loads(file.read_text(encoding="utf-8"))
    for task in ("text_to_image", "edit_one_reference"):
        assert told[task]["ratio_quartiles"][0] <= told[task]["ratio"] <= told[task]["ratio_quartiles"][1]
        assert told[task]["operations_ratio"] > 0 and told[task]["seconds"]["count"] == 3


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (("step", "--preset", "huge"), "There is no preset 'huge'"),
        (("step", "--rounds", "0"), "--rounds must be between 1 and 1,000, found 0"),
        (("step", "--rounds", "1000001"), "--rounds must be between 1 and 1,000, found 1000001"),
        (("cache", "--prompt", "1"), "--prompt must be between 3 and 1,000,000, found 1"),
        (("step", "--preset", "tiny", "--size", "100000"), "draws up to"),
        (("step", "--device", "abacus"), "abacus"),
        (("gpu", "--device", "cpu"), "measured on a GPU"),
        (("load", "--preset", "tiny", "--device", "cpu", "--model", "nowhere"), "nowhere"),
    ],
)
def test_refusals(line: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, *line, "--quiet")
    assert code == 1 and not out and said in err and len(err.splitlines()) == 1


def test_a_plot_without_matplotlib_is_refused_before_measuring(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, _, err = run(capsys, "step", "--preset", "tiny", "--quiet", "--plot", "p.png")
    assert code == 1 and "pip install matplotlib" in err


def test_plots_bars_and_curves(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    report = Report("Title", {}, ("a",), series=[Series("bars", [("x", 1.0, 0.9, 1.1)])])
    report.write_plot(str(tmp_path / "bars.png"))
    report.series = [Series("curve", [(1, 1.0, 0.9, 1.1), (2, 2.0, 1.9, 2.1)])]
    report.write_plot(str(tmp_path / "new folder" / "curve.svg"))
    assert (tmp_path / "bars.png").stat().st_size > 1000 and (tmp_path / "new folder" / "curve.svg").is_file()
    with pytest.raises(InputError, match="cannot be written"):
        report.write_json(str(tmp_path / "bars.png" / "out.json"))
    with pytest.raises(InputError, match=r"plot\.words"):
        report.write_plot(str(tmp_path / "plot.words"))


def test_presets() -> None:
    assert {"bench", "nano", "7b-5b"} <= set(PRESETS)
    for name in PRESETS:
        if name != "nano":  # its configuration ships with its weights
            assert preset(name).dit.dim > 0


def test_memory_is_refused_where_the_system_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "Path", lambda name: Path("/nowhere/statm"))
    with pytest.raises(CapabilityError, match="Linux"):
        memory.anonymous_bytes()
