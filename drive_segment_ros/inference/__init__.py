"""Inference with an exported model folder, with one small module for each backend.

Normalisation and postprocessing are in the model's graph, so that the masks of backends differ
only by rounding; images of another size are resized to the graph's input before.
"""
