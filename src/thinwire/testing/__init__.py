"""What authors of codecs need: a table of instances, tensors to try, and a suite that checks every claim.

    from thinwire.testing import conformance
    conformance(MyCodec())

Importing this needs nothing but thinwire; ``thinwire.testing.strategies`` needs hypothesis (``thinwire[test]``).
"""

from thinwire.testing.conformance import LAWS, claims, conformance
from thinwire.testing.instances import INSTANCES, Row
from thinwire.testing.tensors import Domain, degenerate, ordinary, same_bits, suited

__all__ = [
    "INSTANCES",
    "LAWS",
    "Domain",
    "Row",
    "claims",
    "conformance",
    "degenerate",
    "ordinary",
    "same_bits",
    "suited",
]
