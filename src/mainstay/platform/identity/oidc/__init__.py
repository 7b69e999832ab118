"""Sign-in and API access by the tokens of OpenID Connect identity providers."""
