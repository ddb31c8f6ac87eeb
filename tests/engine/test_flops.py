"""Counted operations against programs in numpy whose every operation is counted while they run."""

import dataclasses
import itertools

import numpy as np
import pytest

from kanbench.engine import flops, make_engine
from kanbench.engine.flops import EXP, Flops
from kanbench.network.evaluation import Activations, deviations
from kanbench.network.initialization import initialize
from kanbench.network.refinement import KnotInsertion, refine
from kanbench.network.splines import basis_polynomials
from kanbench.training.optimizers import make_optimizer
from support.models_at_random import jacobian_of

RANDOM = np.random.default_rng(0)
COST = {np.exp: EXP - 2, np.negative: 0}  # 1 / (1 + exp(-x)) costs EXP in all


class Counted(np.ndarray):
    """An array that counts the operations on it, and on all that comes of it."""

    total = 0

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **more):
        plain = [np.asarray(array) if isinstance(array, Counted) else array for array in inputs]
        if out:
            more["out"] = tuple(np.asarray(array) for array in out)
        result = getattr(ufunc, method)(*plain, **more)
        if ufunc is np.matmul:
            Counted.total += 2 * np.size(result) * plain[0].shape[-1]
        elif method == "reduce":
            Counted.total += np.size(plain[0]) - np.size(result)
        elif np.asarray(result).dtype.kind == "f":
            Counted.total += COST.get(ufunc, 1) * np.size(result)
        return result.view(Counted) if isinstance(result, np.ndarray) else result


def counted(array):
    return np.asarray(array, float).view(Counted)


