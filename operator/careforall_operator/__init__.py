"""The Kubernetes operator: keeps replicas, view refreshes, failovers and drills of a platform as its Platform object says.

Level-based: events and a clock wake a pass, pure planners (`reconcile`) decide, one module (`k8s`) writes. Whatever must survive
a restart is kept in the status of the objects; there is nothing in memory that cannot be read again.
"""

VERSION = "0.1.0"
GROUP = "careforall.dev"
API_VERSION = "careforall.dev/v1alpha1"
FIELD_MANAGER = "careforall-operator"
