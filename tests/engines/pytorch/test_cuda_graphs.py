"""When a function is called, recorded and replayed: the bookkeeping, on a GPU that is made up."""

from contextlib import contextmanager

import pytest

from jittor_ddim.errors import EngineError

pytestmark = pytest.mark.pytorch


class MadeUpGraph:
    """Replays by calling what was recorded once more, on the same inputs into the same outputs."""

    def replay(self):
        function, inputs, outputs = self.recording
        for output, new in zip(outputs, function(*inputs), strict=True):
            output.copy_(new)


class MadeUpStream:
    def wait_stream(self, stream):
        pass


@pytest.fixture
def replay(monkeypatch):
    """A Replay, and the list of what it has recorded."""
    import torch

    from jittor_ddim.engines.pytorch import cuda_graphs

    @contextmanager
    def nothing(_):
        yield

    monkeypatch.setattr(torch.cuda, "Stream", MadeUpStream)
    monkeypatch.setattr(torch.cuda, "current_stream", MadeUpStream)
    monkeypatch.setattr(torch.cuda, "stream", nothing)
    monkeypatch.setattr(torch.cuda, "graph", nothing)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", MadeUpGraph)
    recorded, record = [], cuda_graphs._record

    def note(recording, function, inputs):
        record(recording, function, inputs)
        recorded.append(inputs[0].shape)
        recording.graph.recording = function, recording.inputs, recording.outputs

    monkeypatch.setattr(cuda_graphs, "_record", note)
    return cuda_graphs.caller("cuda"), recorded


def arrays(count, size=3):
    import torch

    return [torch.arange(size, dtype=torch.float32) + n for n in range(count)]


def test_three_calls_then_a_recording_then_replays(replay):
    call, recorded = replay
    outputs = []
    for n, x in enumerate(arrays(8)):
        outputs += call(lambda x: [2 * x], x)
        assert len(recorded) == (n >= 3)
    # Each has memory of its own: a replay does not change what an earlier one returned.
    assert [y.tolist() for y in outputs] == [(2 * x).tolist() for x in arrays(8)]


def test_what_is_changed_in_place_is_changed_once_a_call(replay):
    import torch

    call, _ = replay
    total = torch.zeros(3)

    def add(x):
        return [total.add_(x)]

    for x in arrays(3):
        call(add, x)
    assert total.tolist() == [3, 6, 9]  # a recording computes nothing on a true GPU


def test_a_batch_and_a_smaller_last_one_are_both_kept(replay):
    call, recorded = replay
    for _ in range(2):
        for size in (8, 4):
            for x in arrays(5, size):
                [y] = call(lambda x: [x + 1], x)
                assert y.tolist() == (x + 1).tolist()
    assert recorded == [(8,), (4,)]
    for x in arrays(5, 2):  # a third shape takes the place of the one unused for longest
        call(lambda x: [x + 1], x)
    for x in arrays(5, 8):
        call(lambda x: [x + 1], x)
    assert recorded == [(8,), (4,), (2,), (8,)]


def test_a_recording_that_fails_names_the_switch(replay):
    call, _ = replay
    x = arrays(1)[0]
    for _ in range(3):
        call(lambda x: [x], x)

    def forbidden(x):
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    with pytest.raises(EngineError, match="permitted when stream is capturing; set JITTOR_DDIM_"):
        call(forbidden, x)


@pytest.mark.parametrize(("device", "switch"), [("cpu", ""), ("cuda", "off")])
def test_it_is_off_without_a_gpu_and_by_its_switch(replay, monkeypatch, device, switch):
    from jittor_ddim.engines.pytorch import cuda_graphs

    monkeypatch.setenv("JITTOR_DDIM_CUDA_GRAPHS", switch)
    call, recorded = cuda_graphs.caller(device), replay[1]
    for x in arrays(6):
        call(lambda x: [x], x)
    assert recorded == []
