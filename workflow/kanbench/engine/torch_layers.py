"""The arithmetic of `kanbench.engine.local_torch`: one layer of splines, forward and backward, for a batch of samples.

Between two of its knots, with the local coordinate u = (x - left knot) / width in [0, 1), a spline of order k is a
polynomial of degree k. An edge φ(x) = b base(x) + Σ_c e_c B_c(x), with e = mask · scale_sp · coef and
b = mask · scale_base, is therefore on every interval a sum of the k + 2 features

    1, u, …, uᵏ, base(x)

which depend on the input alone and are shared by all edges that leave a node. Their weights are tabulated for all
intervals once per θ (a table of intervals × features × edges, much smaller than the samples' intermediates), and
a sample fetches the weights of its intervals. The chain rule goes back the same way: products of δ and features are
summed by interval, and only these sums meet the basis functions' polynomials.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from kan import KAN
from kan.KANLayer import KANLayer
from torch import Tensor
from torch.nn.functional import pad

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


BASE_FUNCTIONS: dict[str, BaseFunction] = {"silu": silu, "identity": identity, "zero": zero}


class Features(NamedTuple):
    """What n samples are to a layer with `in` inputs, whatever its parameters; F = k + 2 features.

    `piece` counts the intervals of all inputs: input i has those from i (K + 1) on, the first and the last of which lie
    outside its K knots.
    """

    piece: Tensor  # (n, in)
    value: Tensor  # (n, in, F)

    def of(self, samples: slice) -> Features:
        return Features(self.piece[samples], self.value[samples])


class Grid:
    """The knots of a layer, and its basis functions as polynomials; everything that θ does not change.

    Parameters
    ----------
    layer : KANLayer
    base : function
        One of `BASE_FUNCTIONS`.
    """

    def __init__(self, layer: KANLayer, base: BaseFunction) -> None:
        self.base, self.order = base, layer.k
        self.knots = layer.grid.detach().contiguous()
        self.n_pieces = self.knots.shape[1] + 1
        device, dtype = self.knots.device, self.knots.dtype
        self.first_piece = self.n_pieces * torch.arange(len(self.knots), device=device)
        left, density = (pad(part, (1, 1)) for part in (self.knots[:, :-1], _inverse(self.knots.diff(dim=1))))
        slopes = torch.arange(self.order + 1, device=device, dtype=dtype) * density[:, :, None]
        # (pieces, k + 3): left knot, 1 / width, and the factors by which powers of u become their derivatives by x
        self.scales = torch.cat([left[:, :, None], density[:, :, None], slopes], 2).flatten(end_dim=1)
        first_coef = torch.arange(-self.order - 1, self.n_pieces - self.order - 1, device=device)
        windows = first_coef[:, None] + torch.arange(self.order + 1, device=device)
        # Where there is no such coefficient the polynomial is zero, so that any other will do.
        self.windows = windows.clamp(0, layer.coef.shape[2] - 1).flatten()
        polynomials = pad(tabulate(self.knots.double(), self.order), (0, 0, 0, 0, 1, 1)).to(dtype)
        self.polynomials = polynomials.flatten(end_dim=1)  # (pieces, powers, basis functions)
        # (pieces, basis functions from the last to the first, powers)
        self.adjoint = self.polynomials.flip(2).transpose(1, 2).contiguous()

    def features(self, x: Tensor) -> tuple[Features, Tensor]:
        """The features of inputs x, shape (n, in), and their derivatives by x, shape (n, in, F)."""
        in_row = torch.searchsorted(self.knots, x.T.contiguous(), right=True).T
        piece = torch.add(in_row, self.first_piece, out=torch.empty(x.shape, dtype=torch.int64, device=x.device))
        scales = self.scales.index_select(0, piece.view(-1)).view(*x.shape, -1)
        u = (x - scales[..., 0]) * scales[..., 1]
        powers = x.new_ones(*x.shape, self.order + 2)  # 1, 1, u, …, uᵏ
        for power in range(2, self.order + 2):  # on CUDA, `cumprod` of so few takes forty times as long
            torch.mul(powers[..., power - 1], u, out=powers[..., power])
        base, base_slope = self.base(x)
        return (
            Features(piece, torch.cat([powers[..., 1:], base[..., None]], 2)),
            torch.cat([powers[..., :-1] * scales[..., 2:], base_slope[..., None]], 2),
        )

    def basis(self, features: Features) -> tuple[Tensor, Tensor]:
        """The k + 1 basis functions that are not zero, and their numbers, both of shape (n, in, k + 1).

        The numbers count k + 1 before the first basis function too, and as many behind the last: those of samples
        outside the knots, which are zero.
        """
        polynomials = self.polynomials[features.piece]
        basis = (features.value[:, :, None, :-1] @ polynomials).squeeze(2)
        first = features.piece - self.first_piece
        return basis, first[:, :, None] + torch.arange(self.order + 1, device=first.device)


def tabulate(t: Tensor, k: int) -> Tensor:
    """The basis functions on each of the intervals between knots, as polynomials of the local coordinate.

    Cox-de Boor's recursion on polynomials. Where pykan divides by a distance of zero, its basis function is zero.

    Parameters
    ----------
    t : Tensor of shape (in, K)

    Returns
    -------
    Tensor of shape (in, K - 1, k + 1, k + 1)
        For an input and interval m, the coefficients of u^q in basis function m - k + r, by q and r.
    """
    n_intervals = t.shape[1] - 1
    interval = torch.arange(n_intervals, device=t.device)
    j = interval + torch.arange(-k, 1, device=t.device)[:, None]  # (k + 1, intervals): the basis functions
    left, width = t[:, None, :-1, None], t.diff(dim=1)[:, None, :, None]
    basis = t.new_zeros(len(t), k + 2, n_intervals, k + 1)  # and a zero, behind the last
    basis[:, k, :, 0] = 1

    def knot(number: Tensor) -> Tensor:
        return t[:, number.clamp(0, n_intervals)][..., None]

    for d in range(1, k + 1):
        rise, fall = knot(j + d) - knot(j), knot(j + d + 1) - knot(j + 1)
        exists = ((j >= 0) & (j + d + 1 <= n_intervals))[None, :, :, None] & (rise != 0) & (fall != 0)
        rise, fall = (torch.where(exists, 1 / distance, 0) for distance in (rise, fall))
        low, high = basis[:, :-1], basis[:, 1:]
        constant = (left - knot(j)) * rise * low + (knot(j + d + 1) - left) * fall * high
        linear = width * (rise * low - fall * high)
        basis = pad(constant + pad(linear[..., :-1], (1, 0)), (0, 0, 0, 0, 0, 1))
    return basis[:, :-1].permute(0, 2, 3, 1)


def _inverse(lengths: Tensor) -> Tensor:
    """1 / lengths; 0 for knots that coincide: no number is between them."""
    return torch.where(lengths > 0, 1 / lengths, 0)


class Layer:
    """A layer with the parameters that it has at this moment.

    Attributes
    ----------
    table : Tensor of shape (pieces, F, out)
        The weights of the features, for all inputs' pieces one after another.
    """

    def __init__(self, layer: KANLayer, grid: Grid) -> None:
        self.grid = grid
        self.coef, self.mask = layer.coef.detach(), layer.mask.detach()
        self.scale_sp = layer.scale_sp.detach()
        self.scale = self.mask * self.scale_sp
        n_inputs, n_outputs = self.mask.shape
        e = self.coef.transpose(1, 2) * self.scale[:, None, :]  # (in, G + k, out)
        # In pykan, every sample meets every coefficient, if only to multiply it by zero: what is not finite shows.
        b = torch.add(self.mask * layer.scale_base.detach(), e.sum(1), alpha=0)
        splines = e.index_select(1, grid.windows).view(-1, grid.order + 1, n_outputs)  # (pieces, basis functions, out)
        weights = torch.bmm(grid.polynomials, splines).view(n_inputs, grid.n_pieces, -1, n_outputs)
        weights_of_base = b[:, None, None, :].expand(-1, grid.n_pieces, 1, -1)
        self.table = torch.cat([weights, weights_of_base], 2).flatten(end_dim=1)

    def kept(self) -> Layer:
        """This layer, made not to follow the model's parameters any more."""
        self.coef, self.scale_sp = self.coef.clone(), self.scale_sp.clone()
        return self

    def fetch(self, features: Features) -> Tensor:
        """The weights that the samples meet, shape (n, in * F, out)."""
        n, n_inputs, n_features = features.value.shape
        rows = self.table.flatten(start_dim=1).index_select(0, features.piece.flatten())
        return rows.view(n, n_inputs * n_features, -1)

    def outputs(self, features: Features, weights: Tensor) -> Tensor:
        """Shape (n, out)."""
        return (features.value.view(len(weights), -1, 1) * weights).sum(1)

    def delta_of_inputs(self, weights: Tensor, slope: Tensor, delta: Tensor) -> Tensor:
        """δ at the inputs, shape (n, in), from δ at the outputs, shape (n, out)."""
        return ((weights * delta[:, None, :]).sum(2).view_as(slope) * slope).sum(2)

    def derivatives(self, features: Features, delta: Tensor) -> Tensor:
        """The derivatives by the table, with its shape, from δ at the outputs."""
        products = features.value[..., None] * delta[:, None, None, :]  # (n, in, F, out)
        sum_by_piece = sum_by_matmul if delta.is_cuda else sum_by_index
        return sum_by_piece(features.piece, products, self.grid.first_piece, self.grid.n_pieces)

    def gradient(self, sums: Tensor) -> dict[str, Tensor]:
        """The derivatives by the layer's parameters from those by the table."""
        window, n_inputs = self.grid.order + 1, len(self.mask)
        by_interval = torch.bmm(self.grid.adjoint, sums[:, :-1])  # (pieces, basis functions reversed, out)
        by_interval = by_interval.view(n_inputs, self.grid.n_pieces, window, -1)
        # What basis function c is on interval m + t is its entry k - t there.
        by_e = by_interval.unfold(1, window, 1).diagonal(dim1=2, dim2=4).sum(3)[:, 1:-1].transpose(1, 2)
        return {
            "coef": by_e * self.scale[:, :, None],
            "scale_base": self.mask * sums[:, -1].view(n_inputs, self.grid.n_pieces, -1).sum(1),
            "scale_sp": self.mask * (by_e * self.coef).sum(2),
        }

    def jacobian(self, features: Features, delta: Tensor) -> dict[str, Tensor]:
        """The derivatives of every sample's output by the layer's parameters, from δ at the layer's outputs."""
        window = self.grid.order + 1
        basis, number = self.grid.basis(features)
        dense = basis.new_zeros(*number.shape[:2], self.coef.shape[2] + 2 * window)
        dense = dense.scatter_(2, number, basis)[:, :, None, window:-window]  # (n, in, 1, G + k)
        delta = delta[:, None, :] * self.mask  # (n, in, out)
        return {
            "coef": dense * (delta * self.scale_sp)[..., None],
            "scale_base": features.value[:, :, -1:] * delta,
            "scale_sp": delta * torch.einsum("nic,ioc->nio", dense.squeeze(2), self.coef),
        }


