from __future__ import annotations

from django.urls import path

from apps.accounts import preference_views, views

urlpatterns = [
    path("settings/auth-status", views.AuthStatusView.as_view()),
    path("auth/setup", views.SetupView.as_view()),
    path("auth/login", views.LoginView.as_view()),
    path("auth/register", views.RegisterView.as_view()),
    path("auth/me", views.MeView.as_view()),
    path("auth/change-password", views.ChangePasswordView.as_view()),
    path("auth/logout-all", views.LogoutAllView.as_view()),
    path("settings/auth", views.AuthSettingsView.as_view()),
    path("settings/notifications", preference_views.NotificationsView.as_view()),
    path("settings/keyboard-shortcuts", preference_views.ShortcutsView.as_view()),
    path("user/settings", preference_views.SettingsView.as_view()),
    path("users/search", views.UserSearchView.as_view()),
    path("user/tokens", views.TokensView.as_view()),
    path("user/tokens/<token:token_id>", views.TokenView.as_view()),
]
