"""The one id that is no class: pixels that nothing is known of, in labels, masks and truths."""

IGNORE_LABEL = 255
