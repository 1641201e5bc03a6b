"""Any number of ranks trains the same network: one process without a launcher is the oracle."""

import pytest

from ranks.launching import ENGINES, command, config, last_record, losses, run

#: Of a loss: float32 sums of other lengths round differently, and 20 steps add that up.
BOUND = 1e-5


@pytest.mark.parametrize("engine", ENGINES)
def test_two_three_and_four_ranks_lose_what_one_loses(tmp_path, engine):
    path = config(tmp_path)
    run(command(engine, 1, path, "1"))
    alone = losses(path, "1")
    assert len(alone) == 20
    for ranks in (2, 3, 4):
        run(command(engine, ranks, path, str(ranks)))
        assert losses(path, str(ranks)) == pytest.approx(alone, rel=BOUND)
    record = last_record(path, "4")
    for key in ("data_time_s", "step_time_s", "reduce_time_s", "host_memory_mb"):
        assert record[f"{key}_min"] <= record[f"{key}_mean"] <= record[f"{key}_max"]
    assert "step_time_s_max" not in last_record(path, "1")


@pytest.mark.parametrize("engine", ENGINES)
def test_micro_batches_are_shared_too(tmp_path, engine):
    path = config(tmp_path, accumulate_steps=3, n_iters=8)
    for ranks in (1, 2):
        run(command(engine, ranks, path, str(ranks)))
    assert losses(path, "2") == pytest.approx(losses(path, "1"), rel=BOUND)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_number_of_ranks_may_change_on_resuming(tmp_path, engine):
    whole = config(tmp_path)
    run(command(engine, 1, whole, "whole"))
    for ranks, end, options in (
        (2, 7, ()),
        (1, 13, ("--resume_training",)),
        (4, 20, ("--resume_training",)),
    ):
        run(command(engine, ranks, config(tmp_path, n_iters=end), "parts", *options))
    assert losses(whole, "parts") == pytest.approx(losses(whole, "whole"), rel=BOUND)
