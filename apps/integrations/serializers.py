from __future__ import annotations

from rest_framework import serializers

from apps.cards.serializers import CreateCardInput
from apps.common.fields import PublicIdField, TextField
from apps.common.serializers import Serializer

LONGEST_WAIT_S = 60


class CreateFlatCardInput(CreateCardInput):
    project_id = PublicIdField("project")


class StatusQuery(Serializer):
    """`wait` in seconds, longer ones are cut; `known` is the caller's agentStatus, null or empty for none."""

    wait = serializers.IntegerField(required=False, default=0, min_value=0)
    known = TextField(required=False, allow_blank=True, max_length=40)
