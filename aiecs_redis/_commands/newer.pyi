"""redis-py's classes that the oldest supported release lacks; type checkers see Any for those."""

from redis.commands.core import ArrayAggregateOperations as ArrayAggregateOperations  # type: ignore[attr-defined,unused-ignore]
from redis.commands.core import ArrayPredicateCombinator as ArrayPredicateCombinator  # type: ignore[attr-defined,unused-ignore]
from redis.commands.core import ArrayPredicateType as ArrayPredicateType  # type: ignore[attr-defined,unused-ignore]
from redis.commands.core import DataPersistOptions as DataPersistOptions  # type: ignore[attr-defined,unused-ignore]
from redis.commands.core import HotkeysMetricsTypes as HotkeysMetricsTypes  # type: ignore[attr-defined,unused-ignore]
from redis.driver_info import DriverInfo as DriverInfo  # type: ignore[import-not-found,unused-ignore]
from redis.typing import Subscription as Subscription  # type: ignore[attr-defined,unused-ignore]
