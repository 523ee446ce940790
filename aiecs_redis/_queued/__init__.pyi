"""`Pipeline` as type checkers see it; there is nothing of this package at runtime.

A command gives the pipeline itself, so that calls can be chained. After WATCH and before
MULTI commands run at once, and what they give is awaited.
"""

from typing import Generic

from aiecs_redis._commands.types import T_co
from aiecs_redis._queued.arrays import ArrayCommands
from aiecs_redis._queued.connection import ConnectionCommands
from aiecs_redis._queued.geo import GeoCommands
from aiecs_redis._queued.hashes import HashCommands
from aiecs_redis._queued.keys import KeyCommands
from aiecs_redis._queued.lists import ListCommands
from aiecs_redis._queued.pipeline import PipelineMethods
from aiecs_redis._queued.scripting import ScriptCommands
from aiecs_redis._queued.server import ServerCommands
from aiecs_redis._queued.sets import SetCommands
from aiecs_redis._queued.sorted_sets import SortedSetCommands
from aiecs_redis._queued.streams import StreamCommands
from aiecs_redis._queued.strings import StringCommands

class QueuedCommands(
    PipelineMethods[T_co],
    StringCommands[T_co],
    KeyCommands[T_co],
    HashCommands[T_co],
    ListCommands[T_co],
    SetCommands[T_co],
    SortedSetCommands[T_co],
    GeoCommands[T_co],
    StreamCommands[T_co],
    ArrayCommands[T_co],
    ScriptCommands[T_co],
    ConnectionCommands[T_co],
    ServerCommands[T_co],
    Generic[T_co],
): ...
