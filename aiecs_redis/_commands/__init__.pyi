"""`Redis` as type checkers see it; there is nothing of this package at runtime.

The signatures are redis-py's, the replies those of its default settings. What is not listed
here has redis-py's own annotations.
"""

from typing import Generic

from aiecs_redis._commands.arrays import ArrayCommands
from aiecs_redis._commands.client import ClientMethods
from aiecs_redis._commands.connection import ConnectionCommands
from aiecs_redis._commands.geo import GeoCommands
from aiecs_redis._commands.hashes import HashCommands
from aiecs_redis._commands.keys import KeyCommands
from aiecs_redis._commands.lists import ListCommands
from aiecs_redis._commands.scripting import ScriptCommands
from aiecs_redis._commands.server import ServerCommands
from aiecs_redis._commands.sets import SetCommands
from aiecs_redis._commands.sorted_sets import SortedSetCommands
from aiecs_redis._commands.streams import StreamCommands
from aiecs_redis._commands.strings import StringCommands
from aiecs_redis._commands.types import T_co

class Commands(
    ClientMethods[T_co],
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
