"""Who is asking and where they belong: organisations, projects, API keys, callers."""
