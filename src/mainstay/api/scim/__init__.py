"""SCIM 2.0 under `/scim/v2`, for the directory of an organisation: its token is a key with the scope `scim`."""
