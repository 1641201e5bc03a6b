"""What a page may ask for, checked before an engine hears of it."""

import base64
import difflib
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from jittor_ddim import arguments
from jittor_ddim.config import Config
from jittor_ddim.decoding import open_image
from jittor_ddim.diffusion.schedule import Schedule
from jittor_ddim.diffusion.settings import SamplerSettings
from jittor_ddim.diffusion.spacing import SPACINGS, Timesteps
from jittor_ddim.errors import UserError
from jittor_ddim.guidance import Classes
from jittor_ddim.play.layout import MOST_PIXELS

MOST_IMAGES = 64
#: The least and the most of every number; the page has them from here.
LIMITS: dict[str, tuple[float, float]] = {
    "timesteps": (1, 1000),
    "eta": (0, 10),
    "seed": (0, 2**53 - 1),  # which a browser counts to
    "num_samples": (1, MOST_IMAGES),
    "guidance": (0, 20),
    "other_seed": (0, 2**53 - 1),
    "strength": (0.01, 1),
}


def _number(name: str, default: float) -> Any:
    least, most = LIMITS[name]
    return Field(default=default, ge=least, le=most)  # which NaN is not


class Ask(BaseModel):
    """A state of the page: what its address holds, and what gives the same images again.

    :ivar network: by the name that it is offered under; None: the first one
    :ivar kind: ``sample``; ``arc``, samples between two seeds; ``reconstruct``, a picture encoded
        and decoded; ``edit``, a picture with noise on it, decoded from there
    :ivar num_samples: images of a sample or an arc; variants of an edit
    :ivar class_: one class, ``all`` in turn, or none
    :ivar other_seed: the far end of the arc
    :ivar strength: how much of the way up an edit begins, in 0 … 1
    :ivar picture: a PNG of the network's size, in base64
    :ivar raw: whether states also come in float32, in [0, 1]
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    network: str | None = None
    kind: Literal["sample", "arc", "reconstruct", "edit"] = "sample"
    engine: str
    precision: str = "float32"
    sampler: str = "ddim"
    timesteps: int = _number("timesteps", 10)
    eta: float = _number("eta", 0.0)
    spacing: str = "uniform"
    seed: int = _number("seed", 1234)
    num_samples: int = _number("num_samples", 16)
    class_: int | Literal["all"] | None = Field(default=None, alias="class")
    guidance: float = _number("guidance", 0.0)
    other_seed: int = _number("other_seed", 4321)
    strength: float = _number("strength", 0.5)
    picture: str | None = None
    raw: bool = False

    @classmethod
    def read(cls, found: Any) -> "Ask":
        """Return what a page sent; :meth:`check` it with the network that it names.

        :raises UserError: naming the parameter
        """
        try:
            return cls.model_validate(found)
        except ValidationError as error:
            raise UserError(_first(error)) from None

    @classmethod
    def opening(cls, config: Config, engine: str, precision: str = "float32") -> "Ask":
        """Return what a page asks for when it opens."""
        schedule = Schedule.from_config(config.diffusion)
        # Where no image is left at the highest timestep, log SNR has no beginning.
        begins = schedule.alpha_bar_at(schedule.num_timesteps - 1) > 0
        return cls.model_validate(
            {
                "engine": engine,
                "precision": precision,
                "sampler": "dpmpp_2m",
                "spacing": "logsnr" if begins else "trailing",
                "num_samples": min(16, most_images(config)),
                "class": "all" if Classes.every(config).chosen else None,
            }
        )

    def check(self, config: Config) -> None:
        """Check that a network can do it, and that not too much is asked for.

        :raises UserError: naming the parameter
        """
        arguments.one_of("spacing", self.spacing, tuple(SPACINGS))  # not the path of a file
        self.settings.sequence(config)
        self.classes(config).numbered(config)
        if self.count > (most := most_images(config, self.raw)):
            size = config.data.image_size
            raise UserError(
                f"num_samples {self.count}: of {size} x {size} pixels the page shows at most "
                f"{most}{' with their numbers' * self.raw}; choose fewer"
            )
        if self.kind == "reconstruct":
            self.settings.encoder_order()
        if self.kind in ("reconstruct", "edit"):
            self.pixels(config)

    @property
    def settings(self) -> SamplerSettings:
        """How to sample."""
        return SamplerSettings(self.timesteps, self.eta, self.spacing, self.sampler, self.seed)

    @property
    def count(self) -> int:
        """How many images there are: an arc has two ends, and a picture is encoded alone."""
        least = {"arc": max(2, self.num_samples), "reconstruct": 1}
        return least.get(self.kind, self.num_samples)

    def classes(self, config: Config) -> Classes:
        """Return which classes are drawn, and how strongly; none of a picture encoded."""
        if self.kind == "reconstruct":
            return Classes()
        if self.class_ == "all":
            return Classes(Classes.every(config).chosen, self.guidance)
        return Classes(None if self.class_ is None else (self.class_,), self.guidance)

    def named_classes(self, config: Config) -> Classes:
        """Return the same by their names, where they have any, as one would type them."""
        classes, names = self.classes(config), config.data.class_names
        if not names or classes.chosen is None:
            return classes
        return replace(classes, chosen=tuple(names[int(number)] for number in classes.chosen))

    def sequence(self, config: Config) -> Timesteps:
        """Return the ascending timesteps; of an edit those up to where it begins."""
        steps = self.settings.sequence(config)
        if self.kind != "edit":
            return steps
        return steps[: max(1, round(self.strength * len(steps)))]

    def pixels(self, config: Config) -> NDArray[np.uint8]:
        """Return the picture, uint8 (1, H, W, C).

        :raises UserError: if there is none, or it is not of the network's size
        """
        size, channels = config.data.image_size, config.data.channels
        try:
            image = open_image(base64.b64decode(self.picture or "", validate=True))
            if image.format != "PNG" or image.size != (size, size):
                raise ValueError
            pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"))
        except Exception:  # Pillow raises nearly anything for what is damaged or enormous
            raise UserError(
                f"picture: expected a PNG of {size} x {size} pixels; drop a picture on the page"
            ) from None
        return pixels.reshape(1, size, size, channels)


def most_images(config: Config, raw: bool = False) -> int:
    """Return how many images a page may ask for: fewer where they are large.

    :param raw: whether their numbers are wanted too, which take four times as much
    """
    pixels = MOST_PIXELS // (4 if raw else 1)
    return min(MOST_IMAGES, max(1, pixels // config.data.image_size**2))


def _first(error: ValidationError) -> str:
    """Say the first thing that is wrong, with the nearest name for one that does not exist."""
    found = error.errors()[0]
    name = ".".join(map(str, found["loc"][:1])) or "the request"
    if found["type"] == "extra_forbidden":
        return no_parameter(name, [field.alias or key for key, field in Ask.model_fields.items()])
    if name in LIMITS:
        least, most = LIMITS[name]
        kind = "whole number" if Ask.model_fields[name].annotation is int else "number"
        return f"{name}: expected a {kind} from {least} to {most}"
    return f"{name}: {found['msg'][:1].lower()}{found['msg'][1:]}"


def no_parameter(name: str, known: list[str]) -> str:
    """Say that there is no such parameter, and which one may be meant."""
    near = difflib.get_close_matches(name, known, 1)
    hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(known)}"
    return f"{name[:40]}: no such parameter{hint}"
