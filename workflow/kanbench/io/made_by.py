"""What results depend on besides the settings: the version of the code and the processor, each as a line of text."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

MADE_BY = {  # keys of provenance that distinguish trainings without being settings
    "code": "by several versions of kanbench's code",
    "processor": "on several kinds of processors, on which neither times nor last digits are the same",
}
NOT_RECORDED = "not recorded"  # results of earlier versions
PACKAGE = Path(__file__).parents[1]
TRAIN = ("errors.py", "io", "problems", "plan", "network", "engine", "training")  # the code a training depends on
# Vector extensions that determine how loops are compiled and which BLAS routines are used.
VECTORS = ("sse4.2", "avx", "avx2", "fma", "avx512f", "neon", "sve")


@functools.cache
def code_digest() -> str:
    """A digest of the source files on which the result of a training depends."""
    digest = hashlib.sha256()
    for source in sorted(path for part in TRAIN for path in [PACKAGE / part, *(PACKAGE / part).rglob("*.py")]):
        if source.is_file():
            digest.update(bytes(source.relative_to(PACKAGE)) + b"\0" + source.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


@functools.cache
def processor() -> str:
    """LLVM's name of the processor, its vector extensions, and a digest of all its features."""
    from llvmlite import binding

    features = binding.get_host_cpu_features()
    vectors = ", ".join(name for name in VECTORS if features.get(name)) or "no vectors"
    digest = hashlib.sha256(features.flatten().encode()).hexdigest()[:8]
    return f"{binding.get_host_cpu_name()} ({vectors}; {digest})"
