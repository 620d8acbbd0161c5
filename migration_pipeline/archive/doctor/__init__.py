"""Examines archives: what is proven whole, what looks whole, what is not."""
