"""Brings the definitions of this version into the cluster; the chart's pre-upgrade hook runs it, for Helm never upgrades them."""

import sys
from typing import Any

from lightkube import ApiError, Client
from lightkube.core.exceptions import ConfigError
from lightkube.generic_resource import create_global_resource

from careforall_operator.crds import definitions

HELM = "helm"
"""Who installs the definitions: with two owners, the next installation after an uninstall would meet a conflict."""
_DEFINITION: Any = create_global_resource("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions")


def apply_definitions() -> int:
    """Apply all definitions; return 0 when they are in, 1 when the API server refused one, 3 without a cluster."""
    try:
        client = Client(field_manager=HELM)
    except ConfigError as error:
        sys.stderr.write(f"careforall-operator: no cluster: {error}\n")
        return 3
    for definition in definitions().values():
        name = definition["metadata"]["name"]
        try:
            client.apply(_DEFINITION(definition), name, force=True)
        except ApiError as error:
            sys.stderr.write(f"careforall-operator: {name}: {error}\n")
            return 1
        sys.stdout.write(f"{name}: applied\n")
    return 0
