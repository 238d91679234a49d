"""Handwritten digits, federated with Flower, compressed with thinwire."""
