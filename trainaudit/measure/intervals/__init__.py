"""Interval analysis: between which bounds every value lies, and how far standardised inputs really take it."""
