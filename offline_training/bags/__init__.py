"""Recorded bags and published data sets to datasets: inspect, extract, import.

Nothing is trained here.
"""
