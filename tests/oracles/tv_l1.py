"""Building blocks of TV-L1 flow, pixel by pixel as the IPOL article (Sanchez et al. 2013) and OpenCV have them."""

import math

import numpy as np

LAMBDA_THETA = 0.15 * 0.3
TAU_BY_THETA = 0.25 / 0.3


def _cubic(distance, a=-0.75):
    d = abs(distance)
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    if d < 2:
        return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
    return 0.0


def warp(image, u):
    """[h, w] looked up at x + u, y + v; zero outside."""
    h, w = image.shape
    out = np.zeros((h, w))
    for y in range(h):
        for x in range(w):
            at_x, at_y = x + float(u[0, y, x]), y + float(u[1, y, x])
            for row in range(h):
                for column in range(w):
                    out[y, x] += image[row, column] * _cubic(at_y - row) * _cubic(at_x - column)
    return out


def gradient(image):
    """Half the difference of the neighbours to either side; a neighbour beyond the border is the pixel itself."""
    h, w = image.shape
    right, down = np.zeros((h, w)), np.zeros((h, w))
    for y in range(h):
        for x in range(w):
            right[y, x] = (float(image[y, min(x + 1, w - 1)]) - float(image[y, max(x - 1, 0)])) / 2
            down[y, x] = (float(image[min(y + 1, h - 1), x]) - float(image[max(y - 1, 0), x])) / 2
    return right, down


def threshold_step(u, gradient, constant):
    """v of the article: the point next to u that makes |rho| smallest, no farther than lambda theta |gradient|."""
    v = np.zeros(u.shape)
    for y in range(u.shape[1]):
        for x in range(u.shape[2]):
            g = [float(gradient[0, y, x]), float(gradient[1, y, x])]
            rho = float(constant[y, x]) + g[0] * u[0, y, x] + g[1] * u[1, y, x]
            squared = g[0] ** 2 + g[1] ** 2
            if rho < -LAMBDA_THETA * squared:
                step = LAMBDA_THETA
            elif rho > LAMBDA_THETA * squared:
                step = -LAMBDA_THETA
            elif squared > np.finfo(np.float32).eps:
                step = -rho / squared
            else:
                step = 0
            v[:, y, x] = [u[0, y, x] + step * g[0], u[1, y, x] + step * g[1]]
    return v


def divergence(right, down):
    """Differences to the pixel before, zero beyond the border."""
    h, w = right.shape
    out = np.zeros((h, w))
    for y in range(h):
        for x in range(w):
            out[y, x] = right[y, x] + down[y, x]
            if x > 0:
                out[y, x] -= right[y, x - 1]
            if y > 0:
                out[y, x] -= down[y - 1, x]
    return out


def dual_step(right, down, u):
    """p of the next iteration, of one component of the flow."""
    h, w = u.shape
    new_right, new_down = np.zeros((h, w)), np.zeros((h, w))
    for y in range(h):
        for x in range(w):
            du = float(u[y, x + 1]) - float(u[y, x]) if x + 1 < w else 0.0
            dv = float(u[y + 1, x]) - float(u[y, x]) if y + 1 < h else 0.0
            length = 1 + TAU_BY_THETA * math.hypot(du, dv)
            new_right[y, x] = (right[y, x] + TAU_BY_THETA * du) / length
            new_down[y, x] = (down[y, x] + TAU_BY_THETA * dv) / length
    return new_right, new_down


def median(x):
    """Of 5 x 5 values; beyond the border x continues as it ends."""
    h, w = x.shape
    out = np.zeros((h, w))
    for row in range(h):
        for column in range(w):
            near = [
                x[min(max(row + i, 0), h - 1), min(max(column + j, 0), w - 1)]
                for i in range(-2, 3)
                for j in range(-2, 3)
            ]
            out[row, column] = sorted(near)[12]
    return out


def resize(x, height, width, step_y, step_x):
    """Bilinear between pixel centres, step_y and step_x source pixels apart."""
    h, w = x.shape
    out = np.zeros((height, width))
    for row in range(height):
        for column in range(width):
            y = min(max((row + 0.5) * step_y - 0.5, 0), h - 1)
            x_at = min(max((column + 0.5) * step_x - 0.5, 0), w - 1)
            top, left = math.floor(y), math.floor(x_at)
            for i in (top, min(top + 1, h - 1)) if y > top else (top,):
                for j in (left, min(left + 1, w - 1)) if x_at > left else (left,):
                    out[row, column] += float(x[i, j]) * (1 - abs(y - i)) * (1 - abs(x_at - j))
    return out
