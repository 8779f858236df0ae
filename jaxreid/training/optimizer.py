"""Adam with coupled weight decay and the recipes' learning-rate schedules (docs/recipes.md)."""

import re
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from jaxreid import config


def build(cfg: config.Optim, *, steps_per_epoch: int, epochs: int) -> optax.GradientTransformation:
    """What `torch.optim.Adam(weight_decay=...)` does under the schedule: betas 0.9 and 0.999, eps 1e-8.

    The decay is an L2 penalty: it is added to the gradient before the moments and acts on every parameter given,
    scales, shifts and biases too.
    """
    parts = [
        optax.add_decayed_weights(cfg.weight_decay),
        optax.scale_by_adam(b1=0.9, b2=0.999, eps=1e-8),
        optax.scale_by_learning_rate(learning_rate(cfg, steps_per_epoch=steps_per_epoch, epochs=epochs)),
    ]
    rates = cfg.memory_rate, cfg.trunk_rate, cfg.bias_rate
    if (
        any(rate != 1 for rate in rates) or cfg.tenfold or cfg.frozen_stages
    ):  # else no part: older checkpoints have none

        def scaled(updates, params=None):
            del params
            return jax.tree.map_with_path(lambda path, u: u * _factor(cfg, path), updates)

        parts.append(optax.stateless(scaled))
    return optax.chain(*parts)


def _factor(cfg: config.Optim, path: tuple) -> float:
    """What a parameter's update is multiplied by."""
    rate = cfg.bias_rate if path[-1].key in ('bias', 'classifier_bias') else 1.0
    if _of_memory(path):
        return rate * cfg.memory_rate
    if path[0].key in cfg.tenfold:
        return rate * 10
    stage = re.match(r'(stem|layer([1-4])|visual)(_|$)', path[0].key)
    if stage is None or any(key.key.startswith('adapter') for key in path):
        return rate
    return 0 if int(stage[2] or 0) in cfg.frozen_stages else rate * cfg.trunk_rate


def _of_memory(path: tuple) -> bool:
    """Whether a parameter is a key, a value or of the norm of one of STMN's memories; their LSTM's are not."""
    names = [key.key for key in path]
    return names[0] in ('spatial_memory', 'temporal_memory') and names[1] in ('keys', 'values', 'norm')


def lengthened(cfg: config.Optim, *, steps_per_epoch: int, before: int, now: int, at: int) -> str:
    """What it means that a run goes on at step `at`, counted from 0, to another length, in epochs; for people."""
    if cfg.schedule != 'cosine':
        return (
            f'{now} epochs, where it had {before}: its learning rates do not depend on the length, so this is the run '
            f'that {now} epochs from the start would have been'
        )
    old, new = (float(learning_rate(cfg, steps_per_epoch=steps_per_epoch, epochs=n)(at)) for n in (before, now))
    return (
        f'{now} epochs, where it had {before}: the cosine is stretched over all of them. The learning rate goes from '
        f'{old:.2g} up to {new:.2g} here and falls to 0 at the end; {now} epochs from the start would be another run'
    )


def learning_rate(cfg: config.Optim, *, steps_per_epoch: int, epochs: int) -> Callable[[int | jax.Array], jax.Array]:
    """Learning rate as a function of the step, counted from 0.

    `step` multiplies by `decay_factor` at the first step of each of `decay_epochs` (epochs count from 0). `cosine`
    falls from the end of the warm-up to 0 after the last step. The warm-up's factor grows linearly from `warmup_factor`
    to 1 and multiplies whatever the schedule gives.

    Raises:
      ValueError: if the schedule is unknown, there are no steps, or the warm-up leaves none for the cosine.
    """
    if steps_per_epoch < 1 or epochs < 1:
        raise ValueError(
            f'{epochs} epochs of {steps_per_epoch} steps are no training; both must be at least 1. '
            'An epoch without steps means fewer identities or clips than one batch holds.'
        )
    total = epochs * steps_per_epoch
    warmup = round(cfg.warmup_epochs * steps_per_epoch)
    if cfg.schedule == 'cosine' and warmup >= total:
        raise ValueError(
            f'A warm-up of {warmup} steps leaves none of {total} for the cosine; '
            'lower optim.warmup_epochs or raise train.epochs.'
        )

    def rate(step: int | jax.Array) -> jax.Array:
        step = jnp.asarray(step)
        match cfg.schedule:
            case 'step':
                decays = sum(step >= epoch * steps_per_epoch for epoch in cfg.decay_epochs)
                rate = cfg.lr * jnp.power(cfg.decay_factor, decays)
            case 'cosine':
                done = jnp.clip((step - warmup) / (total - warmup), 0, 1)
                rate = cfg.lr * 0.5 * (1 + jnp.cos(jnp.pi * done))
            case 'constant':
                rate = jnp.asarray(cfg.lr)
        if not warmup:
            return rate
        return rate * (cfg.warmup_factor + (1 - cfg.warmup_factor) * jnp.minimum(step / warmup, 1))

    if cfg.schedule not in config.choices('optim.schedule'):
        raise config.unknown('optim.schedule', cfg.schedule)
    return rate
