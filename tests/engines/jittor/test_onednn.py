import os
import shutil
import signal
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from killing import ENVIRONMENT

from jittor_ddim.engines.jittor import onednn
from jittor_ddim.engines.jittor.onednn import FOLDER_NAME, ensure_onednn, is_complete
from jittor_ddim.errors import EngineError

LIBRARY = "libdnnl.so.2.6"

PLACE = """
import sys
from pathlib import Path
from jittor_ddim.engines.jittor.onednn import ensure_onednn
print(ensure_onednn(Path(sys.argv[1])))
"""

#: As PLACE, but it dies as it copies its Nth file.
DIE = (
    """
import os, shutil, signal, sys
left = int(sys.argv[2])
def copy(source, destination, whole=shutil.copyfile):
    global left
    left -= 1
    if left < 0:
        destination.write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)
    whole(source, destination)
shutil.copyfile = copy
"""
    + PLACE
)


def process(script, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def placed(tmp_path_factory):
    return ensure_onednn(tmp_path_factory.mktemp("home") / "mkl")


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Packages of a few bytes instead of 40 MB."""
    header = tmp_path / "venv" / "include" / "dnnl.hpp"
    header.parent.mkdir(parents=True)
    header.write_text("// header")
    library = tmp_path / "venv" / LIBRARY
    library.write_text("library")
    files = (library, [(header, Path("dnnl.hpp"))])
    monkeypatch.setattr(onednn, "_installed_files", lambda: files)
    return tmp_path / "mkl"


def state(folder):
    """Inode, time and size of everything in a folder."""
    paths = [folder, *folder.rglob("*")]
    return {p: (p.lstat().st_ino, p.lstat().st_mtime_ns, p.lstat().st_size) for p in paths}


def test_what_jittor_and_the_loader_look_for_is_there(placed):
    assert placed.name == FOLDER_NAME == "dnnl_lnx_2.2.0_cpu_gomp"
    assert is_complete(placed)
    library = (placed / "lib" / LIBRARY).read_bytes()
    assert library[:4] == b"\x7fELF" and len(library) > 10e6
    for name in ("libmkldnn.so", "libdnnl.so", "libdnnl.so.2"):
        assert (placed / "lib" / name).read_bytes() == library
    for name in ("dnnl.hpp", "dnnl.h", "dnnl_config.h", "oneapi/dnnl/dnnl.hpp"):
        assert (placed / "include" / name).is_file(), name
    assert "#define DNNL_VERSION_MINOR 6" in "".join(
        path.read_text() for path in (placed / "include").rglob("dnnl_version.h")
    )


def test_nothing_leads_back_into_the_virtual_environment(placed):
    for path in placed.rglob("*"):
        assert path.resolve().is_relative_to(placed.resolve()), path
        assert path.is_symlink() or path.is_dir() or path.stat().st_nlink == 1, path


def test_nothing_else_is_left_beside_it(placed):
    others = {path.name for path in placed.parent.iterdir()} - {FOLDER_NAME}
    assert others <= {".jittor-ddim-lock"}


def test_a_complete_folder_is_left_untouched(small):
    """Jittor's own download, say, whatever is in it."""
    folder = small / FOLDER_NAME
    for name in ("lib/libmkldnn.so", "include/dnnl.hpp"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text("Jittor's")
    before = state(small)
    assert ensure_onednn(small) == folder
    assert state(small) == before


def test_a_second_call_changes_nothing(placed):
    before = state(placed)
    assert ensure_onednn(placed.parent) == placed
    assert state(placed) == before


@pytest.mark.parametrize("present", ["lib/libmkldnn.so", "include/dnnl.hpp", "README"])
def test_an_incomplete_folder_is_replaced(small, present):
    left = small / FOLDER_NAME / present
    left.parent.mkdir(parents=True)
    left.write_text("cut off")
    folder = ensure_onednn(small)
    assert (folder / "lib" / "libmkldnn.so").read_text() == "library"
    assert (folder / "include" / "dnnl.hpp").read_text() == "// header"
    assert not (folder / "README").exists()
    assert {path.name for path in small.iterdir()} <= {FOLDER_NAME, ".jittor-ddim-lock"}


def test_a_dangling_link_counts_as_incomplete(small):
    folder = ensure_onednn(small)
    (folder / "lib" / LIBRARY).unlink()
    assert not is_complete(folder)
    assert is_complete(ensure_onednn(small))


def test_missing_packages_are_named_with_the_remedy(monkeypatch, tmp_path):
    def files(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(onednn.metadata, "files", files)
    with pytest.raises(EngineError, match=r"pip install onednn-cpu-gomp==2022\.2\.1"):
        ensure_onednn(tmp_path / "mkl")
    assert not list((tmp_path / "mkl").glob("dnnl*"))


def test_a_damaged_package_is_one_too(monkeypatch, tmp_path):
    monkeypatch.setattr(onednn.metadata, "files", lambda name: None)
    with pytest.raises(EngineError, match="pip install"):
        ensure_onednn(tmp_path / "mkl")


def test_two_processes_at_once(tmp_path):
    mkl = tmp_path / "mkl"
    processes = [process(PLACE, mkl) for _ in range(4)]
    for one in processes:
        out, err = one.communicate(timeout=60)
        assert one.returncode == 0, err
        assert out.strip() == str(mkl / FOLDER_NAME)
    assert is_complete(mkl / FOLDER_NAME)
    assert {path.name for path in mkl.iterdir()} <= {FOLDER_NAME, ".jittor-ddim-lock"}


@pytest.mark.parametrize("files", [0, 1, 5])
def test_killed_half_way_it_leaves_nothing_that_jittor_takes_for_a_onednn(tmp_path, files):
    mkl = tmp_path / "mkl"
    one = process(DIE, mkl, files)
    one.communicate(timeout=60)
    assert one.returncode == -signal.SIGKILL
    assert [p for p in mkl.iterdir() if p.name.startswith("dnnl")] == []
    assert any(mkl.glob(".jittor-ddim-tmp*"))
    folder = ensure_onednn(mkl)
    assert is_complete(folder)
    assert {path.name for path in mkl.iterdir()} <= {FOLDER_NAME, ".jittor-ddim-lock"}


def test_it_survives_the_deletion_of_the_virtual_environment(small, tmp_path):
    folder = ensure_onednn(small)
    shutil.rmtree(tmp_path / "venv")
    assert is_complete(folder)
    assert ensure_onednn(small) == folder


def test_jittor_takes_this_folder(placed):
    """The rule in jittor's compile_extern: the last listed whose name begins with dnnl."""
    assert [name for name in os.listdir(placed.parent) if name.startswith("dnnl")] == [FOLDER_NAME]
