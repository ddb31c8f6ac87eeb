"""The arithmetic of the torch engine: one layer of splines, forward and backward, for a batch of samples.

Between two of its knots, with the local coordinate u = (x - left knot) / width in [0, 1), a spline of order k is a
polynomial of degree k. An edge φ(x) = b base(x) + Σ_c e_c B_c(x), with e = mask · scale_sp · coef and
b = mask · scale_base, is therefore on every knot span a sum of the k + 2 features

    1, u, …, uᵏ, base(x)

which depend on the input only and are shared by all outgoing edges of a node. Their weights are tabulated for all spans
once per θ (a table of spans × features × edges, much smaller than the samples' intermediates), and a sample fetches the
weights of its spans. The backward pass is the adjoint: products of δ and features are summed by span, and only these
sums are multiplied by the basis functions' polynomials.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from kanbench.network.spline_network import SplineLayer
from kanbench.network.splines import basis_polynomials

BaseFunction = Callable[[Tensor], tuple[Tensor, Tensor]]


def silu(x: Tensor) -> tuple[Tensor, Tensor]:
    """x / (1 + exp(-x)) and its derivative."""
    s = x.sigmoid()
    value = x * s
    return value, torch.addcmul(s, value, 1 - s)


def identity(x: Tensor) -> tuple[Tensor, Tensor]:
    return x, torch.ones_like(x)


def zero(x: Tensor) -> tuple[Tensor, Tensor]:
    return x * 0, torch.zeros_like(x)


BASE_FUNCTIONS: dict[str, BaseFunction] = {function.__name__: function for function in (silu, identity, zero)}


class Features(NamedTuple):
    """The F = k + 2 features of n samples for a layer with `in` inputs.

    Attributes:
        span (Tensor): Index of the knot span among those of all inputs. Input i with its K knots has the K + 1 spans
            starting at i (K + 1); the first and the last lie outside the knots.
        value (Tensor): The features.
    """

    span: Tensor  # (n, in)
    value: Tensor  # (n, in, F)

    def of(self, samples: slice) -> Features:
        return Features(self.span[samples], self.value[samples])


class Grid:
    """A layer without its parameters: knots, the basis functions as polynomials, and the mask.

    All nodes are padded to the largest number of knots; see `SplineLayer.padded`.
    """

    def __init__(self, layer: SplineLayer, base: BaseFunction, device: torch.device) -> None:
        self.base, self.order = base, layer.order
        knots, coef = layer.padded(max(layer.intervals))
        self.knots, self.mask = torch.tensor(knots, device=device), torch.tensor(layer.mask, device=device)
        dtype = self.knots.dtype
        self.n_spans, self.n_coef = knots.shape[1] + 1, coef.shape[2]
        self.first_span = self.n_spans * torch.arange(len(knots), device=device)
        left, density = (pad(part, (1, 1)) for part in (self.knots[:, :-1], _inverse(self.knots.diff(dim=1))))
        slopes = torch.arange(self.order + 1, device=device, dtype=dtype) * density[:, :, None]
        # (spans, k + 3): left knot, 1 / width, and the factors that turn powers of u into their derivatives in x
        self.scales = torch.cat([left[:, :, None], density[:, :, None], slopes], 2).flatten(end_dim=1)
        first_coef = torch.arange(-self.order - 1, self.n_spans - self.order - 1, device=device)
        windows = first_coef[:, None] + torch.arange(self.order + 1, device=device)
        # Clamped indices are harmless: there the polynomials are zero.
        self.windows = windows.clamp(0, self.n_coef - 1).flatten()
        polynomials = np.stack([basis_polynomials(row, self.order) for row in knots]).swapaxes(2, 3)
        polynomials = pad(torch.tensor(polynomials, dtype=dtype, device=device), (0, 0, 0, 0, 1, 1))
        self.polynomials = polynomials.flatten(end_dim=1)  # (spans, powers, basis functions)
        # (spans, basis functions from the last to the first, powers)
        self.adjoint = self.polynomials.flip(2).transpose(1, 2).contiguous()

    def features(self, x: Tensor) -> tuple[Features, Tensor]:
        """Compute the features of inputs x, shape (n, in), and their derivatives in x, shape (n, in, F)."""
        in_row = torch.searchsorted(self.knots, x.T.contiguous(), right=True).T
        span = torch.add(in_row, self.first_span, out=torch.empty(x.shape, dtype=torch.int64, device=x.device))
        scales = self.scales.index_select(0, span.view(-1)).view(*x.shape, -1)
        u = (x - scales[..., 0]) * scales[..., 1]
        powers = x.new_ones(*x.shape, self.order + 2)  # 1, 1, u, …, uᵏ
        for power in range(2, self.order + 2):  # on CUDA, `cumprod` of so few numbers takes forty times as long
            torch.mul(powers[..., power - 1], u, out=powers[..., power])
        base, base_slope = self.base(x)
        return (
            Features(span, torch.cat([powers[..., 1:], base[..., None]], 2)),
            torch.cat([powers[..., :-1] * scales[..., 2:], base_slope[..., None]], 2),
        )

    def basis(self, features: Features) -> tuple[Tensor, Tensor]:
        """Evaluate the k + 1 nonzero basis functions; return their values and indices, both of shape (n, in, k + 1).

        Indices are shifted by k + 1, to leave room for k + 1 zero functions on either side, which samples outside the
        knots get.
        """
        polynomials = self.polynomials[features.span]
        basis = (features.value[:, :, None, :-1] @ polynomials).squeeze(2)
        first = features.span - self.first_span
        return basis, first[:, :, None] + torch.arange(self.order + 1, device=first.device)


def _inverse(lengths: Tensor) -> Tensor:
    """1 / lengths; 0 for the empty spans between coinciding knots."""
    return torch.where(lengths > 0, 1 / lengths, 0)


class Layer:
    """A layer with parameters.

    Args:
        coef (Tensor of shape (in, out, G + k)): Coefficients, padded with zeros to the largest number of intervals G.
        scale_base, scale_sp (Tensors of shape (in, out)): Scales of the base functions and splines.

    Attributes:
        table (Tensor of shape (spans, F, out)): The weights of the features on the spans of all inputs in order.
    """

    def __init__(self, grid: Grid, coef: Tensor, scale_base: Tensor, scale_sp: Tensor) -> None:
        self.grid, self.coef, self.scale_sp, self.mask = grid, coef, scale_sp, grid.mask
        self.scale = self.mask * scale_sp
        n_inputs, n_outputs = self.mask.shape
        e = coef.transpose(1, 2) * self.scale[:, None, :]  # (in, G + k, out)
        # In pykan, every coefficient is multiplied on every sample, if only by zero, so non-finite ones always show.
        b = torch.add(self.mask * scale_base, e.sum(1), alpha=0)
        splines = e.index_select(1, grid.windows).view(-1, grid.order + 1, n_outputs)  # (spans, basis functions, out)
        weights = torch.bmm(grid.polynomials, splines).view(n_inputs, grid.n_spans, -1, n_outputs)
        weights_of_base = b[:, None, None, :].expand(-1, grid.n_spans, 1, -1)
        self.table = torch.cat([weights, weights_of_base], 2).flatten(end_dim=1)

    def kept(self) -> Layer:
        """Copy the layer, so that it no longer follows changes of its parameters."""
        self.coef, self.scale_sp = self.coef.clone(), self.scale_sp.clone()
        return self

    def fetch(self, features: Features) -> Tensor:
        """Fetch the weights on the samples' spans, shape (n, in * F, out)."""
        n, n_inputs, n_features = features.value.shape
        rows = self.table.flatten(start_dim=1).index_select(0, features.span.flatten())
        return rows.view(n, n_inputs * n_features, -1)

    def outputs(self, features: Features, weights: Tensor) -> Tensor:
        return (features.value.view(len(weights), -1, 1) * weights).sum(1)

    def delta_of_inputs(self, weights: Tensor, slope: Tensor, delta: Tensor) -> Tensor:
        """Compute δ at the inputs, shape (n, in), from δ at the outputs, shape (n, out)."""
        return ((weights * delta[:, None, :]).sum(2).view_as(slope) * slope).sum(2)

    def derivatives(self, features: Features, delta: Tensor) -> Tensor:
        """Compute the derivatives with respect to the table, in its shape, from δ at the outputs, shape (n, out)."""
        products = features.value[..., None] * delta[:, None, None, :]  # (n, in, F, out)
        sum_by_span = sum_by_matmul if delta.is_cuda else sum_by_index
        return sum_by_span(features.span, products, self.grid.first_span, self.grid.n_spans)

    def gradient(self, sums: Tensor) -> dict[str, Tensor]:
        """Compute the derivatives with respect to the layer's parameters from those with respect to the table."""
        window, n_inputs = self.grid.order + 1, len(self.mask)
        by_span = torch.bmm(self.grid.adjoint, sums[:, :-1])  # (spans, basis functions reversed, out)
        by_span = by_span.view(n_inputs, self.grid.n_spans, window, -1)
        # What basis function c is on span m + t is its entry k - t there.
        by_e = by_span.unfold(1, window, 1).diagonal(dim1=2, dim2=4).sum(3)[:, 1:-1].transpose(1, 2)
        return {
            "coef": by_e * self.scale[:, :, None],
            "scale_base": self.mask * sums[:, -1].view(n_inputs, self.grid.n_spans, -1).sum(1),
            "scale_sp": self.mask * (by_e * self.coef).sum(2),
        }

    def jacobian(self, features: Features, delta: Tensor) -> dict[str, Tensor]:
        """Compute every sample's derivatives with respect to the layer's parameters, from δ at the layer's outputs."""
        window = self.grid.order + 1
        basis, number = self.grid.basis(features)
        dense = basis.new_zeros(*number.shape[:2], self.grid.n_coef + 2 * window)
        dense = dense.scatter_(2, number, basis)[:, :, None, window:-window]  # (n, in, 1, G + k)
        delta = delta[:, None, :] * self.mask  # (n, in, out)
        return {
            "coef": dense * (delta * self.scale_sp)[..., None],
            "scale_base": features.value[:, :, -1:] * delta,
            "scale_sp": delta * torch.einsum("nic,ioc->nio", dense.squeeze(2), self.coef),
        }


def sum_by_index(span: Tensor, values: Tensor, first_span: Tensor, n_spans: int) -> Tensor:
    """Sum values, shape (n, in, F, out), over the samples in the same span; return shape (spans, F, out).

    On a CPU, samples are added in order; on CUDA in any order, so the last digits change from call to call.
    """
    total = values.new_zeros(len(first_span) * n_spans, *values.shape[2:])
    return total.index_add_(0, span.view(-1), values.flatten(end_dim=1))


def sum_by_matmul(span: Tensor, values: Tensor, first_span: Tensor, n_spans: int) -> Tensor:
    """As `sum_by_index`, in float64 and by products with 0-1 matrices: more work, but few kernels and a fixed order.

    In float32, sums over a chunk (on a GPU, all of a large sample) would have relative errors of 1e-5.
    """
    spans = first_span[:, None] + torch.arange(n_spans, device=span.device)
    values = values.double()
    chosen = (span[:, :, None] == spans).to(values.dtype)  # (n, in, K + 1)
    total = torch.bmm(chosen.permute(1, 2, 0), values.flatten(start_dim=2).transpose(0, 1))  # (in, K + 1, F · out)
    return total.view(-1, *values.shape[2:])
