"""Which symbol means what, once for all formulas."""

import sympy as sp

z = sp.Symbol("z", real=True)
q = sp.Symbol("q", nonnegative=True)
q11, q22 = sp.Symbol("q11", positive=True), sp.Symbol("q22", positive=True)
c = sp.Symbol("c", real=True)
sigma_w, sigma_b = sp.Symbol("sigma_w", nonnegative=True), sp.Symbol("sigma_b", nonnegative=True)
a_l = sp.Symbol("a_l", positive=True)
kappa, eta, gamma = (
    sp.Symbol("kappa", nonnegative=True),
    sp.Symbol("eta", positive=True),
    sp.Symbol("gamma", positive=True),
)
steps, time = sp.Symbol("T", nonnegative=True), sp.Symbol("t", nonnegative=True)
cutoff = sp.Symbol("Lambda", nonnegative=True)
d, degree = sp.Symbol("d", positive=True), sp.Symbol("k", positive=True)
moment = sp.Symbol("c_k", positive=True)
s_x, sigma_v = sp.Symbol("s_x", positive=True), sp.Symbol("sigma_v", positive=True)
noise_variance = sp.Symbol("s2", positive=True)
