"""The tree of errors; each name says who has to act.

    TestbedError
    ├── CampaignError      the person who wrote the campaign file
    ├── ProblemError       the caller who posed a scheduling problem
    ├── SignalError        the caller of the modem
    │   ├── GridError          an impossible OFDM grid, or a subcarrier outside it
    │   └── FrameError         an impossible frame: payload, block or samples
    ├── ModelError         the person who chose the mixture of experts: missing or unfit weights
    ├── RadioError         the person at the radio
    │   ├── AddressError       no such radio address
    │   └── TransmitRefused    the transmit guard said no
    ├── LinkError          the person who runs controller and agents
    │   ├── KeyFileError       a key is missing, unreadable or readable by others
    │   ├── NodeLost           a node died, hung or left
    │   └── NodeFailed         a node answered with an error of its own
    ├── RecordError        the person who owns the disk or the recording
    └── FirmwareError      the person who configures the boards

Every message names the field, the value and the remedy.
"""


class TestbedError(Exception):
    """Anything the testbed refuses or cannot do; its text is one clear sentence."""

    __test__ = False  # pytest must not collect it


class CampaignError(TestbedError):
    """The campaign asks for something unknown, out of range or impossible together."""


class ProblemError(TestbedError, ValueError):
    """A scheduling problem is malformed; the message names field, index and value."""


class SignalError(TestbedError, ValueError):
    """The modem was asked for something impossible."""


class GridError(SignalError):
    """An impossible OFDM grid, or a subcarrier outside of it."""


class FrameError(SignalError):
    """An impossible frame: empty or oversized payload, overlapping links, unusable samples."""


class ModelError(TestbedError):
    """Weights are missing, damaged or of a shape that does not fit."""


class RadioError(TestbedError):
    """A radio cannot do what it was asked."""


class AddressError(RadioError):
    """A radio address names no radio; the message lists the forms that exist."""


class TransmitRefused(RadioError):
    """The transmit guard refused before any radio was touched."""


class LinkError(TestbedError):
    """Controller and agents cannot talk."""


class KeyFileError(LinkError):
    """A key is missing, unreadable or readable by others."""


class NodeLost(LinkError):
    """A node died, hung or left; what it held is gone."""


class NodeFailed(LinkError):
    """A node answered that it could not do what it was asked."""


class RecordError(TestbedError):
    """A recording cannot be written or read."""


class FirmwareError(TestbedError):
    """A board's configuration is malformed, unsafe, or cannot be written to or read from the board."""