class Program:
    """The network in numpy, plainly: Horner's scheme on the polynomials of every knot span, by every live edge."""

    def __init__(self, network, x, y):
        self.network, self.x, self.y = network, x, y
        self.polynomials = [[basis_polynomials(t, layer.order) for t in layer.knots] for layer in network.layers]

    def tables(self):
        """Of every live edge (layer, i, j) the polynomials of all spans, shape (spans, k + 1), and b."""
        tables = {}
        for number, layer in enumerate(self.network.layers):
            for i, j in np.argwhere(layer.live):
                k, mask = layer.order, counted(layer.mask[i, j])
                scale, b = mask * layer.scale_sp[i, j], mask * layer.scale_base[i, j]
                e = scale * layer.coef[i][j]
                padded = np.concatenate([np.zeros(k), e, np.zeros(k)]).view(Counted)
                windows = np.lib.stride_tricks.sliding_window_view(np.asarray(padded), k + 1)
                products = windows[:, :, None].view(Counted) * self.polynomials[number][i]
                tables[number, i, j] = products.sum(axis=1), b
        return tables

    def inputs(self, number, i, values, slopes=False):
        """Span, local coordinate and base function of the values of a node; and the base function's slope."""
        t = self.network.layers[number].knots[i]
        span = np.clip(np.searchsorted(t, np.asarray(values), side="right") - 1, 0, len(t) - 2)
        inside = (np.asarray(values) >= t[0]) & (np.asarray(values) < t[-1])
        density = 1 / np.diff(t)
        u = (values - t[span]) * density[span]
        s = 1 / (1 + np.exp(-values))
        slope = s * (values * (1 - s) + 1) if slopes else None
        return span, u, values * s, inside, density[span], slope

    def forward(self, tables, slopes=False):
        """The inputs of all nodes, what every edge carries, and the outputs."""
        values, kept, edges = counted(self.x), {}, {}
        for number, layer in enumerate(self.network.layers):
            before = Counted.total
            nodes = [self.inputs(number, i, values[:, i], slopes) for i in range(layer.inputs)]
            if number == 0:  # computed once for all evaluations
                self.first_inputs, Counted.total = Counted.total - before, before
            outputs = np.zeros((len(self.x), layer.outputs)).view(Counted)
            for i, node in enumerate(nodes):
                span, u, base, inside, _, _ = kept[number, i] = node
                for j in np.flatnonzero(layer.live[i]):
                    a, b = tables[number, i, j]
                    a = np.where(inside[:, None], np.asarray(a)[span], 0)
                    value = a[:, -1].view(Counted)
                    for q in range(layer.order - 1, -1, -1):
                        value = value * u + a[:, q]
                    edges[number, i, j] = value + b * base
                    outputs[:, j] = outputs[:, j] + edges[number, i, j]
            values = outputs
        return kept, edges, values

    def residuals(self):
        return (self.forward(self.tables())[2] - self.y).ravel()

    def backward(self, tables, kept, delta):
        """δ at the outputs of every layer, from that at the network's; where it is zero nothing is done."""
        found = {len(self.network.layers) - 1: delta}
        for number in range(len(self.network.layers) - 1, 0, -1):
            layer = self.network.layers[number]
            delta_in = np.zeros((len(self.x), layer.inputs)).view(Counted)
            for i in range(layer.inputs):
                span, u, _, inside, density, slope = kept[number, i]
                for j in np.flatnonzero(layer.live[i] & np.asarray(found[number]).any(axis=0)):
                    a, b = tables[number, i, j]
                    a = np.where(inside[:, None], np.asarray(a)[span], 0).view(Counted)
                    derivative = a[:, -1] * layer.order
                    for q in range(layer.order - 1, 0, -1):
                        derivative = derivative * u + a[:, q] * q
                    delta_in[:, i] = delta_in[:, i] + (derivative * density + b * slope) * found[number][:, j]
            found[number - 1] = delta_in
        return found

    def loss_and_gradient(self):
        tables = self.tables()
        kept, _, outputs = self.forward(tables, slopes=True)
        Counted.total -= 4 * len(self.x) * self.network.width[0]  # no slopes are needed of the first layer
        n, r = self.y.size, outputs - self.y
        loss, parts = (r * r).sum() / n, []
        deltas = self.backward(tables, kept, 2 * r / n)
        for number, layer in enumerate(self.network.layers):
            by = {name: [] for name in ("coef", "scale_base", "scale_sp")}
            for i, j in np.argwhere(layer.live):
                span, u, base, inside, _, _ = kept[number, i]
                k, weights, d_a = (
                    layer.order,
                    deltas[number][:, j],
                    np.zeros((len(layer.knots[i]) - 1, layer.order + 1)),
                )
                by["scale_base"].append(layer.mask[i, j] * (weights * base).sum())
                for q in range(k + 1):
                    np.add.at(d_a[:, q], span[inside], np.asarray(weights)[inside])
                    Counted.total += np.count_nonzero(inside)
                    weights = weights * u if q < k else weights
                d_e = np.zeros(len(d_a) + k).view(Counted)
                products = counted(d_a)[:, None, :] * self.polynomials[number][i]
                for r_ in range(k + 1):
                    d_e[r_ : r_ + len(d_a)] = d_e[r_ : r_ + len(d_a)] + products[:, r_].sum(axis=1)
                d_e = d_e[k : len(d_e) - k]
                by["coef"].append((layer.mask[i, j] * layer.scale_sp[i, j] * counted(d_e)).ravel())
                by["scale_sp"].append(layer.mask[i, j] * (d_e * layer.coef[i][j]).sum())
            parts += [np.ravel(np.concatenate([np.atleast_1d(part) for part in by[name]])) for name in by]
        return float(loss), np.asarray(np.concatenate(parts))

    def rows(self):
        """R (see `numba_engine.rows`), by sample and output: of every edge, the numbers by e and the one by b."""
        tables = self.tables()
        kept, _, outputs = self.forward(tables, slopes=True)
        Counted.total -= 4 * len(self.x) * self.network.width[0]  # no slopes are needed of the first layer
        found = [{} for _ in range(outputs.shape[1])]
        for j, of_edges in enumerate(found):
            deltas = self.backward(tables, kept, np.eye(outputs.shape[1])[[j] * len(self.x)])
            for number, layer in enumerate(self.network.layers):
                for i in range(layer.inputs):
                    span, u, base, inside, _, _ = kept[number, i]
                    basis = list(self.basis(number, i, span, u))
                    for target in np.flatnonzero(layer.live[i] & np.asarray(deltas[number]).any(axis=0)):
                        weights = layer.mask[i, target] * counted(deltas[number][:, target])
                        by_e = [np.where(inside, weights * values, 0) for values in basis]
                        of_edges[number, i, target] = span, np.stack(by_e, axis=1), np.asarray(weights * base)
        return found

    def basis(self, number, i, span, u):
        """The k + 1 basis functions on the samples' spans."""
        for polynomial in self.polynomials[number][i].swapaxes(0, 1):
            value = polynomial[span, -1].view(Counted)
            for q in range(polynomial.shape[1] - 2, -1, -1):
                value = value * u + polynomial[span, q]
            yield value

    def jacobian(self, found):
        """J from `rows`; nothing of this is counted."""
        columns = [np.zeros((len(self.x), len(found), 0))]
        for number, layer in enumerate(self.network.layers):
            by = {"coef": [], "scale_base": [], "scale_sp": []}
            for i, target in np.argwhere(layer.live):
                k, n_coef = layer.order, layer.coef[i].shape[1]
                by_e, by_b = np.zeros((len(self.x), len(found), n_coef + 2 * k)), np.zeros((len(self.x), len(found), 1))
                for j, of_edges in enumerate(found):
                    if (number, i, target) in of_edges:
                        span, numbers, base = of_edges[number, i, target]
                        np.put_along_axis(by_e[:, j], span[:, None] + np.arange(k + 1), numbers, axis=1)
                        by_b[:, j, 0] = base
                by_e = by_e[..., k : n_coef + k]
                by["coef"].append(layer.scale_sp[i, target] * by_e)
                by["scale_base"].append(by_b)
                by["scale_sp"].append(by_e @ layer.coef[i][target][:, None])
            columns += [part for name in by for part in by[name]]
        jacobian = np.concatenate(columns, axis=2)
        return jacobian.reshape(-1, jacobian.shape[2])

    def deviations(self):
        _, edges, _ = self.forward(self.tables())
        found = {}
        for key, values in edges.items():
            d = values - values[0]
            found[key] = np.sqrt(((d * d).sum() - d.sum() ** 2 / len(d)) / (len(d) - 1))
        return found


