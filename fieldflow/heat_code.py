"""How is an integral over all momenta with a Gaussian regulator computed without a single oscillation? Scalar sources.

(k² + m²)^{-p} = ∫_0^∞ t^{p-1} e^{-t(k² + m²)} dt/Γ(p) leaves a Gaussian integral over k: with τ = 1/2R²,
I_p(r) = ∫_0^∞ t^{p-1} g(τ + t) dt/Γ(p), g(u) = e^{-(u - τ)m²} (4πu)^{-d/2} e^{-r²/4u}, for p > 0; n integrations by parts
turn p, g into p + n, (-d/du)^n g for any p, and I_p = (-d/du)^{-p} g(τ) where -p is a whole number.  In ln t the
trapezoidal rule converges exponentially; all that cancels in it cancels in the result.
"""

HEAT_SLOPE = '''
def _heat_slope(n, d, level, quarter):
    """Return u^n (-d/du)^n g/g at u, from level = m^2 u and quarter = r^2/4u."""
    slopes = np.empty(n + 1)
    slopes[0] = 1.0
    for k in range(n):
        total, factorial, choose = 0.0, 1.0, 1.0
        for j in range(k + 1):
            # u^{j+1} (-d/du)^j of -d ln g/du = m^2 + d/2u - r^2/4u^2.
            rate = factorial * (0.5 * d - (j + 1.0) * quarter)
            if j == 0:
                rate += level
            total += choose * rate * slopes[k - j]
            choose = choose * (k - j) / (j + 1.0)
            factorial = factorial * (j + 1.0)
        slopes[k + 1] = total
    return slopes[n]
'''

HEAT_TERM = '''
def _heat_term(s, power, n, d, tau, m, r):
    """Return t^power (-d/du)^n g at u = tau + t, t = e^s; in logarithms, since without a mass the range is long."""
    log_u = s + math.log1p(tau * math.exp(-s)) if s > math.log(tau) else math.log(tau + math.exp(s))
    quarter = 0.25 * r * r * math.exp(-log_u)
    grown = m * m * math.exp(s) if m > 0.0 else 0.0
    size = math.exp(s * power - grown - quarter - (0.5 * d + n) * log_u - 0.5 * d * math.log(4.0 * math.pi))
    if n == 0 or size == 0.0:
        return size
    return size * _heat_slope(n, d, grown + m * m * tau, quarter)
'''

BOTH_GAUSSIAN = '''
def _both_gaussian(d, p, R, m, r):
    """Return the integral over all k with the regulator e^(-k^2/2R^2), and an estimate of its error; m = 0 for 2p < d."""
    tau = 0.5 / (R * R)
    if p <= 0.0 and p == math.floor(p):
        n = int(-p)
        quarter = 0.25 * r * r / tau
        value = math.exp(-0.5 * d * math.log(4.0 * math.pi) - (0.5 * d + n) * math.log(tau) - quarter)
        value = value * _heat_slope(n, d, m * m * tau, quarter) if value > 0.0 else 0.0
        return value, 1e-15 * abs(value)
    n = 0 if p >= 1.0 else int(math.ceil(1.0 - p))
    power = p + n
    if m > 0.0:
        low = math.log(min(tau, 1.0 / (m * m)))
        high = math.log((60.0 + 4.0 * power + m * r) / (m * m) + 40.0 * tau)
    else:
        low = math.log(tau)
        high = math.log(tau + r * r) + 40.0 / (0.5 * d - p)
    low -= 42.0 / power
    h = 0.25
    count = int((high - low) / h) + 1
    total, size = 0.0, 0.0
    for i in range(count + 1):
        value = _heat_term(low + i * h, power, n, d, tau, m, r)
        total += value
        size += abs(value)
    gap = size
    for _ in range(8):
        more = 0.0
        for i in range(count):
            value = _heat_term(low + (i + 0.5) * h, power, n, d, tau, m, r)
            more += value
            size += abs(value)
        gap = 0.5 * h * abs(total - more)
        total += more
        h *= 0.5
        count *= 2
        if gap <= 1e-14 * size * h:
            break
    scale = 1.0 / math.gamma(power)
    return scale * h * total, scale * gap
'''

GAUSSIAN_TRANSFORM = '''
def _gaussian_transform(d, p, R, m, r):
    """Return the integral of e^(-k^2/2R^2) cos(k r)/(k^2 + m^2)^p."""
    return _both_gaussian(d, p, R, m, r)[0]
'''

GAUSSIAN_TRANSFORM_ERROR = '''
def _gaussian_transform_error(d, p, R, m, r):
    """Return an estimate of the error of that integral."""
    return _both_gaussian(d, p, R, m, r)[1]
'''

HELPERS = {
    "_heat_slope": HEAT_SLOPE,
    "_heat_term": HEAT_TERM,
    "_both_gaussian": BOTH_GAUSSIAN,
    "_gaussian_transform": GAUSSIAN_TRANSFORM,
    "_gaussian_transform_error": GAUSSIAN_TRANSFORM_ERROR,
}
"""Source of the functions that generated code calls, a function before those that call it."""

CALLED = {"GaussianTransform": "_gaussian_transform", "GaussianTransformError": "_gaussian_transform_error"}
"""SymPy functions that a helper above evaluates."""
