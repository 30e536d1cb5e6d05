"""Shows drives, datasets and masks in Rerun's viewer."""
