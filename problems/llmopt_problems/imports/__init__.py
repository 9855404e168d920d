"""What people have already, as problem files: one reader a format, every assumed value labelled."""

from .draft import Draft, draft_text, missing
from .formats import FORMATS, ImportFormat, guess_format, read_draft

__all__ = ["FORMATS", "Draft", "ImportFormat", "draft_text", "guess_format", "missing", "read_draft"]
