"""A sweep as it might have been found, for the tests of its report."""

from jittor_ddim.sweep.results import Cell, Pair, Sweep

#: The DDIM paper's CIFAR-10 figures with a little noise, by eta and S.
_FID = {
    0.0: {10: 13.9, 20: 7.2, 50: 5.0, 100: 4.4},
    0.5: {10: 17.1, 20: 8.8, 50: 5.5, 100: 4.7},
    1.0: {10: 42.3, 20: 19.0, 50: 8.4, 100: 6.0},
    "ddpm_noisy": {10: 360.4, 20: 130.1, 50: 33.3, 100: 10.4},
}
_SECONDS = {"jittor": 0.0021, "pytorch": 0.0027}


def cell(engine, timesteps, eta, distance):
    seconds = _SECONDS[engine] * timesteps
    return Cell(
        engine=engine, timesteps=timesteps, eta=eta, calls=timesteps, images=128,
        seconds_per_image=seconds, batch_size=64, batch_seconds=[seconds * 64] * 2,
        distance=distance, device="cpu", precision="float32", frameworks=[engine],
        versions={"numpy": "2"},
    )  # fmt: skip


def make_sweep(
    *, engines=("jittor", "pytorch"), distance_name="FID", dataset="CIFAR10", failures=None
):
    """Four S, four eta, and S = 1000 timed alone."""
    small = distance_name != "FID"
    cells, pairs = [], []
    for steps in (10, 20, 50, 100):
        for eta, fids in _FID.items():
            fid = fids[steps] / (10 if small else 1)
            cells += [
                cell(engine, steps, eta, fid + (0.0123 if engine == "jittor" else 0))
                for engine in engines
            ]
            pairs += [
                Pair(
                    timesteps=steps,
                    eta=eta,
                    difference=0.0123,
                    standard_error=0.0045,
                    engine=other,
                )
                for other in engines[1:]
            ]
    cells += [cell(engine, 1000, 0.0, None) for engine in engines]
    return Sweep(
        title="c10", created="2026-01-01T00:00:00+00:00", command="ddim sweep", dataset=dataset,
        network="0123456789abcdef", images=128, seed=1234, skip="uniform", batch_size=64,
        device="cpu", precision="float32", compiled=False,
        reference="CIFAR-10 train and test",
        reference_images=60000, remarks=[], distance_name=distance_name,
        extractor={
            "features": "small-cifar10" if small else "inception",
            "mode": None if small else "clean", "weights_sha256": "ab" * 32, "published": True,
        },
        engines=list(engines), cells=cells, pairs=pairs, failures=failures or {},
    )  # fmt: skip
