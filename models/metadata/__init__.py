"""Write places and keywords into photos or sidecar files, and undo it."""
