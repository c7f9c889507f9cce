"""Model files with one part replaced, as somebody who tampers with them would."""

import zipfile
from pathlib import Path


def repack(model: Path, path: Path, name: str, content: bytes) -> Path:
    """A model file with another content of one part, checksums and all."""
    with zipfile.ZipFile(model) as before, zipfile.ZipFile(path, "w") as after:
        names = [part.filename for part in before.infolist() if part.filename.endswith(name)]
        assert len(names) == 1
        for part in before.infolist():
            after.writestr(part, content if part.filename == names[0] else before.read(part))
    return path
