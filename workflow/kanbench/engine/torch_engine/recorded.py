"""A computation on a GPU that is launched as a whole."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class Recorded:
    """A function from a vector to tensors, recorded as a CUDA graph, which is then run in place of it.

    Launching an operation takes torch some ten microseconds, longer than a small one takes to run; a graph is one
    launch. It works on the memory that it was recorded with: whatever else the function reads has to stay where it is.

    Args:
        function (callable): Operations on the GPU alone, which never wait for a result and depend on the vector's
            values in nothing but theirs.
        vector (Tensor): Of the shape, precision and device that all will have.
    """

    def __init__(self, function: Callable[[Tensor], tuple[Tensor, ...]], vector: Tensor) -> None:
        self.vector = vector.clone()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            function(self.vector)  # what is done only once, and cannot be recorded
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, stream=stream):
            self.results = function(self.vector)

    def __call__(self, vector: Tensor) -> tuple[Tensor, ...]:
        self.vector.copy_(vector)
        self.graph.replay()
        return tuple(result.clone() for result in self.results)  # the next call overwrites them
