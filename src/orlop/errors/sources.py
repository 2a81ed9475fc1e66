"""What images come from, and what is in them: archives, downloads, the disks of other engines, files."""

from __future__ import annotations

from orlop.errors import IntegrityError, InvalidInput, NotFound, OrlopError


class InvalidTar(InvalidInput):
    """A tar stream is malformed or ends too early."""

    code = "INVALID_TAR"


class InvalidArchive(InvalidInput):
    """An image archive is incomplete or contradictory, or a file is not an image archive."""

    code = "INVALID_ARCHIVE"


class InvalidRoot(InvalidInput):
    """A directory is not the data root of an engine that orlop knows."""

    code = "INVALID_ROOT"


class InvalidCompression(InvalidInput):
    """A compressed stream is damaged, or its compression is unknown."""

    code = "INVALID_COMPRESSION"


class InvalidInstruction(InvalidInput):
    """A change to a config is not a valid instruction, or is one that a config cannot take."""

    code = "INVALID_INSTRUCTION"


class DownloadFailed(OrlopError):
    """The content of a URL could not be fetched. ``answered`` is the status of the answer, if there was one."""

    code = "DOWNLOAD_FAILED"

    def __init__(self, message: str = "", *, answered: int | None = None) -> None:
        super().__init__(message)
        self.answered = answered


class PathNotFound(NotFound):
    """Nothing is at that path in an image."""

    code = "PATH_NOT_FOUND"


class WrongFileType(InvalidInput):
    """What is at that path in an image is not of the type that is needed, such as a directory where a file is."""

    code = "WRONG_FILE_TYPE"


class ContainerNotFound(NotFound):
    """No container of another engine has that name or ID."""

    code = "CONTAINER_NOT_FOUND"


class RootDamaged(IntegrityError):
    """A part of another engine's data root is missing, damaged, or not what belongs there; others may be whole."""

    code = "ROOT_DAMAGED"
