"""From hand-made files to a comparison, with gaps, GPUs and departures."""

import json
import math

import numpy as np
import pytest
from comparing import CONFIG, PLAN

from jittor_ddim.architecture import layers, parameter_shapes
from jittor_ddim.compare.alignment import BOUNDS, compare_layers
from jittor_ddim.compare.gather import gather
from jittor_ddim.compare.results import Comparison

DEEP = PLAN.model_copy(
    update={
        "config": CONFIG.model_copy(
            update={"model": CONFIG.model.model_copy(update={"ch_mult": (1, 2)})}
        )
    }
)


def write(folder, name, content):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def inspections(folder, **departing):
    """Ones everywhere on both sides, but what is given on the second."""
    for side in PLAN.engines:
        values = {f"outputs/{one.name}": np.ones(3) for one in layers(DEEP.config)}
        values |= {f"gradients/{name}": np.ones(3) for name in parameter_shapes(DEEP.config)}
        if side == "pytorch":
            values |= {name: np.full(3, value) for name, value in departing.items()}
        (folder / side).mkdir(parents=True, exist_ok=True)
        np.savez(folder / side / "inspection.npz", **values)
    sides = [folder / side for side in PLAN.engines]
    compare_layers(DEEP.config, folder, sides)
    assert not any((side / "inspection.npz").exists() for side in sides)  # they are large


def checks(folder, plan=DEEP):
    comparison = gather(plan, folder, "ddim")[0]
    assert comparison.alignment
    return comparison.alignment, {check.name: check for check in comparison.alignment.checks}


def test_nothing_is_there(tmp_path):
    comparison, samples = gather(PLAN, tmp_path, "ddim compare")
    assert comparison.alignment is None and comparison.ratios == [] and samples == []
    assert [side.costs for side in comparison.sides] == [[], []]
    assert comparison.command == "ddim compare" and comparison.protocol["dropout"] == "0"
    assert Comparison.model_validate_json(comparison.model_dump_json()) == comparison


def test_the_first_layer_that_departs_is_named_in_the_order_of_computation(tmp_path):
    departing = ["outputs/up.1.block.0.conv1", "outputs/up.0.block.0.conv1"]
    departing += ["gradients/up.1.block.0.conv1.weight", "gradients/up.0.block.0.conv1.weight"]
    inspections(tmp_path, **{name: 2.0 for name in departing})
    alignment, found = checks(tmp_path)
    # The decoder computes level 1 before level 0, and its gradients the other way round.
    assert found["outputs"].first == "up.1.block.0.conv1"
    assert found["gradients"].first == "up.0.block.0.conv1.weight"
    assert [d.name for d in alignment.outputs] == [one.name for one in layers(DEEP.config)]
    assert alignment.gradients[0].name == "conv_out.bias"
    assert alignment.gradients[-1].name == "temb.dense.0.weight"
    assert len(alignment.gradients) == len(parameter_shapes(DEEP.config))


def test_bounds_are_those_of_the_precision(tmp_path):
    """What bfloat16 rounds is no departure there; twice an output is one in any precision."""
    inspections(tmp_path, **{"outputs/conv_in": 1.015, "gradients/conv_in.weight": 1.005})
    passed = {}
    for precision in BOUNDS:
        plan = DEEP.model_copy(update={"precision": precision})
        found = checks(tmp_path, plan)[1]
        passed[precision] = [found[name].passed for name in ("outputs", "gradients")]
    assert passed == {"float32": [False] * 2, "tf32": [False] * 2, "bfloat16": [True] * 2}
    inspections(tmp_path, **{"outputs/conv_in": 2.0, "gradients/conv_in.weight": 2.0})
    found = checks(tmp_path, DEEP.model_copy(update={"precision": "bfloat16"}))[1]
    assert not found["outputs"].passed and not found["gradients"].passed


def test_what_is_no_number_is_not_aligned_and_can_be_read_again(tmp_path):
    inspections(tmp_path, **{"outputs/conv_in": math.nan, "gradients/strange": 1.0})
    alignment, found = checks(tmp_path)
    assert not alignment.aligned and found["outputs"].first == "conv_in"
    assert found["gradients"].first == "strange"
    text = gather(DEEP, tmp_path, "ddim")[0].model_dump_json()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert not Comparison.model_validate_json(text).alignment.aligned


