"""A stand-in for Comet, as comet-ml 3.58.8 talks to it: `CometServer`.

Where the rules come from:

- D (documentation, limits and performance; REST API; total fidelity): 15,000 points a metric, of
  which reading gives a sample; 25,000 experiments a project, 50,000 metrics and 50,000 parameters
  an experiment; 12,000 values of metrics a minute, 10,000 of parameters, 8,000 of everything else;
  archive, delete and restore; the fields of metadata, summaries and assets.
- C (the SDK's code): which endpoints are called and with what; the error codes; experiment keys of
  32 to 50 letters and digits; project names below 100 characters; `Retry-After-Custom` with a 429;
  values of metrics as text; multi-metric-chart gives parameters of many experiments at once.
- S (server source): nothing, it is not public.
- A (assumptions, the strict case each time): steps and times are whole numbers; NaN and infinities
  are refused; a batch is taken whole or not at all; what is sent twice is there twice; a parameter
  or other that is logged again has the later value; the key of a deleted experiment stays taken
  (`Account.reuse_deleted_keys`); the rates count values and not requests, in sliding windows;
  tags are a set.
"""

from migration_pipeline_tests.servers.comet.account import Account, Experiment
from migration_pipeline_tests.servers.comet.rates import PUBLISHED, Rates
from migration_pipeline_tests.servers.comet.server import CometServer, RatedCometServer

__all__ = ["PUBLISHED", "Account", "CometServer", "Experiment", "RatedCometServer", "Rates"]
