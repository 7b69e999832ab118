"""What a call costs and what a caller may use: limits, the journal of calls, usage records."""
