"""A set of samples for FID: exactly N numbered images, all made by one recipe."""

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from jittor_ddim.atomic import write_atomic
from jittor_ddim.checkpoints.native import read_json
from jittor_ddim.config import Config
from jittor_ddim.console.progress import progress
from jittor_ddim.engines.base import UNet
from jittor_ddim.errors import CheckpointError, UserError, differences
from jittor_ddim.gathering import Gathering
from jittor_ddim.guidance import Classes
from jittor_ddim.image_files import existing_indices, pack, write_png
from jittor_ddim.ranks import Rank
from jittor_ddim.runs.folder import samples_folder
from jittor_ddim.sampling import SamplerSettings, sample_images

#: How the images were made, beside them, so that a resumed job cannot mix two recipes.
RECIPE = "sampling.json"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SampleSet:
    """What a set of samples is to be."""

    folder: Path
    count: int
    settings: SamplerSettings
    network: str  # a fingerprint of the weights and of what else decides about the pixels
    engine: str
    precision: str
    npz: bool  # one file instead of the folder, when all images are there
    classes: Classes = Classes()

    @property
    def packed(self) -> Path:
        """The file of a packed set."""
        return self.folder.with_name(f"{self.folder.name}.npz")

    def recipe(self) -> dict[str, object]:
        """What the pixels depend on; the set's size and the batch size are not among it."""
        return {
            "network": self.network,
            **self.settings.recipe(),
            **self.classes.recipe(),
            "engine": self.engine,
            "precision": self.precision,
        }

    def check(self) -> None:
        """Refuse a folder whose images were made otherwise, or that holds more than wanted.

        :raises UserError: naming the folder and the difference
        """
        remedy = "choose another `image_folder` or delete it"
        if self.npz and self.packed.exists():
            raise UserError(f"{self.packed}: already exists; {remedy}")
        present = existing_indices(self.folder)
        recipe = self.folder / RECIPE
        if recipe.exists():
            # A job that was refused before its first image left a recipe alone.
            different = _differences(recipe, self.recipe()) if present else []
            if different:
                raise UserError(
                    f"{self.folder}: its images were made with other settings "
                    f"({', '.join(different)}); {remedy}"
                )
        elif any(self.folder.glob("*.png")):
            raise UserError(
                f"{self.folder}: holds images of unknown origin (no {RECIPE}); {remedy}"
            )
        if present and max(present) >= self.count:
            raise UserError(
                f"{self.folder}: holds more than {self.count} images; ask for at least "
                f"{max(present) + 1} or {remedy}"
            )

    def make(self, unet: UNet, config: Config, ranks: Gathering) -> Path:
        """Make the images ``0.png`` … ``N-1.png`` that are not there yet, as the first rank.

        :param ranks: each makes a share; the others call :meth:`help`
        :returns: the folder, or the packed file
        :raises UserError: as :meth:`check`, or if another process is at it
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.folder.with_name(f".{self.folder.name}.lock"), timeout=0):
                self.check()  # once more: another job may have been here in the meantime
                return self._make(unet, config, ranks)
        except Timeout:
            raise UserError(
                f"{self.folder}: another process is sampling into it; wait until it ends, or "
                "choose another `image_folder`"
            ) from None

    def help(self, unet: UNet, config: Config, ranks: Gathering) -> None:
        """Make another rank's share of what is missing.

        :raises UserError: if the first rank has another network
        """
        if ranks.plan["recipe"] != json.loads(json.dumps(self.recipe())):
            raise UserError("other weights than rank 0's, perhaps a newer checkpoint; start again")
        for done in self._fill(unet, config, ranks.plan["missing"], ranks.rank):
            if done % config.sampling.batch_size == 0:
                ranks.advanced(done)
        ranks.deliver()

    def _make(self, unet: UNet, config: Config, ranks: Gathering) -> Path:
        present = existing_indices(self.folder)
        write_atomic(self.folder / RECIPE, json.dumps(self.recipe(), indent=1).encode())
        missing = [index for index in range(self.count) if index not in present]
        plan = {"recipe": self.recipe(), "missing": missing}
        ranks.open(-(-len(missing) // config.sampling.batch_size), plan)
        with progress(self.count, "Sampling", start=self.count - len(missing)) as bar:
            others = 0
            for done in self._fill(unet, config, missing, ranks.rank):
                bar.advance()
                # A look at the others after every batch; they may be looked at over a network.
                if done % config.sampling.batch_size == 0:
                    now = ranks.advanced(done)
                    bar.advance(now - others)
                    others = now
            ranks.collect(others, bar.advance)
        _log.info("%d images in %s, %d of them new", self.count, self.folder, len(missing))
        if not self.npz:
            return self.folder
        pack(self.folder, self.packed)
        for index in range(self.count):
            (self.folder / f"{index}.png").unlink()
        (self.folder / RECIPE).unlink()
        if not any(self.folder.iterdir()):  # what else lies there is not ours
            self.folder.rmdir()
        return self.packed

    def _fill(
        self, unet: UNet, config: Config, missing: Sequence[int], rank: Rank
    ) -> Iterator[int]:
        """Make a rank's batches of the missing images, and yield how many images are done.

        Batches are those that one process would make: a batch's size may change the rounding.
        """
        size = config.sampling.batch_size
        share = rank.share(-(-len(missing) // size))
        own = missing[share.start * size : share.stop * size]
        images = sample_images(unet, config, self.settings, own, size, self.classes)
        for done, (index, image) in enumerate(zip(own, images, strict=True), 1):
            write_png(self.folder, index, image)
            yield done


def find_sample_set(exp: Path, image_folder: str | None) -> Path:
    """Return where a sampling job has left the images for FID: a folder, or a packed one's file.

    :param image_folder: below EXP/image_samples; None: ``images``
    :raises UserError: if there is neither
    """
    folder = samples_folder(exp, image_folder or "images")
    packed = folder.with_name(f"{folder.name}.npz")
    if packed.exists() and not existing_indices(folder):
        return packed  # what else the folder holds is not ours
    if folder.exists():
        return folder
    raise UserError(f"{folder}: no such folder; make the images first, with `sample` and `fid`")


def check_preview(picture: Path, ask: Callable[[str], bool] | None) -> None:
    """Refuse to put a picture among the images of a set, or over one that is to be kept.

    :param ask: whether to overwrite, by a question; None overwrites unasked
    :raises UserError: naming the folder or the file
    """
    if (picture.parent / RECIPE).exists():
        raise UserError(
            f"{picture.parent}: holds images for FID, which must not mix with other files; choose "
            "another `image_folder`"
        )
    if ask and picture.exists() and not ask(f"{picture} exists. Overwrite? (y/n)"):
        raise UserError(f"{picture}: kept; choose another `image_folder`")


def _differences(path: Path, recipe: Mapping[str, object]) -> list[str]:
    """The keys in which a stored recipe differs."""
    try:
        found = read_json(path)
        # A setting that one of them does not have was not used there.
        return differences(found, {**dict.fromkeys(found), **recipe})
    except CheckpointError as error:
        return [f"{RECIPE}: {error}"]
