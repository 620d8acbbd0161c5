"""What all targets have in common that are reached over a network and take files."""
