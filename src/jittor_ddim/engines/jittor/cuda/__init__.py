"""Jittor on an NVIDIA GPU, with the compiler and libraries that the machine has.

Jittor 1.3.11 knows CUDA up to 12 and cuDNN 8, in the folders of an installed toolkit.
:mod:`.gpus` asks the driver, :mod:`.toolkit` finds a compiler, headers and libraries wherever they
lie, of CUDA 13 and cuDNN 9 too, :mod:`.folder` makes of them the folder that Jittor expects, and
:mod:`.environment` shows it to Jittor. None of Jittor's own files is changed.
"""
