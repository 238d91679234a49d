"""Benchmarks of the lab: measured here, written as JSON, drawn from the JSON alone."""
