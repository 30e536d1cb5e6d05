"""Simulates a drive through a procedural town, with ground truth for each pixel and point.

The same parameters, seed included, give the same bytes.
"""

from offline_training.simulator.drive import SimulationSummary, simulate, truth_folder
from offline_training.simulator.parameters import SimulatorParameters

__all__ = ['SimulationSummary', 'SimulatorParameters', 'simulate', 'truth_folder']
