"""The demo: runs the `drive-segment` commands from a drive to live masks in sequence."""
