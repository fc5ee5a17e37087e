"""Keeps secrets out of logs."""

from __future__ import annotations

import logging
import re

_PATTERNS = (
    re.compile(r"(?i)([?&]token=)[^&\s\"']+"),
    re.compile(r"(?i)(bearer\s+)[a-z0-9._~+/=-]{8,}"),
    re.compile(r"\b(kba_)[A-Za-z0-9_-]{8,}"),
    re.compile(r"\b(sk-[a-z]*-?)[A-Za-z0-9_-]{8,}"),
    re.compile(r"(?i)((?:password|api_?key|secret)[\"']?\s*[:=]\s*[\"']?)[^\s\"',}]+"),
    re.compile(r"(://[^:/\s]+:)[^@/\s]+(?=@)"),
)


def mask(text: str) -> str:
    """The text with tokens, keys and passwords replaced by `****`."""
    for pattern in _PATTERNS:
        text = pattern.sub(r"\1****", text)
    return text


class MaskSecrets(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = mask(record.getMessage())
        record.args = ()
        return True
