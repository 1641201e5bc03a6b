"""A toolkit is found wherever its parts lie, and what it lacks is named."""

import errno
import subprocess
from pathlib import Path

import pytest

from jittor_ddim.engines.jittor.cuda import folder as folders
from jittor_ddim.engines.jittor.cuda import gpus, toolkit
from jittor_ddim.engines.jittor.cuda.folder import preprocessor_flags, toolkit_folder
from jittor_ddim.engines.jittor.cuda.gpus import Gpus, find_gpus
from jittor_ddim.engines.jittor.cuda.toolkit import NoToolkitError, complete, usable_toolkit
from jittor_ddim.errors import MachineError, UserError

KNOWN = {11: "35 70 80 90", 12: "50 70 80 90 100 120", 13: "75 80 90 100 120"}
SONAMES = {number: names.split() for number, names in toolkit._LIBRARIES.items()}


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch, tmp_path):
    """Nothing but what a test puts there."""
    for name in ("nvcc_path", "CUDNN_PATH", "CUDA_HOME", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LD_LIBRARY_PATH", "")
    monkeypatch.setenv("JITTOR_DDIM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(toolkit, "_SYSTEM", ())
    monkeypatch.setattr(toolkit, "_USR", tmp_path / "usr")
    monkeypatch.setattr(toolkit, "_INSTALLED", ())
    monkeypatch.setattr(toolkit, "_wheels", lambda pattern: [])
    monkeypatch.setattr(toolkit.shutil, "which", lambda name: None)
    monkeypatch.setattr(toolkit, "find_gpus", lambda: Gpus("580.65", (13, 0), (90,)))
    usable_toolkit.cache_clear()
    yield
    usable_toolkit.cache_clear()


def write(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def make_nvcc(root, version="13.0"):
    """A compiler that says its version, and otherwise what it was asked."""
    known = KNOWN.get(int(version.partition(".")[0]), "90").replace(" ", "\n")
    listed = "\n".join(f"compute_{number}" for number in known.split())
    write(
        root / "bin" / "nvcc",
        f"#!/bin/sh\ncase $1 in --version) echo 'Cuda tools, release {version}, V1';;\n"
        f"--list-gpu-arch) echo '{listed}';; *) for a do echo \"$a\"; done;; esac\n",
    )
    (root / "bin" / "nvcc").chmod(0o755)
    return root / "bin" / "nvcc"


def make_cuda(root, version="13.0", lib="lib64"):
    major, minor = map(int, version.split("."))
    for header in toolkit._HEADERS:
        write(root / "include" / header)
    number = f"#define CUDART_VERSION  {1000 * major + 10 * minor}\n"
    write(root / "include" / "cuda_runtime_api.h", number)
    for name in SONAMES[major]:
        stem, _, suffix = name.partition(".")
        write(root / lib / f"lib{stem}.so.{suffix}")


def make_cudnn(root, version="9.19", lib="lib"):
    major, minor = version.split(".")
    write(root / "include" / "cudnn.h", "real\n")
    text = f"#define CUDNN_MAJOR {major}\n#define CUDNN_MINOR {minor}\n"
    write(root / "include" / "cudnn_version.h", text)
    parts = ["", "_ops", "_cnn"] if major == "9" else ["", "_ops_infer", "_cnn_train"]
    for part in parts:
        write(root / lib / f"libcudnn{part}.so.{major}")


def make_all(root, version="13.0", cudnn="9.19"):
    make_cuda(root, version)
    make_cudnn(root, cudnn, "lib64")
    return make_nvcc(root, version)


@pytest.mark.parametrize(
    "version, cudnn", [("11.8", "8.9"), ("12.4", "8.9"), ("12.8", "9.1"), ("13.0", "9.19")]
)
def test_an_installed_toolkit_serves(monkeypatch, tmp_path, version, cudnn):
    nvcc = make_all(tmp_path / "cuda", version, cudnn)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "cuda"))
    found = usable_toolkit()
    assert found.nvcc == nvcc
    assert ".".join(map(str, found.version)) == version
    assert ".".join(map(str, found.cudnn_version)) == cudnn
    assert f"CUDA {version} at {nvcc}, cuDNN {cudnn} at " in str(found)
    assert str(found).endswith("for sm_90")


def test_a_compiler_here_and_the_libraries_of_wheels_there(monkeypatch, tmp_path):
    wheels = {"cu*": tmp_path / "nvidia" / "cu13", "cudnn": tmp_path / "nvidia" / "cudnn"}
    make_cuda(wheels["cu*"], lib="lib")
    make_cudnn(wheels["cudnn"])
    every = list(wheels.values())
    monkeypatch.setattr(toolkit, "_wheels", lambda p: every if p == "*" else [wheels[p]])
    monkeypatch.setattr(toolkit, "_is_installed", lambda name: name.endswith("13"))
    nvcc = make_nvcc(tmp_path / "installed")
    monkeypatch.setattr(toolkit.shutil, "which", lambda name: str(nvcc))
    found = usable_toolkit()
    assert found.nvcc == nvcc
    assert found.libraries[0] == wheels["cu*"] / "lib" / "libnvJitLink.so.13"
    assert found.cudnn_header == wheels["cudnn"] / "include" / "cudnn.h"


def test_the_wheels_own_compiler_comes_first(monkeypatch, tmp_path):
    wheels = tmp_path / "nvidia" / "cu13"
    nvcc = make_all(wheels)
    monkeypatch.setattr(toolkit, "_wheels", lambda p: [wheels] if p != "cudnn" else [])
    monkeypatch.setattr(toolkit.shutil, "which", lambda name: str(make_all(tmp_path / "other")))
    assert usable_toolkit().nvcc == nvcc


def test_a_candidate_that_lacks_something_gives_way_to_the_next(monkeypatch, tmp_path):
    make_nvcc(tmp_path / "bare")
    nvcc = make_all(tmp_path / "whole", "12.4", "8.9")
    monkeypatch.setattr(toolkit.shutil, "which", lambda name: str(tmp_path / "bare/bin/nvcc"))
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "whole"))
    assert usable_toolkit().nvcc == nvcc


