from __future__ import annotations

from django.urls import path

from apps.credentials import views

CREDENTIAL = "credentials/<credential:credential_id>"

urlpatterns = [
    path("credentials", views.CredentialsView.as_view()),
    path(CREDENTIAL, views.CredentialView.as_view()),
    path(f"{CREDENTIAL}/verify", views.VerifyView.as_view()),
    path(f"{CREDENTIAL}/usage", views.UsageView.as_view()),
]
