"""Who is measured."""

from dataclasses import dataclass

from jittor_ddim.engines.precision import cpu_has_bfloat16
from jittor_ddim.hardware import count_gpus


@dataclass(frozen=True)
class Contender:
    """A way of computing the network of configs/cifar10.yml."""

    engine: str  # jittor, pytorch, or the peer: diffusers
    precision: str = "float32"
    compiled: bool = False
    plain: bool = False  # without Jittor kernels of ours

    @property
    def name(self) -> str:
        """What tables call it."""
        words = {"compiled": self.compiled, "plain": self.plain}
        return " ".join([self.engine, self.precision, *(w for w, said in words.items() if said)])


#: What the ratios are against.
PEER = Contender("diffusers")
_PLAIN = Contender("jittor", plain=True)


def samplers() -> list[Contender]:
    """Return who samples here, the peer first."""
    found = [PEER, Contender("diffusers", compiled=True)]
    for precision in _precisions():
        found += [
            Contender("pytorch", precision),
            Contender("pytorch", precision, compiled=True),
            Contender("jittor", precision),
        ]
    return [*found, _PLAIN]


def trainers() -> list[Contender]:
    """Return who trains here, the peer first."""
    found = [
        Contender(engine, precision)
        for precision in _precisions()
        for engine in ("pytorch", "jittor")
    ]
    return [PEER, *found, _PLAIN]


def by_name(name: str) -> Contender:
    """Return one of them."""
    return next(c for c in (*samplers(), *trainers()) if c.name == name)


def _precisions() -> list[str]:
    """float32, and bfloat16 where the machine has instructions for it."""
    return ["float32", *(["bfloat16"] if cpu_has_bfloat16() or count_gpus() else [])]
