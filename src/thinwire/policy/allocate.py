"""Which codec for which tensor: the least distortion for the bytes, from measured curves, by one price for all tensors.

Shoham and Gersho 1988, "Efficient bit allocation for an arbitrary set of quantizers": at the optimum, all curves
have the same slope. Going down the convex hulls by the steepest edge first is that optimum at every budget on the way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from thinwire.policy.plan import Curve, Point
from thinwire.policy.resolution import coarser, coarser_by

Allocation = dict[str, Point]


@dataclass(frozen=True)
class Edge:
    """A step down one tensor's hull, from one point to the next, at ``gain`` of (weighed) distortion a byte."""

    name: str
    before: Point
    point: Point
    gain: float

    @property
    def more_bytes(self) -> float:
        """Bytes that it takes."""
        return self.point.payload_bytes - self.before.payload_bytes

    @property
    def less(self) -> float:
        """Distortion that it saves."""
        return self.before.distortion - self.point.distortion

    def part(self, share: float) -> Point | None:
        """Return the point at a share of the way, where one knob leads from one codec to the other; else None.

        Bytes go about with the knob's logarithm, and so does that of the distortion.
        """
        factor = coarser_by(self.before.codec, self.point.codec)
        if factor is None or type(self.before.codec) is not type(self.point.codec):
            return None
        distortion = self.before.distortion * (self.point.distortion / self.before.distortion) ** share
        codec = coarser(self.before.codec, factor**share)
        return Point(codec, self.before.payload_bytes + share * self.more_bytes, distortion)


def hull(curve: Curve) -> Curve:
    """Return the lower convex hull of a curve, from the fewest bytes to the least distortion."""
    kept: list[Point] = []
    for point in sorted(curve, key=lambda point: (point.payload_bytes, point.distortion)):
        if kept and point.distortion >= kept[-1].distortion:
            continue
        while len(kept) > 1 and _slope(kept[-2], point) <= _slope(kept[-2], kept[-1]):
            kept.pop()
        kept.append(point)
    return tuple(kept)


def cheapest(curves: Mapping[str, Curve]) -> Allocation:
    """Return the point of the fewest bytes of every curve."""
    return {name: hull(curve)[0] for name, curve in curves.items()}


def within_bytes(curves: Mapping[str, Curve], most_bytes: float, weights: Mapping[str, float]) -> Allocation:
    """Return the allocation of the least weighed distortion that fits; the cheapest where none does.

    Of the first edge that does not fit, the part that does is taken. Where there is no such part, later edges may fit:
    the budget is filled up with them.
    """
    found = cheapest(curves)
    spent = sum(point.payload_bytes for point in found.values())
    blocked: set[str] = set()
    for edge in _edges(curves, weights):
        if edge.name in blocked:
            continue
        if spent + edge.more_bytes > most_bytes:
            some = edge.part((most_bytes - spent) / edge.more_bytes) if spent < most_bytes else None
            if some:
                return found | {edge.name: some}
            blocked.add(edge.name)
            continue
        found[edge.name], spent = edge.point, spent + edge.more_bytes
    return found


def within_distortion(curves: Mapping[str, Curve], most: float, weights: Mapping[str, float]) -> Allocation:
    """Return the allocation of about the fewest bytes whose distortion is within ``most``; the finest where none is."""
    found = cheapest(curves)
    left = sum(point.distortion for point in found.values())
    for edge in _edges(curves, weights):
        if left <= most:
            break
        some = edge.part((left - most) / edge.less) if left - edge.less < most else None
        found[edge.name], left = some or edge.point, left - edge.less
    return found


def _edges(curves: Mapping[str, Curve], weights: Mapping[str, float]) -> Iterator[Edge]:
    """Yield the edges of all hulls, the best gain first; those of one hull keep their order, being convex."""
    edges = []
    for name, curve in curves.items():
        points = hull(curve)
        for before, after in pairwise(points):
            edges.append(Edge(name, before, after, -weights.get(name, 1.0) * _slope(before, after)))
    return iter(sorted(edges, key=lambda edge: -edge.gain))


def _slope(a: Point, b: Point) -> float:
    more = b.payload_bytes - a.payload_bytes
    return (b.distortion - a.distortion) / more if more else float("-inf")
