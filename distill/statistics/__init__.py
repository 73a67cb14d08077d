"""Measures and statistics that several packages compute alike: nDCG over arrays, calibration error, bootstrap."""
