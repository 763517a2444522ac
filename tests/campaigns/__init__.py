"""Long random searches for faults, beside the test suite: `make campaign MINUTES=10`."""
