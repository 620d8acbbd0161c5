"""Files for running on several machines, to be copied or pointed at; nothing here is code."""

from pathlib import Path

CELERY = Path(__file__).parent / "celery.yaml"
"""Read by workers, and by the runs that hand out steps to them."""
