"""Recorded bags to datasets: inspect, extract.

Nothing that learns.
"""
