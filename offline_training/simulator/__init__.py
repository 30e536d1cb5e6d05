"""A simulated drive through a procedural town, with truth to the pixel and to the point.

Everything a seed decides is decided by it alone: the same seed gives the same bytes.
"""

from offline_training.simulator.drive import SimulationSummary, simulate, truth_folder
from offline_training.simulator.parameters import SimulatorParameters

__all__ = ['SimulationSummary', 'SimulatorParameters', 'simulate', 'truth_folder']
