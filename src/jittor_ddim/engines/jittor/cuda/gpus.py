"""The GPUs of this machine, as NVIDIA's driver tells."""

from types import ModuleType
from typing import NamedTuple

from jittor_ddim.hardware import count_gpus, nvml

Version = tuple[int, int]


class Gpus(NamedTuple):
    """What a toolkit must suit."""

    driver: str  #: the driver's version, such as "580.65.06"
    cuda: Version  #: the newest CUDA that the driver runs
    architectures: tuple[int, ...]  #: compute capabilities times ten, such as 90, in order


def find_gpus() -> Gpus | None:
    """Return the GPUs, or None where none answers or ``CUDA_VISIBLE_DEVICES`` hides all.

    Architectures are those of hidden GPUs too, since CUDA may number them in another order.
    """
    with nvml() as library:
        try:
            return None if library is None or count_gpus() == 0 else _ask(library)
        except library.NVMLError:
            return None


def _ask(library: ModuleType) -> Gpus:
    cuda = library.nvmlSystemGetCudaDriverVersion_v2()
    handles = map(library.nvmlDeviceGetHandleByIndex, range(library.nvmlDeviceGetCount()))
    capabilities = map(library.nvmlDeviceGetCudaComputeCapability, handles)
    architectures = {10 * major + minor for major, minor in capabilities}
    driver = library.nvmlSystemGetDriverVersion()
    version = (cuda // 1000, cuda % 1000 // 10)
    return Gpus(driver, version, tuple(sorted(architectures)))
