"""Drives and what is made of them as a recording for Rerun's viewer; nothing is made here."""
