"""HTTP of accounts: parse by signature, one service call, return a Struct."""

from typing import Annotated, Any, TypeVar
from uuid import UUID

import msgspec
from litestar import Request, Response, delete, get, patch, post, put
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import HeaderParameter, QueryParameter
from litestar.status_codes import HTTP_200_OK, HTTP_201_CREATED, HTTP_202_ACCEPTED, HTTP_204_NO_CONTENT
from msgspec import UNSET

from careforall.accounts.domain import AddressFields, ApiKey, Preferences, Profile, User, UserStatus
from careforall.accounts.errors import PeopleOnly
from careforall.accounts.schemas import (
    Accepted,
    AddressOut,
    AddressPatch,
    ApiKeyCreated,
    ApiKeyOut,
    ApiKeyPatch,
    ErasureOut,
    ExportOut,
    ForgotPassword,
    JwksOut,
    Login,
    Logout,
    NewAddress,
    NewApiKey,
    PreferencesOut,
    PreferencesPatch,
    ProfilePatch,
    Refresh,
    ResetPassword,
    SessionOut,
    Signup,
    StandingPatch,
    UserOut,
    Verified,
    VerifyEmail,
)
from careforall.accounts.service import AccountsService
from careforall.accounts.sessions import Tokens
from careforall.kit import idempotency
from careforall.kit.errors import InvalidInput
from careforall.kit.http.answers import (
    IdempotencyKey,
    RefusedKey,
    encoded,
    etag,
    finished,
    idempotent_call,
    refuse_key,
    wanted_version,
)
from careforall.kit.http.description import example
from careforall.kit.http.identity import Principal, Role, admin_only, somebody
from careforall.kit.http.lists import CursorQuery, LimitQuery, Page, page, path_id, read_cursor
from careforall.kit.ids import parse_id

AnyRequest = Request[Any, Any, Any]
IfMatch = Annotated[str | None, HeaderParameter(name="If-Match", description='The version read, such as "3".')]
GuestCart = Annotated[str | None, HeaderParameter(name="X-Cart-Id", description="The cart filled as a guest.")]
S = TypeVar("S", bound=msgspec.Struct)

_NO_STORE = {"Cache-Control": "no-store"}
SignupBody = Annotated[Signup, example({"email": "reader@example.org", "password": "a long pass phrase of mine"})]
LoginBody = Annotated[Login, example({"email": "reader@example.org", "password": "a long pass phrase of mine"})]


class _Made(msgspec.Struct, frozen=True):
    """What is kept as the answer of an address under its idempotency key: where somebody lives is kept once, to be erased."""

    id: UUID


async def people_only(connection: Any, _: Any) -> None:
    """Guard: somebody who signed in; an API key must not reach what would make it more than it is."""
    if (await somebody(connection)).scopes:
        raise PeopleOnly


@post("/auth/signup", summary="Make an account")
async def signup(service: AccountsService, data: SignupBody, request: AnyRequest) -> UserOut:
    """Make an account and mail a verification link. Errors: 409 `email_taken`, 422 with the fields at fault."""
    profile = Profile(first_name=data.first_name, last_name=data.last_name)
    return shown(await service.registration.signup(data.email, data.password, profile, client=_client(request)))


@post("/auth/login", status_code=HTTP_200_OK, summary="Sign in")
async def login(service: AccountsService, data: LoginBody, request: AnyRequest, cart_id: GuestCart = None) -> Response[Tokens]:
    """Open a session. An unknown mail and a wrong password get the same 401 `invalid_credentials`.

    A guest's cart that is sent along is taken over into the user's own, within a moment.
    """
    guest_cart = parse_id(cart_id) if cart_id is not None else None
    tokens = await service.sessions.login(data.email, data.password, client=_client(request), guest_cart_id=guest_cart)
    return _secret(tokens)


@post("/auth/refresh", status_code=HTTP_200_OK, summary="Stay signed in")
async def refresh(service: AccountsService, data: Refresh) -> Response[Tokens]:
    """Trade the refresh token for new tokens; an old one that comes back ends the session."""
    return _secret(await service.sessions.refresh(data.refresh_token))


@post("/auth/logout", status_code=HTTP_204_NO_CONTENT, summary="Sign out")
async def logout(service: AccountsService, request: AnyRequest, data: Logout | None = None) -> None:
    """End the session of a refresh token, or without one all sessions of the caller."""
    token = data.refresh_token if data else None
    caller = await somebody(request) if token is None else None
    await service.sessions.logout(token, caller.user_id if caller else None)


