"""What the demo shows, what it trains, and how both are sampled."""

from jittor_ddim.config import Config, load_config
from jittor_ddim.guidance import Classes
from jittor_ddim.models import Sampling

#: The model that is shown first; any that ships.
MODEL = "tiles"
#: What the run of the demo is called.
DOC = "demo"
CONFIG = "digits.yml"
#: What the run changes in it; docs/models.md has the measurements.
CHANGES = {
    "model.num_classes": 10,
    "diffusion.prediction": "v",
    "optim.decay": "cosine",
    "training.n_iters": 1200,
    "training.snapshot_freq": 200,
}
#: How the trained network is sampled.
SAMPLING = Sampling(timesteps=20, sampler="dpmpp_2m", spacing="logsnr", guidance=0.25)
#: Network calls that are compared, and the samplers with the spacings that suit them.
CALLS = (2, 5, 10, 20)
SAMPLERS = {"ddim": "uniform", "dpmpp_2m": "logsnr"}
#: Images that are judged for each.
JUDGED = 300
#: Images of a grid, at most.
_SHOWN = 80
_MOST_OF_A_CLASS = 8


def recipe() -> Config:
    """Return the config that the demo trains."""
    return load_config(CONFIG, CHANGES)


def rows_of_classes(config: Config, guidance: float) -> tuple[int, int, Classes]:
    """Return how many images a grid has, how many are in a row, and their classes.

    Each class has a row, if there are few enough; without classes the grid is square.
    """
    count = config.model.num_classes
    if count is None or count > _SHOWN:
        return 64, 8, Classes()
    columns = min(_MOST_OF_A_CLASS, _SHOWN // count)
    return count * columns, columns, Classes(tuple(range(count)), guidance, columns)
