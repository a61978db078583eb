"""Exponential and logarithm of our own: those of math libraries differ between machines in the last bit."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

import numpy as np

from distpg.kernels.compile_cache import njit
from distpg.kernels.intrinsics import bits_of_float, float_of_bits, fma

f32 = np.float32


@njit
def exp(x):
    """For x <= 0 (Cephes expf, Moshier 1984-1992; reduction after Cody and Waite 1980), below -87: 0."""
    if not x > f32(-87.0):
        return f32(0.0)
    n = np.floor(f32(1.44269504088896341) * x + f32(0.5))
    x = x - n * f32(0.693359375)
    x = x - n * f32(-2.12194440e-4)
    y = f32(1.9875691500e-4)
    y = y * x + f32(1.3981999507e-3)
    y = y * x + f32(8.3334519073e-3)
    y = y * x + f32(4.1665795894e-2)
    y = y * x + f32(1.6666665459e-1)
    y = y * x + f32(5.0000001201e-1)
    y = y * (x * x) + x + f32(1.0)
    return y * float_of_bits(np.int32((np.int32(n) + np.int32(127)) << np.int32(23)))


@njit
def log(x):
    """For finite x >= 1 (Cephes logf)."""
    bits = bits_of_float(x)
    x = float_of_bits(np.int32((bits & np.int32(0x7FFFFF)) | np.int32(0x3F800000)))  # from 1 to 2
    n = f32((bits >> np.int32(23)) - np.int32(127))
    is_large = x > f32(1.41421356237)
    x, n = (x * f32(0.5) if is_large else x), (n + f32(1.0) if is_large else n)
    x = x - f32(1.0)
    z = x * x
    y = f32(7.0376836292e-2)
    y = y * x + f32(-1.1514610310e-1)
    y = y * x + f32(1.1676998740e-1)
    y = y * x + f32(-1.2420140846e-1)
    y = y * x + f32(1.4249322787e-1)
    y = y * x + f32(-1.6668057665e-1)
    y = y * x + f32(2.0000714765e-1)
    y = y * x + f32(-2.4999993993e-1)
    y = y * x + f32(3.3333331174e-1)
    y = y * x * z
    y = y + n * f32(-2.12194440e-4)
    y = y - f32(0.5) * z
    return x + y + n * f32(0.693359375)


@njit
def normal_quantile(p):
    """The number that a normally distributed one is below with probability p, 0 < p < 1.

    Source: Wichura, "Algorithm AS 241: the percentage points of the normal distribution" (1988), PPND7.
    """
    q = p - f32(0.5)
    if abs(q) <= f32(0.425):
        r = f32(0.180625) - q * q
        above = ((f32(59.109374720) * r + f32(159.29113202)) * r + f32(50.434271938)) * r + f32(3.3871327179)
        below = ((f32(67.187563600) * r + f32(78.757757664)) * r + f32(17.895169469)) * r + f32(1.0)
        return q * above / below
    r = np.sqrt(log(f32(1.0) / min(p, f32(1.0) - p)))
    if r <= f32(5.0):
        r -= f32(1.6)
        above = ((f32(0.17023821103) * r + f32(1.3067284816)) * r + f32(2.7568153900)) * r + f32(1.4234372777)
        below = (f32(0.12021132975) * r + f32(0.73700164250)) * r + f32(1.0)
    else:
        r -= f32(5.0)
        above = ((f32(0.017337203997) * r + f32(0.42868294337)) * r + f32(3.0812263860)) * r
        above += f32(6.6579051150)
        below = (f32(0.012258202635) * r + f32(0.24197894225)) * r + f32(1.0)
    return above / below if q > f32(0.0) else -above / below


@njit
def sine_of_remainder(x):
    """From -pi / 4 to pi / 4 (FreeBSD msun k_sin.c, Sun Microsystems 1993)."""
    z = x * x
    r = fma(z, 1.58969099521155010221e-10, -2.50507602534068634195e-08)
    r = fma(z, r, 2.75573137070700676789e-06)
    r = fma(z, r, -1.98412698298579493134e-04)
    r = fma(z, r, 8.33333333332248946124e-03)
    return fma(x * z, fma(z, r, -1.66666666666666324348e-01), x)


@njit
def cosine_of_remainder(x):
    """From -pi / 4 to pi / 4 (FreeBSD msun k_cos.c, without its correction of the last bit)."""
    z = x * x
    r = fma(z, -1.13596475577881948265e-11, 2.08757232129817482790e-09)
    r = fma(z, r, -2.75573143513906633035e-07)
    r = fma(z, r, 2.48015872894767294178e-05)
    r = fma(z, r, -1.38888888888741095749e-03)
    r = fma(z, r, 4.16666666666666019037e-02)
    return fma(z, fma(z, r, -0.5), 1.0)


@njit
def sin_cos(x):
    """Sine and cosine of a float64 below 1e5, within 1e-15 (reduction after Cody and Waite 1980)."""
    n = np.floor(x * 6.36619772367581382433e-01 + 0.5)
    y = fma(-n, 1.57079632673412561417e00, x)  # exact: the constant has 33 bits
    y = fma(-n, 2.02226624879595063154e-21, fma(-n, 6.07710050630396597660e-11, y))
    quadrant = np.int32(n)
    sine, cosine = sine_of_remainder(y), cosine_of_remainder(y)
    is_odd = (quadrant & 1) != 0
    a, b = (cosine if is_odd else sine), (sine if is_odd else cosine)
    return (-a if quadrant & 2 else a), (-b if (quadrant + 1) & 2 else b)


@njit
def sin(x):
    """As :func:`sin_cos`."""
    return sin_cos(x)[0]


@njit
def cos(x):
    """As :func:`sin_cos`."""
    return sin_cos(x)[1]