@post("/auth/verify-email", status_code=HTTP_200_OK, summary="Prove a mail, or ask for a new link")
async def verify_email(service: AccountsService, data: VerifyEmail, request: AnyRequest) -> Response[Verified | Accepted]:
    """Use the token of the mailed link (200), or ask for a new link (202, whether or not there is an account)."""
    if (data.token is None) == (data.email is None):
        raise InvalidInput.field("/token", "required_field", "send either token or email")
    if data.token is not None:
        await service.registration.verify_email(data.token, client=_client(request))
        return Response(Verified())
    await service.registration.request_verification(data.email or "", client=_client(request))
    return Response(Accepted(), status_code=HTTP_202_ACCEPTED)


@post("/auth/password/forgot", status_code=HTTP_202_ACCEPTED, summary="Ask for a new password")
async def forgot_password(service: AccountsService, data: ForgotPassword, request: AnyRequest) -> Accepted:
    """Mail a link where there is an account; the answer is always the same."""
    await service.registration.request_reset(data.email, client=_client(request))
    return Accepted()


@post("/auth/password/reset", status_code=HTTP_204_NO_CONTENT, summary="Set a new password")
async def reset_password(service: AccountsService, data: ResetPassword, request: AnyRequest) -> None:
    """Set a password by the token of the mailed link; all sessions end. Errors: 400 `invalid_link`."""
    await service.registration.reset_password(data.token, data.password, client=_client(request))


@get(
    "/auth/jwks",
    summary="Keys that verify access tokens",
    responses={HTTP_200_OK: ResponseSpec(data_container=JwksOut, generate_examples=False, description="The keys.")},
)
async def jwks(service: AccountsService) -> Response[bytes]:
    """Return the JWKS document; the next key is in it before it signs."""
    headers = {"Cache-Control": "public, max-age=60"}
    return Response(await service.signing.jwks(), media_type="application/json", headers=headers)


@get("/users/me", summary="Who am I")
async def me(service: AccountsService, principal: Principal) -> Response[UserOut]:
    """Return the caller."""
    found = await service.people.me(principal.user_id)
    return Response(shown(found), headers=etag(found.version))


@patch("/users/me", guards=[people_only], summary="Change my profile")
async def patch_me(
    service: AccountsService, principal: Principal, data: ProfilePatch, if_match: IfMatch = None
) -> Response[UserOut]:
    """Change what is given."""
    profile = Profile(**_given(data))
    changed = await service.people.change_profile(principal.user_id, profile, wanted_version(data.version, if_match))
    return Response(shown(changed), headers=etag(changed.version))


@get("/users/me/addresses", guards=[people_only], summary="My addresses")
async def list_addresses(service: AccountsService, principal: Principal) -> Page[AddressOut]:
    """Return all addresses, oldest first; there are never more than fit on one page."""
    return Page(items=[_as(AddressOut, address) for address in await service.people.addresses(principal.user_id)])


@post("/users/me/addresses", guards=[people_only], status_code=HTTP_201_CREATED, summary="Add an address")
async def add_address(
    service: AccountsService, principal: Principal, data: NewAddress, request: AnyRequest, idempotency_key: IdempotencyKey = None
) -> Response[AddressOut]:
    """Add an address; a new default replaces the old one of its type. A repeat shows it as it is by now, or 404 once deleted."""

    async def work(connection: Any) -> tuple[int, bytes]:
        fields = AddressFields(**msgspec.structs.asdict(data))
        made = await service.people.add_address(connection, principal.user_id, fields)
        return encoded(HTTP_201_CREATED, _Made(id=made.id))

    call = await idempotent_call(request, idempotency_key, "POST /users/me/addresses", principal)
    answer = await idempotency.once(service.database, call, work)
    found = await service.people.address(principal.user_id, msgspec.json.decode(answer.body, type=_Made).id)
    shown = msgspec.structs.replace(answer, body=encoded(answer.status, _as(AddressOut, found))[1])
    return finished(shown, etag(found.version))


@get("/users/me/addresses/{id:str}", guards=[people_only], summary="One of my addresses")
async def get_address(service: AccountsService, principal: Principal, id: str) -> Response[AddressOut]:
    """Return an address; those of others do not exist."""
    found = await service.people.address(principal.user_id, path_id(id))
    return Response(_as(AddressOut, found), headers=etag(found.version))


@patch("/users/me/addresses/{id:str}", guards=[people_only], summary="Change an address")
async def patch_address(
    service: AccountsService, principal: Principal, id: str, data: AddressPatch, if_match: IfMatch = None
) -> Response[AddressOut]:
    """Change what is given."""

    def change(before: AddressFields) -> AddressFields:
        return msgspec.structs.replace(before, **_given(data))

    version = wanted_version(data.version, if_match)
    changed = await service.people.change_address(principal.user_id, path_id(id), change, version)
    return Response(_as(AddressOut, changed), headers=etag(changed.version))


