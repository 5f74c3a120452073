"""The exception tree. Every message says what was expected, what was found and what to do.

LightFusionError
|-- ConfigError        sizes that contradict each other
|-- CheckpointError    a file that is broken, foreign or incomplete
|-- InputError         a prompt, picture, size or setting that cannot be used
|-- DependencyError    a library that is installed and does not work
|-- CapabilityError    the loaded model has no part for (or was not trained for) the request
`-- DeviceMemoryError  a request for which the device's memory does not suffice
"""

from .texts import printable


class LightFusionError(Exception):
    """Base of everything that the engine raises on purpose. Names out of files stand in messages, so these are made
    fit to be shown."""

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(message))


class ConfigError(LightFusionError):
    """A model configuration whose numbers do not fit together."""


class CheckpointError(LightFusionError):
    """A model file or folder that cannot be loaded as what it was given for."""


class InputError(LightFusionError):
    """A prompt, picture, size or setting outside of what the model takes."""


class CapabilityError(LightFusionError):
    """A request that the loaded model has no part for, or was not trained for."""


class DependencyError(LightFusionError):
    """A library that is installed in a version that does not go with the others."""


class DeviceMemoryError(LightFusionError):
    """A request for which the device's memory does not suffice, with everything else moved out of it too."""
