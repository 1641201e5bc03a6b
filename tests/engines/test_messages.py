"""Gradients travel to the other ranks while the backward pass goes on."""

import numpy as np
import pytest

from jittor_ddim.config import parse_config
from jittor_ddim.ranks import Rank

pytestmark = pytest.mark.pytorch


@pytest.fixture
def ranks(tmp_path):
    torch = pytest.importorskip("torch")
    from jittor_ddim.engines.pytorch import ranks

    torch.distributed.init_process_group(
        "gloo", store=torch.distributed.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1
    )
    yield ranks
    torch.distributed.destroy_process_group()


@pytest.fixture
def layers():
    """Three layers in a row, of 64 and 512 bytes each."""
    import torch

    torch.manual_seed(0)
    return torch.nn.Sequential(*(torch.nn.Linear(8, 8) for _ in range(3))).double()


def loss_of(layers, x=1.0):
    import torch

    return (layers(torch.full((4, 8), x, dtype=torch.float64)) ** 2).sum()


def gradients(loss, parameters):
    import torch

    return [loss.detach(), *torch.autograd.grad(loss, parameters)]


def test_the_sums_are_the_gradients_in_their_order(ranks, layers, monkeypatch):
    import torch

    parameters = list(layers.parameters())
    before = gradients(loss_of(layers, 2.0), parameters)
    expected = gradients(loss_of(layers), parameters)
    order = [5, 4, 3, 2, 1, 0]
    for size in (1, 600, 2**25):  # one array in a message, some, all
        monkeypatch.setattr(ranks, "_BUCKET", size)
        first = ranks.differentiate(loss_of(layers), parameters, [], order)()
        both = ranks.differentiate(loss_of(layers), parameters, before, order)()
        for own, sum_, one, other in zip(first, both, expected, before, strict=True):
            assert torch.equal(own, one)
            assert torch.equal(sum_, other + one)
    assert not any(p._backward_hooks for p in parameters)


def test_messages_are_sent_while_the_backward_pass_goes_on(ranks, monkeypatch):
    """Of a network with classes, whose table is the last parameter and differentiated late."""
    from jittor_ddim.engines.pytorch.primitives import PyTorchEngine

    config = parse_config(
        {
            "data": {"dataset": "FOLDER", "root": "x", "image_size": 8, "channels": 3},
            "model": {"ch": 32, "ch_mult": [1, 2], "num_res_blocks": 1, "attn_resolutions": [],
                      "num_classes": 3},
        },
        "messages",
    )  # fmt: skip
    trainer = PyTorchEngine("cpu", "float32", compile=False).trainer(config)
    trainer._primitives.rank = Rank(0, 2)
    events, send = [], ranks.distributed.all_reduce

    def spy(flat, **options):
        events.append(flat.numel())
        return send(flat, **options)

    monkeypatch.setattr(ranks, "_BUCKET", 2**18)
    monkeypatch.setattr(ranks.distributed, "all_reduce", spy)
    names = ("up.0.block.0.conv1.weight", "conv_in.weight", "class_embedding.weight")
    for name in names:
        trainer._parameters[name].register_hook(lambda _, name=name: events.append(name))
    x = np.zeros((2, 3, 8, 8), np.float32)
    trainer.learn(x, np.array([3, 500]), x + 1, np.array([0, 1]))
    assert [event for event in events if event in names][0] == names[0]
    sent = [n for n in events[: events.index("conv_in.weight")] if n not in names]
    everything = sum(p.numel() for p in trainer._parameters.values())
    assert len(sent) >= 3 and sum(sent) > 0.6 * everything


def test_a_full_gpu_is_not_another_rank_that_ended(ranks, monkeypatch):
    import torch

    def fail(flat, **options):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(ranks.distributed, "all_reduce", fail)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        ranks.sum_over_ranks([torch.ones(3)])


def test_another_rank_that_ended_is_told_in_one_line(ranks, layers, monkeypatch):
    from jittor_ddim.errors import MachineError

    def fail(flat, **options):
        raise RuntimeError("Connection closed by peer [127.0.0.1]:4242")

    monkeypatch.setattr(ranks.distributed, "all_reduce", fail)
    with pytest.raises(MachineError, match=r"another rank of this run has ended: Connection"):
        ranks.differentiate(loss_of(layers), list(layers.parameters()), [], range(6))
