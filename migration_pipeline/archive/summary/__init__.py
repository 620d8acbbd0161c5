"""What an archive holds: figures by project, type and run, and curves, as JSON, Markdown and HTML.

Two passes of DuckDB over the columns that are needed, a bounded number of parts at a time. Damage
never stops a summary: what cannot be read is named and left out. Whether something is missing that
should be there is the doctor's to say.
"""
