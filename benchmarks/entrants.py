"""Who is measured."""

from dataclasses import dataclass

from jittor_ddim.engines.precision import PRECISIONS, cpu_has_bfloat16

#: The config whose network everybody has.
CIFAR10 = "cifar10.yml"


@dataclass(frozen=True)
class Entrant:
    """A way of computing a network."""

    engine: str  # jittor, pytorch, or the peer: diffusers
    precision: str = "float32"
    compiled: bool = False
    graphs: bool = False  # CUDA graphs
    direct: bool = False  # 3x3 convolutions on a CPU by the frameworks, not by ours

    @property
    def name(self) -> str:
        """What tables call it."""
        words = {"compiled": self.compiled, "graphs": self.graphs, "direct": self.direct}
        return " ".join([self.engine, self.precision, *(w for w, said in words.items() if said)])

    @property
    def file_name(self) -> str:
        """What its files and folders are called."""
        return self.name.replace(" ", "-")


#: What the ratios are against.
PEER = Entrant("diffusers")
_DIRECT = [Entrant("pytorch", direct=True), Entrant("jittor", direct=True)]


def principals() -> list[Entrant]:
    """Return the peer and our engines as they are on this CPU by themselves."""
    return [PEER, *(Entrant(name, p) for p in cpu_precisions() for name in ("pytorch", "jittor"))]


def samplers() -> list[Entrant]:
    """Return who samples on this CPU, the peer first."""
    found = [PEER, Entrant("diffusers", compiled=True)]
    for precision in cpu_precisions():
        found += [
            Entrant("pytorch", precision),
            Entrant("pytorch", precision, compiled=True),
            Entrant("jittor", precision),
        ]
    return [*found, *_DIRECT]


def trainers() -> list[Entrant]:
    """Return who trains on this CPU, the peer first."""
    return [*principals(), *_DIRECT]


def on_gpu() -> list[Entrant]:
    """Return who samples and trains on a GPU, those last that are compiled."""
    return [
        *(Entrant("diffusers", precision) for precision in PRECISIONS),
        *(Entrant("pytorch", precision) for precision in PRECISIONS),
        *(Entrant("jittor", precision) for precision in PRECISIONS),
        *(Entrant("pytorch", precision, graphs=True) for precision in PRECISIONS),
        Entrant("pytorch", "bfloat16", compiled=True, graphs=True),
        Entrant("diffusers", "bfloat16", compiled=True),
    ]


def by_name(name: str) -> Entrant:
    """Return one of them."""
    return next(c for c in (*samplers(), *trainers(), *on_gpu()) if c.name == name)


def cpu_precisions() -> list[str]:
    """Return float32, and bfloat16 where the CPU has instructions for it."""
    return ["float32", *(["bfloat16"] if cpu_has_bfloat16() else [])]
