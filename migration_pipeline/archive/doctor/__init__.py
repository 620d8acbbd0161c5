"""Examines archives: which runs are proven whole, which look whole, which are not.

An archive that another tool wrote says nothing of what it should hold, so a run without a manifest
is at best plausible. `examine` is the way in; `rules` says what is found and what of it is proof;
`repair` writes anew what can be repaired without the source; `report` tells people and programs.
"""
