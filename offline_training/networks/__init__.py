"""The networks: a vision transformer encoder, a mask transformer decoder, sizes, initial weights.

Plain PyTorch; the names are Segmenter's (Strudel et al., ICCV 2021, arXiv 2105.05633).
"""
