"""Refusals of the accounts service.

Problem
+-- EmailTaken            409 email_taken
+-- LastAdmin             409 last_admin
+-- TooManyAddresses      409 too_many_addresses
+-- InvalidCredentials    401 invalid_credentials
+-- InvalidRefreshToken   401 invalid_refresh_token
+-- AccountSuspended      403 account_suspended
+-- PeopleOnly            403 people_only
+-- InvalidLink           400 invalid_link
+-- PasswordsBusy         429 passwords_busy
+-- UserNotFound / AddressNotFound / ApiKeyNotFound   404
"""

from careforall.kit.errors import Conflict, Forbidden, NotFound, Problem, TooManyRequests, Unauthorized


class EmailTaken(Conflict):
    """Somebody signed up with this mail already."""

    code = "email_taken"
    title = "There is an account with this e-mail address"


class LastAdmin(Conflict):
    """The platform would be left without an administrator."""

    code = "last_admin"
    title = "This is the last administrator: make another one first"


class TooManyAddresses(Conflict):
    """One person keeps more addresses than anybody needs."""

    code = "too_many_addresses"
    title = "There are too many addresses: delete one first"


class InvalidCredentials(Unauthorized):
    """Unknown mail or wrong password: nobody learns which."""

    code = "invalid_credentials"
    title = "The e-mail address or the password is wrong"


class InvalidRefreshToken(Unauthorized):
    """Unknown, expired, ended or used before."""

    code = "invalid_refresh_token"
    title = "The session has ended, sign in again"


class AccountSuspended(Forbidden):
    """The password was right, but staff closed the account for now."""

    code = "account_suspended"
    title = "This account is suspended"


class PeopleOnly(Forbidden):
    """API keys may not do what belongs to a person."""

    code = "people_only"
    title = "Sign in for this; API keys may not do it"


class InvalidLink(Problem):
    """The token of a mailed link is unknown, expired or used."""

    code = "invalid_link"
    title = "This link has expired or was used, ask for a new one"


class PasswordsBusy(TooManyRequests):
    """More password checks wait than we can do soon."""

    code = "passwords_busy"
    title = "Too many sign-ins at once, please retry"


class UserNotFound(NotFound):
    """There is no such user."""

    code = "user_not_found"
    title = "There is no such user"


class AddressNotFound(NotFound):
    """There is no such address, or it is somebody else's."""

    code = "address_not_found"
    title = "There is no such address"


class ApiKeyNotFound(NotFound):
    """There is no such API key, or it was revoked."""

    code = "api_key_not_found"
    title = "There is no such API key"
