"""Provisioning by an organisation's directory: SCIM 2.0 (RFC 7643, RFC 7644) over the users and groups of identity."""
