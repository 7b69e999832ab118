"""Tools that know nothing of AI."""
