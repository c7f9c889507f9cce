"""Places and keywords into photos or the files beside them, and back out again."""