@delete("/users/me/addresses/{id:str}", guards=[people_only], summary="Delete an address")
async def delete_address(service: AccountsService, principal: Principal, id: str) -> None:
    """Delete an address; another of its type becomes the default where it was."""
    await service.people.delete_address(principal.user_id, path_id(id))


@get("/users/me/preferences", guards=[people_only], summary="What I want to hear")
async def get_preferences(service: AccountsService, principal: Principal) -> PreferencesOut:
    """Return the caller's preferences, or what everybody starts with."""
    return _as(PreferencesOut, await service.people.preferences(principal.user_id))


@patch("/users/me/preferences", guards=[people_only], summary="Change what I want to hear")
async def patch_preferences(service: AccountsService, principal: Principal, data: PreferencesPatch) -> PreferencesOut:
    """Change what is given."""

    def change(before: Preferences) -> Preferences:
        return msgspec.structs.replace(before, **_chosen(data))

    return _as(PreferencesOut, await service.people.change_preferences(principal.user_id, change))


@put("/users/me/preferences", guards=[people_only], summary="Replace what I want to hear")
async def put_preferences(service: AccountsService, principal: Principal, data: PreferencesPatch) -> PreferencesOut:
    """Store what is given; what is absent goes back to the beginning."""

    def change(_: Preferences) -> Preferences:
        return Preferences(**_chosen(data))

    return _as(PreferencesOut, await service.people.change_preferences(principal.user_id, change))


@delete("/users/me/preferences", guards=[people_only], summary="Forget what I want to hear")
async def delete_preferences(service: AccountsService, principal: Principal) -> None:
    """Go back to what everybody starts with."""
    await service.people.change_preferences(principal.user_id, lambda _: Preferences())


@get("/users/me/export", guards=[people_only], summary="Everything you know about me")
async def export_me(service: AccountsService, principal: Principal) -> Response[ExportOut]:
    """Return what accounts keeps of the caller as a file: the profile, addresses, preferences and sessions.

    Gifts, orders, reviews and messages are read at `/donations/history`, `/orders`, `/reviews`, `/notifications`.
    """
    found = await service.people.export(principal.user_id)
    document = ExportOut(
        exported_at=found.exported_at,
        user=shown(found.user),
        addresses=[_as(AddressOut, address) for address in found.addresses],
        preferences=_as(PreferencesOut, found.preferences),
        sessions=[_as(SessionOut, session) for session in found.sessions],
    )
    return Response(document, headers={**_NO_STORE, "Content-Disposition": 'attachment; filename="careforall-export.json"'})


@post("/users/me/erase", guards=[people_only], status_code=HTTP_200_OK, summary="Forget me")
async def erase_me(service: AccountsService, principal: Principal) -> ErasureOut:
    """Erase the caller for good: the person goes, amounts and dates of gifts and orders stay without a name.

    Prove your mail first: what was given or kept under a mail that is not proved stays, but for what was done while signed in.
    Orders that are still open keep where they are sent to until they have ended and cannot be returned any more.
    """
    return _as(ErasureOut, await service.people.erase(principal.user_id))


@get("/users", guards=[admin_only], summary="Find users")
async def list_users(
    service: AccountsService,
    search: Annotated[str, QueryParameter(max_length=100, description="Part of the mail or name.")] = "",
    role: Role | None = None,
    status: UserStatus | None = None,
    cursor: CursorQuery = None,
    limit: LimitQuery = 20,
) -> Page[UserOut]:
    """Return users, newest first."""
    after = read_cursor(cursor)
    found = await service.staff.users(search=search, role=role, status=status, after=after, limit=limit)
    return page([shown(user) for user in found], limit=limit, last=found[-1].id if found else None)


@get("/users/{id:str}", guards=[admin_only], summary="Show a user")
async def get_user(service: AccountsService, id: str) -> Response[UserOut]:
    """Return a user."""
    found = await service.staff.user(path_id(id))
    return Response(shown(found), headers=etag(found.version))


@patch("/users/{id:str}", guards=[admin_only], summary="Change role or status")
async def patch_user(
    service: AccountsService, principal: Principal, id: str, data: StandingPatch, if_match: IfMatch = None
) -> Response[UserOut]:
    """Give another role or status; the user's tokens end at once where either takes something away.

    Only somebody who signed in makes an administrator: what an API key made would outlive the key. Errors: 403 `people_only`.
    """
    if data.role == "ADMIN" and principal.scopes:
        raise PeopleOnly
    version = wanted_version(data.version, if_match)
    changed = await service.staff.change_standing(
        path_id(id), role=data.role or None, status=data.status or None, version=version
    )
    return Response(shown(changed), headers=etag(changed.version))


