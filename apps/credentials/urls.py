from __future__ import annotations

from django.urls import path

from apps.credentials import views

urlpatterns = [
    path("credentials", views.CredentialsView.as_view()),
    path("credentials/<credential:credential_id>", views.CredentialView.as_view()),
]
