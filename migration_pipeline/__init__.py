"""Moves experiment-tracking data out of Neptune into an archive and on into other trackers."""

__version__ = "0.1.0"