def part(**changes):
    gpu = {"allocated_mb": 10.0, "reserved_mb": 20.0, "process_mb": None}
    return {
        "seconds": [0.1, 0.2, 0.3], "peak_host_memory_mb": 100.0, "cpu_utilization": 50.0,
        "gpu_utilization": 80.0, "power_w": 200.0, "joule": 30.0, "images": 6, "gpu": gpu,
    } | changes  # fmt: skip


def test_the_figures_of_calls_on_a_gpu(tmp_path):
    more = part(
        seconds=[0.4, 0.5, 0.6], peak_host_memory_mb=300.0, cpu_utilization=70.0, power_w=None,
        gpu={"allocated_mb": 5.0, "reserved_mb": 25.0, "process_mb": 40.0},
    )  # fmt: skip
    content = {"warmup": {"seconds": [9.0, 8.0]}, "rounds": [part(), more]}
    write(tmp_path, "pytorch/cost_sample_2.json", content)
    write(tmp_path, "pytorch/environment.json", {"device": "cuda", "environment": {"a": "b"}})
    comparison, _ = gather(PLAN, tmp_path, "ddim")
    assert comparison.device == "cuda"  # though the first side never said so
    (cost,) = comparison.sides[1].costs
    assert (cost.kind, cost.batch_size, cost.warmup, cost.first_call_s) == ("sample", 2, 2, 9.0)
    assert (cost.timing.count, cost.timing.p50) == (6, pytest.approx(0.35))
    assert cost.images_per_s == pytest.approx(2 / 0.35)
    assert (cost.peak_host_memory_mb, cost.cpu_utilization) == (300.0, 60.0)
    assert cost.gpu.model_dump() == {
        "allocated_mb": 10.0, "reserved_mb": 25.0, "process_mb": 40.0, "utilization": 80.0,
        "power_w": 200.0, "joule_per_image": 60.0 / 12,
    }  # fmt: skip
    assert comparison.ratios == []


def test_a_ratio_is_the_second_sides_time_over_the_firsts(tmp_path):
    for side, factor in (("jittor", 1.0), ("pytorch", 3.0)):
        seconds = [factor, factor, factor]
        content = {"warmup": part(), "rounds": [part(seconds=seconds)]}
        write(tmp_path, f"{side}/cost_sample_4.json", content)
    (ratio,) = gather(PLAN, tmp_path, "ddim")[0].ratios
    assert ratio.model_dump() == {
        "kind": "sample", "batch_size": 4, "value": 3.0, "low": 3.0, "high": 3.0, "side": 1,
    }  # fmt: skip


def test_the_training_is_a_cost_once_it_is_done(tmp_path):
    side = tmp_path / "jittor"
    side.mkdir()
    records = [
        {
            "step": step,
            "loss": 1.0,
            "step_time_s": time,
            "data_time_s": 0.01,
            "cpu_utilization": 25,
        }
        for step, time in enumerate([5.0, 1.0, 1.0, 0.4, 0.6, 0.5], start=1)
    ]
    (side / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))
    turns = [{"peak_host_memory_mb": mb, "gpu": None} for mb in (50.0, 70.0, 60.0)]
    write(side, "turns.json", turns)
    write(side, "phases.json", [{"forward": f, "backward": 2, "optimizer": 3} for f in (1, 9, 2)])
    assert gather(PLAN, tmp_path, "ddim")[0].sides[0].costs == []
    write(side, "training.json", {"steps": 6})
    found = gather(PLAN, tmp_path, "ddim")[0].sides[0]
    assert found.compile_s == 4.5
    assert found.phases == {"data": 0.01, "forward": 2, "backward": 2, "optimizer": 3}
    (cost,) = found.costs
    assert (cost.batch_size, cost.warmup, cost.first_call_s, cost.timing.p50) == (4, 5, 5.0, 0.5)
    assert (cost.peak_host_memory_mb, cost.cpu_utilization, cost.gpu) == (70.0, 25.0, None)
