"""The rehearsal toolchain: numpy programs that do the file-level work of the GPU toolchain on a tiny real model."""

import os

# The matrices are tiny: threads would cost more than they bring, and one thread makes every sum repeatable.
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
