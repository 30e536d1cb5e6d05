"""An exported model folder in, masks out: one small file for each backend.

Pre- and postprocessing lie in the model's graph, so that all backends give the same mask.
"""