@post("/api-keys", guards=[admin_only, people_only], status_code=HTTP_201_CREATED, summary="Make an API key")
async def create_api_key(
    service: AccountsService, principal: Principal, data: NewApiKey, idempotency_key: RefusedKey = None
) -> Response[ApiKeyCreated]:
    """Make a key. `key` is shown in this answer and never again, not to a repeat either: 400 `idempotency_key_refused`."""
    refuse_key(idempotency_key)
    made, key = await service.staff.create_api_key(
        principal.user_id, name=data.name, scopes=data.scopes, expires_at=data.expires_at
    )
    out = ApiKeyCreated(**msgspec.structs.asdict(_as(ApiKeyOut, made)), key=key)
    return Response(out, status_code=HTTP_201_CREATED, headers=_NO_STORE)


@get("/api-keys", guards=[admin_only, people_only], summary="List API keys")
async def list_api_keys(service: AccountsService, cursor: CursorQuery = None, limit: LimitQuery = 20) -> Page[ApiKeyOut]:
    """Return the keys in force, newest first."""
    found = await service.staff.api_keys(after=read_cursor(cursor), limit=limit)
    return page([_as(ApiKeyOut, key) for key in found], limit=limit, last=found[-1].id if found else None)


@get("/api-keys/{id:str}", guards=[admin_only, people_only], summary="Show an API key")
async def get_api_key(service: AccountsService, id: str) -> Response[ApiKeyOut]:
    """Return a key without its secret."""
    found = await service.staff.api_key(path_id(id))
    return Response(_as(ApiKeyOut, found), headers=etag(found.version))


@patch("/api-keys/{id:str}", guards=[admin_only, people_only], summary="Change an API key")
async def patch_api_key(service: AccountsService, id: str, data: ApiKeyPatch, if_match: IfMatch = None) -> Response[ApiKeyOut]:
    """Change name, scopes or expiry; processes that just saw the key notice within half a minute."""

    def change(before: ApiKey) -> ApiKey:
        return msgspec.structs.replace(before, **_given(data))

    changed = await service.staff.change_api_key(path_id(id), change, wanted_version(data.version, if_match))
    return Response(_as(ApiKeyOut, changed), headers=etag(changed.version))


@delete("/api-keys/{id:str}", guards=[admin_only, people_only], summary="Revoke an API key")
async def revoke_api_key(service: AccountsService, id: str) -> None:
    """Revoke a key for good."""
    await service.staff.revoke_api_key(path_id(id))


ROUTES = (
    signup,
    login,
    refresh,
    logout,
    verify_email,
    forgot_password,
    reset_password,
    jwks,
    me,
    patch_me,
    list_addresses,
    add_address,
    get_address,
    patch_address,
    delete_address,
    get_preferences,
    patch_preferences,
    put_preferences,
    delete_preferences,
    export_me,
    erase_me,
    list_users,
    get_user,
    patch_user,
    create_api_key,
    list_api_keys,
    get_api_key,
    patch_api_key,
    revoke_api_key,
)


def shown(user: User) -> UserOut:
    """Return a user as the API shows them."""
    return UserOut(
        id=user.id,
        email=user.email,
        first_name=user.first_name,
        last_name=user.last_name,
        phone=user.phone,
        role=user.role,
        status=user.status,
        email_verified=user.email_verified,
        version=user.version,
        created_at=user.created_at,
        updated_at=user.updated_at,
    )


def _as(kind: type[S], stored: msgspec.Struct) -> S:
    """Return the fields of a stored Struct that an answer has."""
    return msgspec.convert(stored, kind, from_attributes=True)


def _given(data: msgspec.Struct) -> dict[str, Any]:
    """Return the fields a PATCH gives, without the version it was read at."""
    return {name: value for name, value in msgspec.structs.asdict(data).items() if value is not UNSET and name != "version"}


def _chosen(data: PreferencesPatch) -> dict[str, Any]:
    return {name: tuple(sorted(value)) if isinstance(value, set) else value for name, value in _given(data).items()}


def _client(request: AnyRequest) -> str:
    return str(request.scope["state"].get("client_address", "unknown"))


def _secret(tokens: Tokens) -> Response[Tokens]:
    return Response(tokens, status_code=HTTP_200_OK, headers=_NO_STORE)
