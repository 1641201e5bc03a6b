"""A comparison's engines as sides of ``ddim align``: the same weights and data for both."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jittor_ddim.checkpoints import load_weights
from jittor_ddim.compare.layout import START
from jittor_ddim.compare.plan import Plan
from jittor_ddim.data import open_images
from jittor_ddim.data.loader import make_batch
from jittor_ddim.engines import load_engine
from jittor_ddim.engines.side import Side
from jittor_ddim.parity.layout import PLAN

_SIDE = """from pathlib import Path

from jittor_ddim.compare.sides import open_side

build, batch, loss, optimizer = open_side({engine!r}, Path({folder!r}), Path({exp!r}), {images})
"""


def write_sides(
    engines: Sequence[str], folder: Path, exp: Path, out: Path, images: int = 4
) -> list[Path]:
    """Write a side file for each engine, and return their paths.

    :param folder: the comparison's, with the plan and the weights to start from in it
    :param exp: the experiment root, where data sets lie
    :param out: gets ``ENGINE_side.py``
    :param images: how many of a batch are used
    """
    out.mkdir(parents=True, exist_ok=True)
    files = []
    for engine in engines:
        path = out / f"{engine}_side.py"
        places = {"folder": str(folder.resolve()), "exp": str(exp.resolve())}
        path.write_text(_SIDE.format(engine=engine, images=images, **places), encoding="utf-8")
        files.append(path)
    return files


def open_side(engine: str, folder: Path, exp: Path, images: int) -> tuple[Callable[..., Any], ...]:
    """Return ``build``, ``batch``, ``loss`` and ``optimizer`` of an engine on the CPU, in float32.

    Parameters as in :func:`write_sides`.
    """
    plan = Plan.model_validate_json((folder / PLAN).read_text(encoding="utf-8"))
    config, seed = plan.config, plan.seed
    started = load_engine(engine, "cpu")
    side = Side(started, config, load_weights(folder / START), seed, config.training.n_iters)
    data = open_images(config, "train", exp)

    def batch(step: int) -> Any:
        made = make_batch(data.images, config, seed, step + 1, labels=data.labels)
        return side.arrays(*(array[:images] for array in made.inputs))

    return side.build, batch, side.device_loss, side.optimizer
