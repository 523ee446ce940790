/* Properties of commands by name, and the lane they imply. */
#ifndef AR_LANES_H
#define AR_LANES_H

#include "command.h"

/* AR_REPLAYABLE, AR_BLOCKING, AR_STATEFUL, AR_TAKES of a command; `argv` decides where the name alone does not
 * (XREAD with or without BLOCK, CLIENT TRACKING, "CLIENT" "TRACKING"). */
uint8_t ar_lanes_properties(PyObject *const *argv, Py_ssize_t argc);

/* The name as it may be shown (a new reference): what is given as the name may have arguments in it, as in
 * ("CONFIG SET requirepass secret"). NULL with MemoryError set. */
PyObject *ar_lanes_name(PyObject *name);

/* Seconds the server may keep a blocking command waiting: 0 for ever, -1 when it cannot be told. */
double ar_lanes_block_seconds(PyObject *const *argv, Py_ssize_t argc);

/* What a blocking command takes away from where, so that it can be put back. */
typedef enum {
    AR_TAKES_NOTHING,
    AR_TAKES_FIRST,          /* BLPOP: [key, value] */
    AR_TAKES_LAST,           /* BRPOP */
    AR_TAKES_SEVERAL,        /* BLMPOP: [key, [value...]] */
    AR_TAKES_SCORED,         /* BZPOPMIN, BZPOPMAX: [key, member, score] */
    AR_TAKES_SEVERAL_SCORED, /* BZMPOP: [key, [[member, score]...]] */
    AR_MOVES,                /* BLMOVE, BRPOPLPUSH: value */
} ar_taking;
ar_taking ar_lanes_taking(PyObject *name);

/* Where the word STREAMS is among the arguments of XREAD or XREADGROUP, which is `count` if it is not. `block`, if not
 * NULL, is what stands behind BLOCK (borrowed), or NULL. */
Py_ssize_t ar_lanes_find_streams(PyObject *const *rest, Py_ssize_t count, PyObject **block);

/* Whether the argument is `word` (in capitals), in whatever case. */
int ar_lanes_is_word(PyObject *argument, const char *word);

#endif
