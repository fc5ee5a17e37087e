"""Of several ways into a project the strongest counts."""

from __future__ import annotations

from typing import Any

import pytest

from apps.accounts.models import User
from apps.projects.models import Project
from tests import factories

pytestmark = pytest.mark.django_db


def test_an_organizations_admin_may_do_what_the_projects_admin_may(
    api: Any, project: Project, charlie: User
) -> None:
    organization = factories.make_organization((charlie, "member"))
    Project.objects.filter(pk=project.pk).update(organization=organization)
    url = f"/api/projects/{project.pk}"
    assert api(charlie).get(url)["role"] == "member"
    api(charlie).patch(url, {"name": "x"}, 403)
    organization.memberships.update(role="admin")
    assert api(charlie).patch(url, {"name": "x"})["role"] == "admin"
    api(charlie).delete(url)


def test_the_stronger_of_two_roles_counts(
    api: Any, project: Project, bob: User, charlie: User
) -> None:
    organization = factories.make_organization((bob, "admin"), (charlie, "member"))
    Project.objects.filter(pk=project.pk).update(organization=organization)
    factories.add_member(project, charlie, "admin")
    url = f"/api/projects/{project.pk}"
    assert api(bob).get(url)["role"] == "admin"
    assert api(charlie).get(url)["role"] == "admin"
    assert len(api(bob).get("/api/projects")) == 1


def test_a_global_admin_reaches_no_project(api: Any, project: Project) -> None:
    eve = factories.make_user("eve", role="admin")
    api(eve).get(f"/api/projects/{project.pk}", 404)
    assert api(eve).get("/api/projects") == []
