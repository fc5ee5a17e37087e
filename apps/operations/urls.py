from __future__ import annotations

from django.urls import path

from apps.operations import setting_views, views

urlpatterns = [
    path("health", views.HealthView.as_view()),
    path("settings/context-relay", setting_views.ContextRelayView.as_view()),
]
