"""Recordings that are made: small ones of every kind, damaged ones, and simulated ones whose truth is known.

For tests, benchmarks and the demonstration; no part of the image.
"""
