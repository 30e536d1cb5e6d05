"""The HTML report of a run: content gathered here, layout in `page`."""
