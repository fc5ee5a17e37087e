from __future__ import annotations

from django.urls import re_path

from apps.web.views import index

urlpatterns = [re_path(r"^(?!api(?:/|$)|admin(?:/|$)|static/|favicon\.ico$).*$", index)]
