"""The GPUs of this machine, as NVIDIA's driver tells."""

from typing import NamedTuple

from jittor_ddim.hardware import count_gpus, nvml

Version = tuple[int, int]


class Gpus(NamedTuple):
    """What a toolkit must suit."""

    driver: str  #: the driver's version, such as "580.65.06"
    cuda: Version  #: the newest CUDA that the driver runs
    architectures: tuple[int, ...]  #: compute capabilities times ten, such as 90, in order


def find_gpus() -> Gpus | None:
    """Return the GPUs, or None where there are none or ``CUDA_VISIBLE_DEVICES`` hides them.

    Architectures are those of hidden GPUs too: Jittor compiles for all that are there.
    """
    if count_gpus() == 0:
        return None
    with nvml() as library:
        assert library
        cuda = library.nvmlSystemGetCudaDriverVersion_v2()
        handles = map(library.nvmlDeviceGetHandleByIndex, range(library.nvmlDeviceGetCount()))
        capabilities = map(library.nvmlDeviceGetCudaComputeCapability, handles)
        architectures = {10 * major + minor for major, minor in capabilities}
        driver = library.nvmlSystemGetDriverVersion()
    version = (cuda // 1000, cuda % 1000 // 10)
    return Gpus(driver, version, tuple(sorted(architectures)))
