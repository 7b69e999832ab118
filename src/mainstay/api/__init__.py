"""The HTTP edge: one route table, one choke point, one dialect per request."""
