"""A stand-in for Pluto (Trainy), as pluto-ml 0.0.29 and a loader use it.

Where the rules come from: S the source of pluto-server (its Rust `ingest/`, its TypeScript
`web/server/`), C the source of the SDK, A an assumption.

Ingestion: lines with exactly their fields, unsigned whole steps and times, NaN and infinities taken
as numbers, a bad line refused with 422 after the lines before it were taken, no look at whether the
run is there (S). Of several points of one name and step the one with the highest time counts (S);
rows of data, logs and files are never told apart (S). A file's row is there before its bytes, and
its bytes are found by run, log name and file name, without the step (S).

Runs: created or found by an external id, configuration deep-merged by numbers of JavaScript, at
most 50 tags with one `group:`, 255 characters of names (more: 500), terminal statuses by rank, log
names of one type, forks that own their step (S). No delete (S: only a person's session may).

Reads: metrics by a stride above 10,000 points, 0 and a flag for what is not finite, at most 1,000
files, statistics of finite values as of their last refresh (S). Steps beyond 2**53 come as
JavaScript's numbers, times as ClickHouse writes them, in UTC (A).

Switches: `PlutoStandIn.slow` (rows are visible seconds later, as the server's channel is flushed),
`reap()` (the monitor of stale runs), `PlutoAccount.at_limit` (the plan's quota),
`PlutoAccount.read_only` (403 on writes, A: the server has no such keys), `page_of_html`.
"""

from migration_pipeline_tests.servers.pluto.app import PlutoStandIn
from migration_pipeline_tests.servers.pluto.state import PlutoAccount

__all__ = ["PlutoAccount", "PlutoStandIn"]
