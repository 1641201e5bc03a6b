"""Environment variables of others that must not reach a framework."""

import logging
import os
from collections.abc import Mapping

_log = logging.getLogger(__name__)

#: Why a variable is left out, and the variables, of what both frameworks call.
LIBRARIES = {
    "it would write between this program's results": "DNNL_VERBOSE ONEDNN_VERBOSE MKL_VERBOSE",
    "--precision decides": "DNNL_DEFAULT_FPMATH_MODE ONEDNN_DEFAULT_FPMATH_MODE",
}


def leave_out(reasons: Mapping[str, str]) -> None:
    """Take variables out of this process's environment, and name those that were there.

    :param reasons: by the reason, the names, separated by blanks
    """
    for reason, names in reasons.items():
        if found := [name for name in names.split() if os.environ.pop(name, "")]:
            _log.warning("Ignored from the environment: %s (%s)", ", ".join(found), reason)
