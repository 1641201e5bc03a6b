"""NVIDIA's compiler takes the kernels for GPUs, for old and new ones; nothing is run."""

import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

import jittor_ddim

OPERATIONS = Path(jittor_ddim.__file__).parent / "engines" / "jittor" / "operations"
HEADERS = "device channels group_norm images algorithms convolution attention updates"
ARCHITECTURES = (80, 90, 120)
CALLS = """
#include <string>
#include <unordered_map>

using Data = std::unordered_map<std::string, double>;

void use(Data& data, float* p, int* count, const float* const* given, float* const* results,
         const int64_t* counts) {
    const ddim::Groups g{1, 32, 16, 1, 2, 1e-6f};
    ddim::normalise(g, p, p, p, p, true, p, p);
    ddim::differentiate(g, p, p, p, p, p, true, p, p, p, p);
    ddim::Cudnn convolution(data);
    convolution.packed_size(count);
    convolution.pack(p, p);
    convolution.forward(p, p, true, p, p);
    convolution.backward_input(p, p, p);
    convolution.backward_weights(p, p, p, p);
    ddim::attention(data).forward(p, p, p, p, p);
    ddim::attention(data).backward(p, p, p, p, p, p, p, p);
    ddim::adam<32, true>(given, results, counts, data);
    ddim::adam<32, false>(given, results, counts, data);
    ddim::mix<32>(given, results, counts, data);
    ddim::spoil(p, 1);
    ddim::spoil(count, 1);
    ddim::note_failure(data, std::exception());
}
"""


@pytest.mark.slow
def test_the_headers_compile_for_gpus(real_toolkit, tmp_path):
    jittor = find_spec("jittor")
    if jittor is None:
        pytest.skip("Jittor's headers are not installed")
    nvcc = real_toolkit.nvcc
    places = [Path(jittor.submodule_search_locations[0]) / "src", *real_toolkit.includes]
    places.append(real_toolkit.cudnn_header.parent)
    paths = [OPERATIONS / "failure.h", *(OPERATIONS / "cuda" / f"{n}.h" for n in HEADERS.split())]
    assert set(paths[1:]) == set((OPERATIONS / "cuda").glob("*.h"))
    source = tmp_path / "all.cc"
    source.write_text("\n".join(path.read_text() for path in paths) + CALLS)
    known = subprocess.run([nvcc, "--list-gpu-arch"], capture_output=True, text=True).stdout
    targets = [f"-gencode=arch=compute_{n},code=sm_{n}" for n in ARCHITECTURES if str(n) in known]
    assert targets
    options = ["-x", "cu", "-std=c++17", *targets, *(f"-I{place}" for place in places)]
    done = subprocess.run(
        [nvcc, *options, "-c", source, "-o", tmp_path / "all.o"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
