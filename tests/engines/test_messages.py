"""Gradients travel to the other ranks while the backward pass goes on."""

import pytest

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
    for size in (1, 600, 2**25):  # one array in a message, some, all
        monkeypatch.setattr(ranks, "_BUCKET", size)
        first = ranks.differentiate(loss_of(layers), parameters, [])()
        both = ranks.differentiate(loss_of(layers), parameters, before)()
        for own, sum_, one, other in zip(first, both, expected, before, strict=True):
            assert torch.equal(own, one)
            assert torch.equal(sum_, other + one)
    assert not any(p._backward_hooks for p in parameters)


def test_a_message_is_sent_before_the_first_layers_are_differentiated(ranks, layers, monkeypatch):
    events, send = [], ranks.distributed.all_reduce

    def spy(flat, **options):
        events.append(flat.numel())
        return send(flat, **options)

    monkeypatch.setattr(ranks, "_BUCKET", 500)
    monkeypatch.setattr(ranks.distributed, "all_reduce", spy)
    layers[0].weight.register_hook(lambda _: events.append("first layer"))
    receive = ranks.differentiate(loss_of(layers), list(layers.parameters()), [])
    assert events == [1 + 8 + 64, 8 + 64, "first layer", 8 + 64]
    receive()


def test_another_rank_that_ended_is_told_in_one_line(ranks, layers, monkeypatch):
    from jittor_ddim.errors import MachineError

    def fail(flat, **options):
        raise RuntimeError("Connection closed by peer [127.0.0.1]:4242")

    monkeypatch.setattr(ranks.distributed, "all_reduce", fail)
    with pytest.raises(MachineError, match=r"another rank of this run has ended: Connection"):
        ranks.differentiate(loss_of(layers), list(layers.parameters()), [])
