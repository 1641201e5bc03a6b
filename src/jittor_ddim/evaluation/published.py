"""Figures that others have published, copied as they printed them, with their protocols."""

#: The earlier Jittor-DDIM report, with the protocol of all its FIDs.
EARLIER_DATASET = "CIFAR10"
EARLIER_PROTOCOL = (
    "earlier Jittor-DDIM report: CIFAR-10, uniform timesteps, 5,000 images against the train and "
    "test images, RTX 4090"
)
#: S, eta, then seconds per image and FID, first of one engine, then of the other.
EARLIER_ENGINES = ("PyTorch", "Jittor")
EARLIER_SAMPLING = (
    ("50", "0", ".0269", "14.223", ".0220", "12.588"),
    ("50", "0.5", ".0262", "15.432", ".0220", "13.897"),
    ("50", "1", ".0252", "23.886", ".0221", "20.928"),
    ("100", "0", ".0448", "12.466", ".0384", "10.963"),
    ("100", "0.5", ".0448", "13.643", ".0403", "11.735"),
    ("100", "1", ".0461", "19.254", ".0383", "16.693"),
    ("500", "0", ".2023", "10.587", ".2012", "9.570"),
    ("500", "0.5", ".2021", "10.816", ".2086", "9.769"),
    ("500", "1", ".2028", "12.781", ".2021", "11.165"),
    ("1000", "0", ".3883", "10.411", ".4110", "9.521"),
    ("1000", "0.5", ".3977", "10.160", ".4061", "9.589"),
    ("1000", "1", ".3989", "11.454", ".4118", "10.236"),
)
#: Seconds per training step, its spikes, GPU memory and GPU utilisation of the same report.
EARLIER_TRAINING = {
    EARLIER_ENGINES[0]: ("0.16", "–", "≈ 10 GB", "98–100 %"),
    EARLIER_ENGINES[1]: ("0.12", "0.6–0.7", "≈ 15 GB", "70–80 %"),
}

#: FID by data set, eta (or sigma-hat) and S: table 1 of the DDIM paper (arXiv 2010.02502).
PAPER_TIMESTEPS = (10, 20, 50, 100, 1000)
PAPER_FID: dict[str, dict[float | str, tuple[str, ...]]] = {
    "CIFAR10": {
        0.0: ("13.36", "6.84", "4.67", "4.16", "4.04"),
        0.2: ("14.04", "7.11", "4.77", "4.25", "4.09"),
        0.5: ("16.66", "8.35", "5.25", "4.46", "4.29"),
        1.0: ("41.07", "18.36", "8.01", "5.78", "4.73"),
        "ddpm_noisy": ("367.43", "133.37", "32.72", "9.99", "3.17"),
    },
    "CELEBA": {
        0.0: ("17.33", "13.73", "9.17", "6.53", "3.51"),
        0.2: ("17.66", "14.11", "9.51", "6.79", "3.64"),
        0.5: ("19.86", "16.06", "11.01", "8.09", "4.28"),
        1.0: ("33.12", "26.03", "18.48", "13.93", "5.98"),
        "ddpm_noisy": ("299.71", "183.83", "71.71", "45.20", "3.26"),
    },
}
PAPER_PROTOCOL = {
    "CIFAR10": "DDIM paper, Table 1 (CIFAR-10, quad, 50,000 images)",
    "CELEBA": "DDIM paper, Table 1 (CelebA 64x64, uniform, 50,000 images)",
}


def paper_fid(dataset: str, timesteps: int, eta: float | str) -> str | None:
    """Return the DDIM paper's FID as printed, or None where it has none.

    :param eta: or the name of a sampler without one
    """
    row = PAPER_FID.get(dataset, {}).get(eta)
    if row is None or timesteps not in PAPER_TIMESTEPS:
        return None
    return row[PAPER_TIMESTEPS.index(timesteps)]


def earlier_figures(timesteps: int, eta: float | str, engine: str) -> tuple[str, str] | None:
    """Return the earlier report's seconds per image and FID as printed, or None.

    :param engine: of :data:`EARLIER_ENGINES`
    """
    first = 2 * EARLIER_ENGINES.index(engine)
    for steps, its_eta, *figures in EARLIER_SAMPLING:
        if (int(steps), float(its_eta)) == (timesteps, eta):
            return f"0{figures[first]}", figures[first + 1]
    return None
