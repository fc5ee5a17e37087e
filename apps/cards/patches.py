"""Work that was saved from worktrees before they were removed by force; kept for a month."""

from __future__ import annotations

import logging
import time
from datetime import datetime
from pathlib import Path

from django.conf import settings

from apps.common.ids import public_id
from apps.host.worktree_metadata import moment

logger = logging.getLogger(__name__)

KEPT_S = 30 * 24 * 3600


def directory() -> Path:
    return Path(settings.DATA_DIR) / "patches"


def name(card_id: int, deleted_at: datetime) -> str:
    return f"{public_id('card', card_id)}-{moment(deleted_at)}.patch"


def remove_old(_host_id: str) -> None:
    before = time.time() - KEPT_S
    for patch in directory().glob("*.patch"):
        try:
            if patch.stat().st_mtime < before:
                patch.unlink()
                logger.info("%s is removed: it was kept for a month", patch)
        except OSError as problem:
            logger.warning("%s stays for now: %s", patch, problem)
