"""A gradient that is averaged by itself, by any codec and feedback."""

from __future__ import annotations

from thinwire.codec import State
from thinwire.ddp.bucket import Bucket
from thinwire.ddp.target import Target
from thinwire.exchange import Average, Exchange, start
from thinwire.kernels.narrow import saturate


class Alone:
    """One gradient of a bucket."""

    def __init__(self, bucket: Bucket, name: str) -> None:
        self._bucket, self._name = bucket, name
        self._target: Target | None = None

    def exchange(self) -> Exchange:
        """Average it. Raises NonFiniteError."""
        # Not before it is its turn: what was just written is still in the cache when it is encoded.
        bucket, name = self._bucket, self._name
        self._target = target = Target.of(bucket.unscaled(name), bucket.kept(name), bucket.made)
        x = saturate(target.tensor, bucket.specs[name].dtype)
        known = target.energy if x is target.tensor else None
        codec, choice = bucket.codecs[name], bucket.choices[name]
        return (yield from start(choice.name, codec, x, bucket.place, bucket.seed(name), bucket.history(name), known))

    def apart(self, average: Average) -> dict[str, Average]:
        """Return what it came to, by its name."""
        return {self._name: average}

    def left(self, average: Average) -> dict[str, State]:
        """Return what feedback keeps, by its name."""
        target, self._target = self._target, None
        if target is None or not self._bucket.made.feedback.keeps:
            return {}
        return {self._name: target.left_(average, self._bucket.codecs[self._name], self._bucket.made)}
