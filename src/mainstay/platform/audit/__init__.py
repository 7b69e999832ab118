"""Who did what, when: append-only, a hash chain for each organisation. The lowest row of the platform; it knows ids."""
