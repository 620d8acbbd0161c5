"""Stand-ins for trackers that cannot be reached from here: real HTTP servers on loopback, which the
vendors' unmodified SDKs talk to."""
