"""One HTML page that shows what a run learned and how: gathered here, laid out in `page`."""
