"""Batch-hard mining in a batch of any number of devices, without ever holding the features of all of them.

The features of the devices go around in a ring, as keys do in ring attention (Liu et al., 2023), while every anchor
keeps the hardest positive and negative seen so far. Maximum and minimum are associative, so what is found is what
mining in the gathered batch finds. The gradient travels the same way.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def hardest(
    features: jax.Array, labels: jax.Array, distance: Callable[[jax.Array, jax.Array], jax.Array], axis_name: str
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """The farthest sample of the same identity and the nearest of another for every anchor of this device.

    A device holds two blocks of [R, D] and distances of [R, R] at a time. Of samples equally far the first of the
    global batch is taken, as `triplet.batch_hard` does.

    Args:
      features: [R, D] float, this device's rows, equally many on each device.
      labels: [R] int.
      distance: `distances.cosine` or `distances.euclidean`.
      axis_name: mesh axis over which the batch is split.

    Returns:
      The farthest positives [R, D] and the nearest negatives [R, D], the anchor itself where there is none; gradients
      of both reach the device that holds the sample. [R] bool each: whether there is a positive, a negative.
    """
    return _search(features, labels, distance, axis_name)[0]


def _search(features, labels, distance, axis_name):
    count, own, devices = labels.shape[0], lax.axis_index(axis_name), lax.axis_size(axis_name)
    anchors = own * count + jnp.arange(count)  # positions in the global batch

    def look(block, block_labels, owner, best):
        places = owner * count + jnp.arange(count)
        apart = distance(features, block)
        same = labels[:, None] == block_labels[None, :]
        positive = same & (anchors[:, None] != places[None, :])
        scores = jnp.where(positive, apart, -jnp.inf), jnp.where(same, -jnp.inf, -apart)
        return [_harder(score, block, places, *before) for score, before in zip(scores, best, strict=True)]

    def turn(i, carry):
        block, block_labels, best = carry
        block, block_labels = _pass_on((block, block_labels), axis_name)
        return block, block_labels, look(block, block_labels, (own - i - 1) % devices, best)

    none = features, jnp.full_like(features[:, 0], -jnp.inf) + 0 * features[:, 0], anchors
    best = look(features, labels, own, [none, none])
    _, _, best = lax.fori_loop(0, devices - 1, turn, (features, labels, best))
    (farthest, far, far_place), (nearest, near, near_place) = best
    return (farthest, nearest, jnp.isfinite(far), jnp.isfinite(near)), (far_place, near_place)


def _harder(score, block, places, vector, height, place):
    """The better of what was found before, (vector [R, D], height [R], place [R]), and the best of a block."""
    column = score.argmax(axis=1)
    value = jnp.take_along_axis(score, column[:, None], axis=1)[:, 0]
    better = (value > height) | ((value == height) & jnp.isfinite(value) & (places[column] < place))
    return (
        jnp.where(better[:, None], block[column], vector),
        jnp.where(better, value, height),
        jnp.where(better, places[column], place),
    )


def _pass_on(tree, axis_name):
    devices = lax.axis_size(axis_name)
    return lax.ppermute(tree, axis_name, [(i, (i + 1) % devices) for i in range(devices)])


def _slopes(distance, axis_name, places, slopes):
    """Every block's slopes go around with it: after the full circle they are where the block is."""
    count, own, devices = places[0].shape[0], lax.axis_index(axis_name), lax.axis_size(axis_name)

    def add(block, owner):
        for place, slope in zip(places, slopes[:2], strict=True):
            row = jnp.where(place // count == owner, place % count, count)  # `count` is outside, and dropped
            block = block.at[row].add(slope, mode='drop')
        return block

    def turn(i, block):
        return add(_pass_on(block, axis_name), (own - i - 1) % devices)

    block = lax.fori_loop(0, devices - 1, turn, add(0 * slopes[0], own))
    return _pass_on(block, axis_name), None


hardest.defvjp(_search, _slopes)