def operations(function):
    """What a function returns, and the operations that it took."""
    Counted.total = 0
    result = function()
    return result, Counted.total


NETWORKS = {
    "[2, 5, 1]": initialize([2, 5, 1], 5),
    "fine": initialize([2, 5, 1], 50),
    "deep": initialize([2, 5, 5, 1], 5),
    "quadratic": initialize([3, 4, 1], 8, k=2),
    "two outputs": initialize([2, 5, 2], 5),
    "five outputs": initialize([2, 4, 3, 5], 5),
    "several outputs at once": initialize([3, 4], 12),
}
NODES = {"all alike": None, "each its own": [[7, 30], [5, 12, 6, 20, 9]]}


@pytest.fixture(params=[*NETWORKS, "each its own"])
def case(request):
    network = NETWORKS.get(request.param, NETWORKS["[2, 5, 1]"])
    x = RANDOM.uniform(-1, 1, (400, network.width[0]))
    if request.param == "each its own":
        network = refine(network, [[7, 30], [5, 12, 6, 20, 9]], Activations.of(network, x))
    y = np.sin(3 * x[:, [0]]) * x[:, [1]] * np.arange(1, network.width[-1] + 1)
    return network, x, y


def within(found, expected, share=0.2):
    assert found == pytest.approx(expected, rel=share)


def test_evaluations(case):
    network, x, _ = case
    program, engine = Program(*case), make_engine("compiled", *case)
    residuals, spent = operations(program.residuals)
    np.testing.assert_allclose(residuals, engine.residuals(network.parameters()), atol=1e-12)
    within(Flops(network, len(x)).evaluation, spent)
    within(Flops(network, len(x)).first_inputs, program.first_inputs)


