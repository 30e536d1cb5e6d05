"""A trained model directory turned into masks: one small backend per runtime.

Pre- and postprocessing live in the exported graph, so that backends cannot disagree on them.
"""
