from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

from allauth.account.adapter import get_adapter
from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.db import IntegrityError, transaction
from django.db.models import F
from django.http import HttpRequest
from django.utils import timezone

from apps.accounts import joining, personal_tokens, setup_code
from apps.accounts.authentication import as_signed_in, forget_all, hold_signed_in
from apps.accounts.models import PersonalToken, Role, User
from apps.accounts.selectors import has_users
from apps.common.errors import Conflict, DomainError, Forbidden, Invalid, NotFound
from apps.configuration.models import Setting
from apps.configuration.store import AUTH_ENABLED
from apps.events import telling
from apps.events.bus import atomically, lock

logger = logging.getLogger(__name__)

_SETUP_LOCK = "accounts.setup"
# What the hubs hear: all that the user holds, what they signed in with, or one token.
_ALL_REVOKED = '{"type":"revoked"}'
_SIGN_INS_REVOKED = '{"type":"revoked","signIns":true}'
MOST_TOKENS = 100


class Unauthenticated(DomainError):
    status = 401
    code = "unauthenticated"


def set_up(*, email: str, password: str, display_name: str | None, code: str) -> User:
    """Make the first account, a super admin; of two at once, one gets a Conflict."""
    if has_users():
        raise _already_set_up()
    if not setup_code.matches(code):
        raise Forbidden(
            "The setup code is missing or wrong. The server printed it when it started;"
            " `manage.py doctor` shows it again.",
            code="setup_code_required",
        )
    get_adapter().clean_password(password)
    # Hashed before the transaction: it takes tens of milliseconds in which nobody else could write.
    user = _insert_first(
        email=email, password=make_password(password), display_name=_name(display_name, email)
    )
    setup_code.discard()
    forget_all()
    return user


@atomically
def _insert_first(*, email: str, password: str, display_name: str) -> User:
    joining.hold(email)
    # A row to lock: "there are no users" is nothing that PostgreSQL could lock.
    Setting.objects.get_or_create(pk=_SETUP_LOCK, defaults={"value": True})
    Setting.objects.select_for_update().get(pk=_SETUP_LOCK)
    if has_users():
        raise _already_set_up()
    user = User.objects.filter(is_local=True).first() or User()
    user.email = email
    user.password = password
    user.display_name = display_name
    user.role = Role.SUPER_ADMIN
    user.is_local = False
    user.save()
    joining.joined(user)
    return user


def _already_set_up() -> Conflict:
    return Conflict("This server has been set up already. Sign in instead.", code="already_set_up")


def register(*, email: str, password: str, display_name: str | None, invite_code: str) -> User:
    """Make an account for whoever asks (KANBAN_REGISTRATION=open) or was invited."""
    if not has_users():
        raise Conflict("Run setup first: this server has no account yet.", code="setup_required")
    # Before the work of a hash; asked again in the transaction that counts.
    _require_invitation(email, invite_code)
    get_adapter().clean_password(password)
    return _insert_invited(
        email=email,
        password=make_password(password),
        display_name=_name(display_name, email),
        invite_code=invite_code,
    )


@atomically
def _insert_invited(*, invite_code: str, email: str, **fields: Any) -> User:
    """An invitation that is taken back at the same moment either still counts or nothing is made."""
    _require_invitation(email, invite_code)
    return create_user(email=email, **fields)


@atomically
def _require_invitation(email: str, code: str) -> None:
    if settings.REGISTRATION == "open":
        return
    joining.hold(email)
    if not joining.is_invited(email, code):
        raise Forbidden(
            "An account here needs an invitation. Ask somebody in a project to invite"
            " this email address, and give the invite code that they are shown.",
            code="invitation_required",
        )


@atomically
def create_user(*, email: str, password: str, **fields: Any) -> User:
    """`email` is lower-case, `password` is hashed: this runs in a transaction."""
    joining.hold(email)
    user = User(email=email, password=password, **fields)
    try:
        with transaction.atomic():
            user.save(force_insert=True)
    except IntegrityError:
        raise Conflict("There is an account with this email already.", code="email_taken") from None
    joining.joined(user)
    return user


def _name(given: str | None, email: str) -> str:
    return given or email.partition("@")[0]


def sign_in(request: HttpRequest, *, email: str, password: str) -> User:
    """Takes as long for an unknown email as for a wrong password, and says the same."""
    user = get_adapter().authenticate(request, email=email.strip().lower(), password=password)
    if not isinstance(user, User) or not user.is_active:
        raise Unauthenticated("Email or password is wrong.", code="invalid_credentials")
    return user