def test_gradients(case):
    network, x, _ = case
    (loss, gradient), spent = operations(Program(*case).loss_and_gradient)
    expected_loss, expected = make_engine("compiled", *case).loss_and_gradient(network.parameters())
    assert loss == pytest.approx(expected_loss, rel=1e-12)
    np.testing.assert_allclose(gradient, expected, atol=1e-12)
    within(Flops(network, len(x)).loss_and_gradient, spent)


def test_rows_of_the_jacobian(case):
    network, x, _ = case
    program, linearization = Program(*case), make_engine("compiled", *case).linearize(network.parameters())
    found, spent = operations(program.rows)
    np.testing.assert_allclose(program.jacobian(found), jacobian_of(linearization), atol=1e-12)
    cost = Flops(network, len(x))
    within(cost.linearization, spent + len(x) * network.width[-1])  # with the residuals


def test_attribution(case):
    network, x, _ = case
    found, spent = operations(Program(*case).deviations)
    edges, _ = deviations(network, x)
    for (number, i, j), deviation in found.items():
        assert float(deviation) == pytest.approx(edges[number][i, j], rel=1e-9)
    within(Flops(network, len(x)).deviations, spent)


def test_products_of_the_jacobian(case):
    """J = R L: products and sums of the numbers of R and of L that are not zero."""
    network, x, _ = case
    cost, theta = Flops(network, len(x)), network.parameters()
    rows, _ = make_engine("compiled", *case).linearize(theta).linearization.kept
    numbers = (rows != 0).sum(axis=1)
    edges = sum(np.count_nonzero(layer.live) for layer in network.layers)
    coefs = len(theta) - 2 * edges
    within(cost.product, 2 * numbers.sum() + 2 * coefs)
    triangle = (numbers * (numbers + 1)).sum()  # of RᵀR: a product and a sum for every element
    of_l = 2 * (coefs + edges) * coefs  # columns of RᵀR times those of L for scale_sp, each with its own coefficients
    within(cost.normal_matrix, triangle + 2 * of_l + len(theta) * (len(theta) + 1))


def test_dual_gram(case):
    """Products of pairs of rows of the Jacobian, where neither of two numbers is zero."""
    network, x, _ = case
    linearization = make_engine("compiled", *case).linearize(network.parameters())
    there = np.array([linearization.vjp(row) != 0 for row in np.eye(linearization.shape[0])], float)
    within(Flops(network, len(x)).dual_gram, 2 * np.tril(there @ there.T).sum() + 3 * there.sum())


def test_solving():
    m = 60
    a = RANDOM.normal(size=(m, m))
    matrix, b = counted(a @ a.T + np.eye(m)), counted(RANDOM.normal(size=m))

    def cholesky():
        lower = np.zeros((m, m)).view(Counted)
        for j in range(m):
            lower[j, j] = np.sqrt(matrix[j, j] - (lower[j, :j] * lower[j, :j]).sum())
            lower[j + 1 :, j] = (matrix[j + 1 :, j] - (lower[j + 1 :, :j] * lower[j, :j]).sum(axis=1)) / lower[j, j]
        return lower

    def solve(lower):
        x = np.zeros(m).view(Counted)
        for i in range(m):
            x[i] = (b[i] - (lower[i, :i] * x[:i]).sum()) / lower[i, i]
        for i in range(m - 1, -1, -1):
            x[i] = (x[i] - (lower[i + 1 :, i] * x[i + 1 :]).sum()) / lower[i, i]
        return x

    lower, spent = operations(cholesky)
    np.testing.assert_allclose(lower, np.linalg.cholesky(np.asarray(matrix)), atol=1e-9)
    within(flops.cholesky(m), spent)
    x, spent = operations(lambda: solve(lower))
    np.testing.assert_allclose(x, np.linalg.solve(np.asarray(matrix), np.asarray(b)), rtol=1e-6)
    within(flops.solve(m), spent)


