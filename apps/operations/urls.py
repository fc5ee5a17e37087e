from __future__ import annotations

from django.urls import path

from apps.operations import views

urlpatterns = [
    path("health", views.HealthView.as_view()),
]