@torch.no_grad()
def layer_inputs(model: KAN, x: Tensor) -> list[Tensor]:
    """The inputs of every layer, shapes (n, width of the layer), for model inputs x of shape (n, d)."""
    inputs = [x[:, model.input_id.long()]]
    for layer in model.act_fun[:-1]:
        grid = Grid(layer, lambda x, base=layer.base_fun: (base(x), x))  # its slope is not looked at
        features, _ = grid.features(inputs[-1])
        layer_now = Layer(layer, grid)
        inputs.append(layer_now.outputs(features, layer_now.fetch(features)))
    return inputs


def sum_by_index(piece: Tensor, values: Tensor, first_piece: Tensor, n_pieces: int) -> Tensor:
    """The sums of values, shape (n, in, F, out), over the samples in the same piece, shape (pieces, F, out).

    In the order of the samples on a CPU; on CUDA in any order, which changes the last digits from call to call.
    """
    total = values.new_zeros(len(first_piece) * n_pieces, *values.shape[2:])
    return total.index_add_(0, piece.view(-1), values.flatten(end_dim=1))


def sum_by_matmul(piece: Tensor, values: Tensor, first_piece: Tensor, n_pieces: int) -> Tensor:
    """The same, in float64, by products with matrices of zeros and ones: more work, but few kernels, and in one order.

    In float32 the sums over a chunk, which on a GPU is all of a large sample, would be wrong by 1e-5.
    """
    pieces = first_piece[:, None] + torch.arange(n_pieces, device=piece.device)
    values = values.double()
    chosen = (piece[:, :, None] == pieces).to(values.dtype)  # (n, in, K + 1)
    total = torch.bmm(chosen.permute(1, 2, 0), values.flatten(start_dim=2).transpose(0, 1))  # (in, K + 1, F · out)
    return total.view(-1, *values.shape[2:])