def test_what_would_serve_is_named_before_what_does_not_suit(monkeypatch, tmp_path):
    """A driver for CUDA 12, the wheels of 13, and a toolkit of 12 without cuDNN."""
    make_all(tmp_path / "nvidia" / "cu13")
    monkeypatch.setattr(
        toolkit, "_wheels", lambda p: [tmp_path / "nvidia" / "cu13"] if p == "cu*" else []
    )
    make_nvcc(tmp_path / "12", "12.4")
    make_cuda(tmp_path / "12", "12.4")
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "12"))
    monkeypatch.setattr(toolkit, "find_gpus", lambda: Gpus("550.54", (12, 4), (90,)))
    with pytest.raises(NoToolkitError, match="cuDNN 8 or 9 .*: install the CUDA 12 toolkit, and"):
        usable_toolkit()


def test_the_compiler_that_a_user_names_and_no_other(monkeypatch, tmp_path):
    make_all(tmp_path / "whole")
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "whole"))
    monkeypatch.setenv("nvcc_path", str(make_nvcc(tmp_path / "named")))
    with pytest.raises(NoToolkitError, match=r"the header cuda_runtime.h for CUDA 13.0 \(.*named"):
        usable_toolkit()


def without(*names):
    def remove(root):
        for name in names:
            (root / name).unlink()

    return remove


