"""Weights & Biases: runs from a server, or from the folders that its SDK left behind."""
