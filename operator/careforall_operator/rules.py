"""What the API server itself refuses: bounds of fields and CEL rules, written beside the fields they are about."""

from typing import Any

import msgspec
from msgspec import Meta

NAME = r"^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$"
VIEW = r"^[a-z_][a-z0-9_]{0,62}$"
RELATION = r"^[a-z_][a-z0-9_]{0,62}\.[a-z_][a-z0-9_]{0,62}$"
FIVE_FIELDS = "self.trim().split(' ').size() == 5"


class Rule(msgspec.Struct, frozen=True):
    """One CEL rule with what a person reads when it is broken; `field` says where the fault is shown."""

    rule: str
    message: str
    field: str = ""

    def schema(self) -> dict[str, str]:
        """Return the rule as the schema has it."""
        shown = {"rule": self.rule, "message": self.message}
        return {**shown, "fieldPath": self.field} if self.field else shown


def checked(*rules: Rule) -> Meta:
    """CEL rules for one field."""
    return Meta(extra_json_schema={"x-kubernetes-validations": [rule.schema() for rule in rules]})


def named_list(most: int) -> Meta:
    """A list of things with a `name` of their own: owners merge by name, and no name comes twice."""
    keys: dict[str, Any] = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
    return Meta(max_length=most, extra_json_schema=keys)


MOMENT = Meta(extra_json_schema={"format": "date-time"})
FIXED = Rule("self == oldSelf", "cannot be changed: make another Platform")
CRON = checked(Rule(FIVE_FIELDS, "a schedule has five fields: minute hour day month weekday"))
