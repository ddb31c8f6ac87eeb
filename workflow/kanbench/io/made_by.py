"""What makes results beside the settings: the version of the code and the processor, each as a line of text."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

MADE_BY = {  # keys of provenance that tell trainings apart, and are no settings
    "code": "by several versions of kanbench's code",
    "processor": "on several kinds of processors, on which neither times nor last digits are the same",
}
NOT_RECORDED = "not recorded"  # as in earlier versions
PACKAGE = Path(__file__).parents[1]
TRAIN = ("errors.py", "io", "problems", "plan", "network", "engine", "training")  # all that a training rests on
# What decides how a loop is compiled, and which routines a BLAS takes.
VECTORS = ("sse4.2", "avx", "avx2", "fma", "avx512f", "neon", "sve")


@functools.cache
def code_digest() -> str:
    """A digest of the source files that the result of a training depends on."""
    digest = hashlib.sha256()
    for source in sorted(path for part in TRAIN for path in [PACKAGE / part, *(PACKAGE / part).rglob("*.py")]):
        if source.is_file():
            digest.update(bytes(source.relative_to(PACKAGE)) + b"\0" + source.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


@functools.cache
def processor() -> str:
    """The kind of processor as LLVM calls it, its vector extensions, and a digest of all its features."""
    from llvmlite import binding

    features = binding.get_host_cpu_features()
    vectors = ", ".join(name for name in VECTORS if features.get(name)) or "no vectors"
    digest = hashlib.sha256(features.flatten().encode()).hexdigest()[:8]
    return f"{binding.get_host_cpu_name()} ({vectors}; {digest})"
