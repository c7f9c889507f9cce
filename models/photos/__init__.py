"""Read photos of any format, within limits: from models.photos import read_photo, PhotoError."""

from models.photos.decoding import FORMATS, MIN_SIDE_PX, PhotoError
from models.photos.limits import MAX_BYTES
from models.photos.reader import PHOTO_EXTENSIONS, read_photo

__all__ = ["FORMATS", "MAX_BYTES", "MIN_SIDE_PX", "PHOTO_EXTENSIONS", "PhotoError", "read_photo"]