def test_adam():
    """The update, as it is written down (Kingma & Ba, Algorithm 1)."""
    theta, gradient, mean, square = counted(RANDOM.uniform(size=(4, 500)))

    def update():
        new_mean = mean + 0.1 * (gradient - mean)
        new_square = 0.999 * square + 0.001 * gradient * gradient
        return theta - 0.05 * new_mean / (np.sqrt(new_square) / 0.9 + 1e-8)

    _, spent = operations(update)
    within(flops.ADAM * 500, spent)


def test_lbfgs_direction():
    """The two loops, as they are written down (Nocedal & Wright, Algorithm 7.4)."""
    n, m = 500, 10
    s, y = counted(RANDOM.normal(size=(m, n))), counted(RANDOM.normal(size=(m, n)))
    q, rho, alpha = counted(RANDOM.normal(size=n)), [1 / (a * b).sum() for a, b in zip(s, y, strict=True)], {}

    def loops(q):
        for i in reversed(range(m)):
            alpha[i] = rho[i] * (s[i] * q).sum()
            q = q - alpha[i] * y[i]
        q = q * -1.5
        for i in range(m):
            q = q - (alpha[i] + rho[i] * (y[i] * q).sum()) * s[i]
        return q

    _, spent = operations(lambda: loops(q))
    within((flops.LBFGS_PAIR * m + 1) * n, spent)


def test_what_an_optimizer_does_is_the_sum_of_its_parts():
    network = NETWORKS["[2, 5, 1]"]
    x = RANDOM.uniform(-1, 1, (400, 2))
    engine, cost, theta = make_engine("compiled", network, x, x[:, :1]), Flops(network, 400), network.parameters()
    assert engine.flops == cost.first_inputs
    engine.flops = 0
    make_optimizer("adam", lr=0.1).step(engine, theta)
    assert engine.flops == cost.loss_and_gradient + flops.ADAM * len(theta)
    engine.flops = engine.n_evals = 0
    engine.linearize(theta).residuals_at(theta * 0)
    assert engine.flops == cost.linearization + cost.evaluation
    before = engine.flops
    engine.activations(theta).deviations()
    engine.predict(theta, x)
    assert engine.flops - before == cost.deviations
    assert engine.n_evals == 2


def test_knot_insertion():
    """Boehm's: for every spline k means of two coefficients, (1 - s) c + s c', with the k shares s."""
    network = NETWORKS["[2, 5, 1]"]
    x = RANDOM.uniform(-1, 1, (400, 2))
    finer = KnotInsertion().refine(network, 6, Activations.of(network, x))
    shares, means = 7 * 3 * 3, (2 * 5 + 5 * 1) * 3 * 3
    assert flops.knot_insertion(network, finer) == shares + means
    assert flops.knot_insertion(network, network) == 0


@pytest.mark.parametrize("engine", ["torch", "reference"])
def test_the_count_is_that_of_every_engine(engine):
    network = NETWORKS["[2, 5, 1]"]
    x = RANDOM.uniform(-1, 1, (60, 2))
    counts = []
    for name in ("compiled", engine):
        found = make_engine(name, network, x, x[:, :1])
        linearization = found.linearize(network.parameters())
        solve = linearization.cholesky(linearization.dual_gram(), 1.0)
        linearization.vjp(solve(linearization.residuals))
        counts.append(found.flops)
    assert counts[0] == counts[1]


def test_work_grows_with_what_it_is_made_of():
    """An edge that is not there costs nothing; samples and intervals cost."""
    network = NETWORKS["[2, 5, 1]"]
    layer = network.layers[0]
    mask = layer.mask.copy()
    mask[:, 0] = 0
    without = dataclasses.replace(network, layers=(dataclasses.replace(layer, mask=mask), network.layers[1]))
    costs = [Flops(of, n).loss_and_gradient for of, n in ((without, 100), (network, 100), (network, 200))]
    costs.append(Flops(NETWORKS["fine"], 200).loss_and_gradient)
    assert all(a < b for a, b in itertools.pairwise(costs))
