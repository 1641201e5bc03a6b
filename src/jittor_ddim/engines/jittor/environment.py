"""Jittor's environment variables: which of a user's are taken, and which must not get through.

Each of Jittor's flags is an environment variable too, and many have names (``debug``, ``no_grad``)
that a shell may hold for another program. Taken are those that say where things are (JITTOR_HOME,
cache_name, the paths of compilers), how much is said (log_v, …) and with how many processes Jittor
compiles; a test holds this table to what the installed Jittor reads.
"""

import os
import shutil

from jittor_ddim.engines.environment import LIBRARIES, leave_out
from jittor_ddim.errors import EngineError

#: Taken, and read as numbers by Jittor's Python or C++.
_NUMBERS = ("log_silent", "log_sync", "log_v", "use_parallel_op_compiler")

#: Why a variable is left out, and the variables.
LEFT_OUT = LIBRARIES | {
    "`device` decides, and among GPUs CUDA_VISIBLE_DEVICES": "use_cuda device_id",
    "convolutions need oneDNN": "use_mkl mkl_include_path mkl_lib_path conv_opt",
    "`precision` decides": "auto_mixed_precision_level amp_reg use_tensorcore",
    "this program needs Jittor's own order of work": "lazy_execution no_grad no_fuse node_order "
    "th_mode gopt_disable rewrite_op exclude_pass para_opt_level enable_tuner compile_options "
    "try_use_32bit_index auto_convert_64_to_32 reuse_array sync_run use_threading l1_cache_size "
    "jit_search_kernel jit_search_warmup jit_search_rerun",
    "it would compile another Jittor": "debug cuda_debug cc_flags cc_type kernel_flags nvcc_flags "
    "enable_lto use_data_gz jittor_path cache_path python_path",
    "processes that compile at the same time need its lock": "disable_lock",
    "Jittor's own memory management is used": "use_sfrl_allocator use_nfef_allocator "
    "use_stat_allocator use_temp_allocator use_cuda_managed_allocator use_cuda_host_allocator "
    "sfrl_large_block_size_device cpu_mem_limit device_mem_limit "
    "stat_allocator_total_alloc_call stat_allocator_total_alloc_byte "
    "stat_allocator_total_free_call stat_allocator_total_free_byte",
    "it is for work on Jittor itself": "gdb_path gdb_attach extra_gdb_cmd addr2line_path has_pybt "
    "trace_depth trace_py_var trace_var_data JT_SYNC JT_CHECK_NAN "
    "JT_SAVE_MEM JT_bfs_executor check_graph exec_called log_file log_op_hash "
    "profile_memory_enable profiler_enable profiler_warmup profiler_rerun profiler_record_peek "
    "profiler_record_shape profiler_hide_relay DUMP_NAN_INPUT CHECK_MEMORY mp_log_v SKEY "
    "use_auto_diff warmup rerun",
    "this program computes on CPUs and NVIDIA GPUs": "ASCEND_TOOLKIT_HOME",
}


def settle_environment() -> None:
    """Leave in the environment what this program can work with; before Jittor is imported.

    :raises EngineError: if a variable that is taken has a value with which Jittor cannot start
    """
    leave_out(LEFT_OUT)
    for name in _NUMBERS:
        if not os.environ.get(name, "0").isdecimal():
            raise EngineError(f"{name}={os.environ[name]}: Jittor wants a whole number; unset it")
    script = os.environ.get("python_config_path")
    if script and not os.path.isfile(script):
        raise EngineError(
            f"python_config_path={script}: no such file; unset it, or name a python3-config"
        )
    _check_compiler()


def _check_compiler() -> None:
    if not os.environ.get("cc_path"):
        os.environ.pop("cc_path", None)
        if shutil.which("g++") is None:
            raise EngineError("Jittor needs a compiler, and g++ is missing: apt-get install g++")
        return
    path = os.environ["cc_path"]
    # By its name Jittor tells what kind of compiler it is.
    is_known = any(kind in os.path.basename(path) for kind in ("g++", "clang", "icc", "icpc"))
    if shutil.which(path) is None or not is_known:
        raise EngineError(
            f"cc_path={path}: no such compiler, or its name is not g++ or clang++; "
            "unset it, or name one"
        )
