"""Predictions, ground truth, scores, the baseline, the ablation.

The only folder that may read ground truth.
"""
