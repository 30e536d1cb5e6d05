"""Inference with an exported model folder, with one small module for each backend.

Pre- and postprocessing are in the model's graph, so that all backends give the same mask.
"""
