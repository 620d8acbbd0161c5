"""One of everything, through the real 2.x client, the job `migrate`, and back."""
