"""The ignore label: pixels of unknown class in labels, masks and ground truth."""

IGNORE_LABEL = 255
