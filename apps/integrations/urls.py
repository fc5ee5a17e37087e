from __future__ import annotations

from django.urls import path

from apps.integrations.views import CardStatusView, CardsView, CardView

urlpatterns = [
    path("cards", CardsView.as_view()),
    path("cards/<card:card_id>", CardView.as_view()),
    path("cards/<card:card_id>/status", CardStatusView.as_view()),
]
