"""One piece on its way: what it is, how it may travel, and what that costs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from thinwire.checkpoint.difference import Mode, target
from thinwire.checkpoint.measure import spectrum
from thinwire.checkpoint.pieces import Piece
from thinwire.codec import Codec, Encoded, derive_seed, encode
from thinwire.errors import CheckpointError, NonFiniteError
from thinwire.kernels.distortion import is_zero
from thinwire.registry import parse
from thinwire.wire.records import write_record
from thinwire.wire.table import describe

_LOSSLESS = "Planes()"
_MODE_BYTES, _MOST_PLACE_BYTES = 1, 2


@dataclass(frozen=True)
class Sent:
    """A piece as it travels."""

    mode: Mode
    encoded: Encoded

    @property
    def payload_bytes(self) -> int:
        """Bytes of it, the frame's own left out."""
        return self.encoded.payload_bytes

    @cached_property
    def description(self) -> bytes:
        """What names its codec in the frame's table."""
        return describe(self.encoded.codec)

    @cached_property
    def own_bytes(self) -> int:
        """Bytes of mode, record and payload: what it adds beside its codec and the place of that in the table."""
        record = bytearray()
        write_record(self.encoded, record)
        return _MODE_BYTES + len(record) + self.payload_bytes

    @property
    def cost_bytes(self) -> int:
        """Bytes that it adds to the file, at most."""
        return self.own_bytes + _MOST_PLACE_BYTES + len(self.description)


@dataclass(frozen=True)
class Given:
    """A piece as it was read, with the same elements of the base where there is one."""

    piece: Piece
    x: Tensor
    base: Tensor | None
    seed: int

    @property
    def lossy_mode(self) -> Mode:
        """How it travels under a lossy codec."""
        return Mode.WHOLE if self.base is None else Mode.DIFFERENCE

    def target(self) -> Tensor:
        """Return what a lossy codec is given."""
        return target(self.x, self.base, self.lossy_mode)

    @cached_property
    def spectrum(self) -> Tensor:
        """Energies of the components of what a lossy codec is given: a matrix, finite and not zero."""
        return spectrum(self.target())

    def lossless(self) -> Sent:
        """Return it with every bit."""
        mode = Mode.WHOLE if self.base is None else Mode.BITS
        return Sent(mode, encode(parse(_LOSSLESS), target(self.x, self.base, mode)))

    def lossy(self, codec: Codec) -> Sent:
        """Return it under a codec; with every bit where that is not larger, all is zero, or a value is not finite."""
        target = self.target()
        if is_zero(target):
            return self.lossless()
        try:
            sent = Sent(self.lossy_mode, encode(codec, target, self._seed()))
        except NonFiniteError:
            return self.lossless()
        except ValueError as error:
            raise CheckpointError(f"{self.piece.entry.name!r}: {error}") from None
        if not sent.encoded.codec.lossless and 2 * sent.payload_bytes < self.piece.spec.nbytes:
            return sent
        return min(self.lossless(), sent, key=_price)

    def _seed(self) -> int:
        return derive_seed(self.seed, f"{self.piece.entry.name}/{self.piece.start}")


def _price(sent: Sent) -> tuple[bool, int]:
    """Lossless coding of a difference loses what its rounding lost: bits do not."""
    rounded = sent.mode is Mode.DIFFERENCE and sent.encoded.codec.lossless
    return rounded, sent.payload_bytes
