from __future__ import annotations

from django.urls import path

from apps.credentials import oauth_views, views

CREDENTIAL = "credentials/<credential:credential_id>"

urlpatterns = [
    path("credentials", views.CredentialsView.as_view()),
    path("credentials/oauth/init", oauth_views.InitView.as_view()),
    path("credentials/oauth/callback", oauth_views.CallbackView.as_view()),
    path(CREDENTIAL, views.CredentialView.as_view()),
    path(f"{CREDENTIAL}/verify", views.VerifyView.as_view()),
    path(f"{CREDENTIAL}/usage", views.UsageView.as_view()),
    path(f"{CREDENTIAL}/oauth/status", oauth_views.StatusView.as_view()),
]
