"""The one place where comet_ml is imported and made quiet."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

from migration_pipeline.errors import MissingExtraError

_ENVIRONMENT = {
    # Nothing of this machine is told to anyone, and nobody's framework is patched.
    "COMET_DISABLE_AUTO_LOGGING": "1",
    "COMET_ERROR_TRACKING_ENABLE": "false",
}


class _Sdk:
    """What is used of comet_ml."""

    def __init__(self) -> None:
        import requests
        from comet_ml import exceptions
        from comet_ml.config.config_api import get_config
        from comet_ml.connection import connection_url_helpers
        from comet_ml.connection.connection_factory import get_rest_api_client
        from comet_ml.connection.connection_upload import send_file
        from comet_ml.data_structure import Histogram
        from comet_ml.utils import get_comet_version

        self.Histogram: Any = Histogram
        self.get_config = get_config
        self.get_rest_api_client = get_rest_api_client
        self.send_file = send_file
        self.urls = connection_url_helpers
        self.version = str(get_comet_version())
        self.EXPERIMENT_ALREADY_EXISTS = exceptions.EXPERIMENT_ALREADY_EXISTS
        self.HISTOGRAM_LIMIT_REACHED = exceptions.HISTOGRAM_LIMIT_REACHED
        self.RequestException: type[Exception] = requests.RequestException


_sdk: list[_Sdk] = []


def imported() -> _Sdk:
    """Imports the SDK once; what it does to this process by that is undone."""
    if not _sdk:
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        hook = sys.excepthook
        try:
            _sdk.append(_Sdk())
        except ImportError as error:
            raise MissingExtraError("comet", "comet", "comet_ml") from error
        finally:
            sys.excepthook = hook
        logging.getLogger("comet_ml").setLevel(logging.ERROR)
    return _sdk[0]
