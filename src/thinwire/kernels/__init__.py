"""The few hot loops. ``reference`` (torch) is the truth; ``cpu`` (numba, loaded on first use) equals it bit for bit."""