@pytest.mark.parametrize(
    "damage, message",
    [
        (without("include/curand.h"), "the header curand.h for CUDA 13.0"),
        (without("lib64/libcublas.so.13"), "libcublas.so.13 for CUDA 13.0"),
        (without("include/cudnn.h"), "cuDNN 8 or 9 with its header"),
        (without("lib64/libcudnn.so.9", "lib64/libcudnn_ops.so.9", "lib64/libcudnn_cnn.so.9"),
         "cuDNN 8 or 9 with its header"),
        (lambda root: make_cudnn(root, "7.6", "lib64"), "cuDNN 8 or 9; the one at .* is 7"),
        (lambda root: make_cuda(root, "12.4"), "headers for CUDA 13.0 .*those at .* of CUDA 12.4"),
        (lambda root: make_nvcc(root, "10.2"), "a CUDA between 11.8 and 13; CUDA 10.2"),
        (lambda root: make_nvcc(root, "14.0"), "a CUDA between 11.8 and 13; CUDA 14.0"),
        (lambda root: write(root / "bin/nvcc", "#!/bin/sh\nexit 1"), "does not say its version"),
        (lambda root: write(root / "bin/nvcc", "garbage"), "a working compiler"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_in_one_line(monkeypatch, tmp_path, damage, message):
    monkeypatch.setenv("nvcc_path", str(make_all(tmp_path)))
    damage(tmp_path)
    with pytest.raises(NoToolkitError, match=message) as error:
        usable_toolkit()
    assert "\n" not in str(error.value)


def test_a_driver_that_is_too_old_is_told_with_the_version_needed(monkeypatch, tmp_path):
    nvcc = make_all(tmp_path)
    with pytest.raises(NoToolkitError, match=r"driver of version 580 .* 550.54, runs CUDA 12"):
        complete(nvcc, Gpus("550.54", (12, 4), (90,)))
    # Within a major version newer CUDAs run on older drivers.
    complete(make_all(tmp_path / "12", "12.8"), Gpus("550.54", (12, 4), (90,)))


@pytest.mark.parametrize(
    "gpu, compiled",
    [
        ((75,), (75,)),
        ((35, 90), (90,)),
        ((86,), (80,)),
        ((120,), (120,)),
        ((130,), (120,)),
        ((80, 90), (80, 90)),
    ],
)
def test_code_is_made_for_the_gpus_that_are_there(tmp_path, gpu, compiled):
    found = complete(make_all(tmp_path), Gpus("580", (13, 0), gpu))
    assert found.architectures == compiled


def test_a_gpu_that_the_compiler_no_longer_knows(tmp_path):
    with pytest.raises(NoToolkitError, match=r"capability 7.0; CUDA 13.0 .* needs 7.5"):
        complete(make_all(tmp_path), Gpus("580", (13, 0), (70,)))


def test_cudnn_where_the_user_says(monkeypatch, tmp_path):
    nvcc = make_all(tmp_path / "cuda", "12.4", "9.1")
    make_cudnn(tmp_path / "cudnn", "8.9")
    monkeypatch.setenv("CUDNN_PATH", str(tmp_path / "cudnn"))
    assert complete(nvcc, Gpus("580", (13, 0), (90,))).cudnn_version == (8, 9)
    monkeypatch.setenv("CUDNN_PATH", str(tmp_path))
    with pytest.raises(NoToolkitError, match="in CUDNN_PATH="):
        complete(nvcc, Gpus("580", (13, 0), (90,)))


def test_cudnn_of_the_system(monkeypatch, tmp_path):
    nvcc = make_nvcc(tmp_path / "cuda", "12.4")
    make_cuda(tmp_path / "cuda", "12.4")
    make_cudnn(tmp_path / "usr", "9.5", "lib/x86_64-linux-gnu")
    monkeypatch.setattr(toolkit, "_SYSTEM", (tmp_path / "usr" / "lib" / "x86_64-linux-gnu",))
    assert complete(nvcc, Gpus("580", (13, 0), (90,))).cudnn_version == (9, 5)


def test_cudnn_of_another_cuda(monkeypatch, tmp_path):
    make_cudnn(tmp_path / "nvidia" / "cudnn")
    make_cuda(tmp_path / "cuda")
    wheels = [tmp_path / "nvidia" / "cudnn"]
    monkeypatch.setattr(toolkit, "_wheels", lambda p: wheels if p in ("*", "cudnn") else [])
    monkeypatch.setattr(toolkit, "_is_installed", lambda name: name == "nvidia-cudnn-cu12")
    with pytest.raises(
        NoToolkitError, match="wheel for CUDA 12: pip uninstall nvidia-cudnn-cu12, then"
    ):
        complete(make_nvcc(tmp_path / "cuda"), Gpus("580", (13, 0), (90,)))


def test_without_a_gpu_nothing_is_searched(monkeypatch):
    monkeypatch.setattr(toolkit, "find_gpus", lambda: None)
    monkeypatch.setattr(toolkit, "_compilers", lambda: pytest.fail("searched"))
    with pytest.raises(NoToolkitError, match="an NVIDIA GPU with its driver"):
        usable_toolkit()
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        with pytest.raises(NoToolkitError, match="a GPU that CUDA_VISIBLE_DEVICES does not hide"):
            usable_toolkit()


def test_no_compiler_anywhere():
    with pytest.raises(NoToolkitError, match=r"nvcc, CUDA's compiler: pip install 'jittor-ddim\["):
        usable_toolkit()


def test_the_driver_is_asked_for_versions_and_architectures(monkeypatch):
    class Library:
        nvmlSystemGetCudaDriverVersion_v2 = staticmethod(lambda: 12040)
        nvmlSystemGetDriverVersion = staticmethod(lambda: "550.54")
        nvmlDeviceGetCount = staticmethod(lambda: 3)
        nvmlDeviceGetHandleByIndex = staticmethod(lambda index: index)
        nvmlDeviceGetCudaComputeCapability = staticmethod(lambda i: [(9, 0), (8, 6), (9, 0)][i])
        nvmlShutdown = staticmethod(lambda: None)

    monkeypatch.setattr("jittor_ddim.hardware._start_nvml", lambda: Library)
    assert find_gpus() == Gpus("550.54", (12, 4), (86, 90))

    class LostError(Exception):
        pass

    def lost(index):
        raise LostError("GPU is lost")

    with monkeypatch.context() as patched:
        patched.setattr(Library, "NVMLError", LostError, raising=False)
        patched.setattr(Library, "nvmlDeviceGetHandleByIndex", staticmethod(lost))
        assert find_gpus() is None
    monkeypatch.setattr(gpus, "count_gpus", lambda: 0)
    assert find_gpus() is None


# The folder that Jittor sees.


def made(tmp_path, version="13.0", cudnn="9.19", gpu=(90,)):
    root = tmp_path / version
    return complete(make_all(root, version, cudnn), Gpus("580", (13, 0), gpu))


def test_the_folder_has_what_jittor_looks_for(tmp_path):
    folder = toolkit_folder(made(tmp_path))
    for name in ("cudart", "cublas", "cublasLt", "curand", "cufft", "cusparse", "cudnn"):
        assert (folder / "lib64" / f"lib{name}.so").exists(), name
    for name in ("ops_infer", "ops_train", "cnn_infer", "cnn_train"):
        assert (folder / "lib64" / f"libcudnn_{name}.so").resolve().name.endswith(".so.9")
    for name in ("cublas_v2.h", "cudnn_version.h", "npp.h", "cub_operators.h"):
        assert (folder / "include" / name).is_file(), name
    header = (folder / "include" / "cudnn.h").read_text()
    assert "RNNForwardTraining(...) CUDNN_STATUS_NOT_SUPPORTED" in header
    assert f'#include "{tmp_path}' in header
    assert toolkit_folder(made(tmp_path)) == folder  # and is not made anew


def test_an_old_toolkit_needs_no_mending(tmp_path):
    found = made(tmp_path, "12.4", "8.9")
    folder = toolkit_folder(found)
    assert preprocessor_flags(found) == ""
    assert not (folder / "include" / "cub_operators.h").exists()
    assert "NOT_SUPPORTED" not in (folder / "include" / "cudnn.h").read_text()
    assert not (folder / "lib64" / "libcudnn_ops_train.so").exists()
    assert (folder / "lib64" / "libcudnn_ops_infer.so").exists()


def test_the_compiler_is_called_for_exact_arithmetic_and_these_gpus(tmp_path):
    folder = toolkit_folder(made(tmp_path, gpu=(80, 120)))
    given = ["-std=c++14", "--use_fast_math", "-arch=compute_80", "-code=sm_80", "a b.cu", "-O3"]
    said = subprocess.check_output([folder / "bin" / "nvcc", *given], text=True).splitlines()
    assert said[-3:] == ["-std=c++17", "a b.cu", "-O3"]
    assert [word for word in said if word.startswith("arch=")] == [
        "arch=compute_80,code=sm_80",
        "arch=compute_120,code=sm_120",
        "arch=compute_120,code=compute_120",
    ]


def test_a_deleted_environment_is_noticed(tmp_path):
    first = made(tmp_path / "deleted")
    old = toolkit_folder(first)
    (tmp_path / "deleted").rename(tmp_path / "gone")
    new = toolkit_folder(made(tmp_path / "other"))
    assert new != old and not old.exists()
    # The same place again, where a link of before leads nowhere.
    again = made(tmp_path / "deleted")
    folder = toolkit_folder(again)
    (folder / "include" / "cufft.h").unlink()
    (folder / "include" / "cufft.h").symlink_to(tmp_path / "nowhere")
    assert (toolkit_folder(again) / "include" / "cufft.h").exists()


def test_a_dangling_link_among_the_headers_is_left_out(tmp_path):
    found = made(tmp_path)
    (found.includes[0] / "broken.h").symlink_to(tmp_path / "nowhere")
    folder = toolkit_folder(found)
    (folder / "marker").touch()
    assert (toolkit_folder(found) / "marker").exists()


def test_an_interrupted_one_is_never_taken(monkeypatch, tmp_path):
    found = made(tmp_path)

    def interrupt(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(folders, "_link", interrupt)
        with pytest.raises(KeyboardInterrupt):
            toolkit_folder(found)
    assert not list((tmp_path / "cache" / "cuda").glob("[!.]*"))
    assert (toolkit_folder(found) / "lib64" / "libcudart.so").exists()


def test_a_cache_that_cannot_be_written(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("JITTOR_DDIM_CACHE", str(tmp_path / "file"))
    with pytest.raises((UserError, MachineError), match="file"):
        toolkit_folder(made(tmp_path))


def test_a_full_disk(monkeypatch, tmp_path):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(folders.os, "symlink", full)
    with pytest.raises(MachineError, match=r"cuda.*: .*(space|full)"):
        toolkit_folder(made(tmp_path))
    assert not list((tmp_path / "cache" / "cuda").glob("[!.]*"))
