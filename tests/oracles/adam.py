"""Adam with the L2 penalty in the gradient, one number at a time (Kingma and Ba, 2015, algorithm 1)."""

import math


def adam(value, gradients, rates, *, weight_decay, beta1=0.9, beta2=0.999, eps=1e-8):
    """Values of one parameter after each step."""
    first, second, values = 0.0, 0.0, []
    for t, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        gradient = gradient + weight_decay * value
        first = beta1 * first + (1 - beta1) * gradient
        second = beta2 * second + (1 - beta2) * gradient**2
        value = value - rate * (first / (1 - beta1**t)) / (math.sqrt(second / (1 - beta2**t)) + eps)
        values.append(value)
    return values
