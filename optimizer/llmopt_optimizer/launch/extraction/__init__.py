"""Inventory files from published packages, read as text: the packages are never imported or run."""
