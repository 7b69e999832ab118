"""How sign-in with an identity provider fails, by who is at fault."""

from mainstay.kit.errors import MainstayError, UnauthenticatedError


class SignInRefusedError(MainstayError):
    """The person cannot be signed in: the message says why, and who can help."""

    status = 403
    code = "sign_in_refused"
    type = "permission_error"


class SignInBrokenError(MainstayError):
    """The browser came back with something that this server did not ask for, or too late: begin again."""

    status = 400
    code = "sign_in_interrupted"
    type = "invalid_request_error"


class ProviderFaultError(MainstayError):
    """The identity provider did not answer, or not as OpenID Connect says."""

    status = 502
    code = "identity_provider_error"
    can_retry = True


class TokenRefusedError(UnauthenticatedError):
    """A token that is not good here."""

    code = "invalid_token"


class KeysUnavailableError(MainstayError):
    """The keys that tokens are checked with cannot be fetched: nothing is said of the token."""

    status = 503
    code = "identity_provider_unavailable"
    can_retry = True
