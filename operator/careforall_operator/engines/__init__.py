"""Who elects primaries: Patroni, CloudNativePG, or somebody elsewhere. The operator reads them and asks, it never elects."""

from careforall_operator.engines.base import Engine, EngineRefused
from careforall_operator.engines.cloudnativepg import CloudNativePG
from careforall_operator.engines.external import External
from careforall_operator.engines.patroni import Patroni
from careforall_operator.models import EngineName

ENGINES: dict[EngineName, type[Engine]] = {"Patroni": Patroni, "CloudNativePG": CloudNativePG, "External": External}

__all__ = ["ENGINES", "Engine", "EngineRefused"]
