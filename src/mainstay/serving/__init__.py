"""What happens to one model call, from the caller's bytes to the settled account."""
