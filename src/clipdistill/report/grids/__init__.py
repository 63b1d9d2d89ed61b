"""The report of a grid: what was measured of it, its tables and its figures."""
