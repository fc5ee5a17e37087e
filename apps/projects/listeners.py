from __future__ import annotations

from apps.credentials.models import Credential
from apps.credentials.services import before_delete
from apps.projects import services


@before_delete
def release_projects(credential: Credential) -> None:
    services.release_credential(credential)
