"""The networks that a page chooses from, each found when somebody first wants it."""

import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jittor_ddim import arguments
from jittor_ddim.checkpoints import save_weights
from jittor_ddim.config import Config
from jittor_ddim.network import NetworkChoice
from jittor_ddim.play.recipe import NetworkWords


@dataclass(frozen=True)
class Offer:
    """A network that can be chosen.

    :ivar name: what the page and its addresses call it
    :ivar choice: where it is
    """

    name: str
    choice: NetworkChoice
    words: NetworkWords = field(default_factory=NetworkWords)


@dataclass(frozen=True)
class Opened:
    """A network that has been found.

    :ivar file: from which engines read it, in the folder that they share; it is there as long as
        somebody holds this
    """

    offer: Offer
    config: Config
    source: Path
    file: str

    @property
    def title(self) -> str:
        """What it is for people: of a run also which checkpoint."""
        name = self.offer.name
        return name if self.source.stem in name else f"{name}/{self.source.name}"


class Networks:
    """What can be chosen, and what has been; for several threads."""

    def __init__(self, folder: Path, list_offers: Callable[[], Sequence[Offer]]) -> None:
        """:param folder: which the engines share

        :param list_offers: returns what there is now, first what a page opens with; of equal names
            the first one counts
        """
        self._folder, self._list = folder, list_offers
        self._lock = threading.Lock()
        self._opened: dict[str, Opened] = {}
        self._count = 0

    def names(self) -> list[str]:
        """Return what can be chosen."""
        return list(self._offers())

    def open(self, name: str | None = None, *, newest: bool = False) -> Opened:
        """Return a network; the first time this reads its weights.

        :param name: None: what a page opens with
        :param newest: whether to look for weights that have been saved since, as in a run that
            goes on
        :raises UserError: if there is no such network, or it cannot be read
        """
        found = self._opened.get(name or "")
        if found and not newest:  # without the lock, which somebody holds who reads another one
            return found
        with self._lock:
            offers = self._offers()
            name = arguments.one_of("network", name or next(iter(offers)), tuple(offers))
            found = self._opened.get(name)
            _, source = offers[name].choice.find_source()
            if not found or found.source != source:
                found = self._opened[name] = self._read(offers[name])
            return found

    def _offers(self) -> dict[str, Offer]:
        found: dict[str, Offer] = {}
        for offer in self._list():
            found.setdefault(offer.name, offer)
        return found

    def _read(self, offer: Offer) -> Opened:
        network = offer.choice.find_network()
        self._count += 1
        file = f"{self._count}.safetensors"
        save_weights(self._folder / file, network.weights, network.config)
        opened = Opened(offer, network.config, network.source, file)
        weakref.finalize(opened, (self._folder / file).unlink, missing_ok=True)
        return opened
