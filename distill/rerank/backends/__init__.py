"""Engines that run a student's weights, behind one small protocol."""
