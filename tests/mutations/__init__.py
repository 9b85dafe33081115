"""Seeded damage to small scans of every format, and what medn2n may make of it: a right volume, or InputError.

`python -m tests.mutations --count 100000 --seed 0` runs it and prints a table.
"""