def rename(user: User, *, display_name: str) -> User:
    people = User.objects.filter(pk=user.pk)
    as_signed_in(user, lambda: people.update(display_name=display_name, updated_at=timezone.now()))
    user.refresh_from_db()
    forget_all()
    return user


def change_password(request: HttpRequest, user: User, *, current: str, new: str) -> User:
    """End all sign-ins of the user, whom it returns in the state that a new one is issued for.

    Tokens of programs stay: `end_all_tokens` ends them.
    Wrong guesses count like failed sign-ins: a stolen token must not become a way to try passwords.
    """
    if not user.has_usable_password():
        raise Conflict(
            "This account has no password here: it signs in another way.", code="no_password"
        )
    signed_in = get_adapter().authenticate(request, email=user.email, password=current)
    if not isinstance(signed_in, User) or signed_in.pk != user.pk:
        raise Invalid("currentPassword: this is not your password", code="wrong_password")
    get_adapter().clean_password(new, user)
    _set_password(user, make_password(new))
    return _revoked(user, _SIGN_INS_REVOKED)


@atomically
def _set_password(user: User, password: str) -> None:
    """`password` is hashed, as it has to be before the transaction."""
    hold_signed_in(user)
    User.objects.filter(pk=user.pk).update(
        password=password,
        must_change_password=False,
        token_version=F("token_version") + 1,
        updated_at=timezone.now(),
    )


def end_all_tokens(user: User) -> User:
    """Sign-ins, and those of programs too."""
    _end_all_tokens(user)
    return _revoked(user, _ALL_REVOKED)


@atomically
def _end_all_tokens(user: User) -> None:
    hold_signed_in(user)
    PersonalToken.objects.filter(user=user).delete()
    User.objects.filter(pk=user.pk).update(token_version=F("token_version") + 1)


def switch_accounts(by: User, *, on: bool) -> None:
    """Other processes follow within a second; sockets that came in without a token end then."""
    if settings.AUTH_FIXED_OFF:
        raise Conflict(
            "The server was started with KANBAN_AUTH=off, which decides this. Start it without.",
            code="auth_fixed",
        )
    if not on and not settings.LOOPBACK:
        raise Conflict(
            "Accounts can be switched off only on a loopback KANBAN_HOST without KANBAN_PUBLIC_URL:"
            " everybody else who reaches this server could run commands on it.",
            code="auth_needed",
        )
    as_signed_in(by, lambda: AUTH_ENABLED.set(on))
    forget_all()


def _revoked(user: User, news: str) -> User:
    """Every process forgets the user at once and closes these sockets; without Redis within a second."""
    user.refresh_from_db()
    forget_all()
    telling.tell_user(user.pk, news)
    return user


@atomically
def make_token(
    user: User,
    *,
    name: str,
    scopes: list[str],
    project_id: int | None = None,
    expires_at: datetime | None = None,
) -> tuple[PersonalToken, str]:
    """The row and the token itself, which nobody can see again."""
    user = hold_signed_in(user)
    if project_id is not None:
        # Who deletes the project ends the tokens that there are, and holds it while doing so.
        lock(project_id)
        if not personal_tokens.reaches(user, project_id):
            raise NotFound("projectId: there is no such project that you may see.")
    if PersonalToken.objects.filter(user=user).count() >= MOST_TOKENS:
        raise Conflict(
            f"You have {MOST_TOKENS} tokens, which is the most. Delete one that is not used.",
            code="too_many_tokens",
        )
    token = personal_tokens.new()
    row = PersonalToken.objects.create(
        user=user,
        name=name,
        digest=personal_tokens.digest_of(token),
        may_write="write" in scopes,
        project_id=project_id,
        expires_at=expires_at,
    )
    return row, token


def revoke_token(token: PersonalToken, *, by: User) -> None:
    """It is refused everywhere within a second, and its sockets are closed."""
    token_id = token.pk
    as_signed_in(by, token.delete)
    forget_all()
    telling.tell_user(token.user_id, f'{{"type":"revoked","tokenId":{token_id}}}')


def end_tokens_of_project(project_id: int) -> None:
    """Of a project that goes, within its transaction."""
    PersonalToken.objects.filter(project_id=project_id).delete()
