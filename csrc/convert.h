/* Replies to results: redis-py's response callbacks, the common ones natively. */
#ifndef AR_CONVERT_H
#define AR_CONVERT_H

#include "state.h"

/* The numbers under which aiecs_redis._bind registers the callbacks that have a native twin. */
enum {
    AR_CONVERT_BOOL_OK = 1, /* status -> True when it is OK */
    AR_CONVERT_SET,         /* SET: True, None, or the old value with GET */
    AR_CONVERT_BOOL,        /* bool(reply) */
    AR_CONVERT_PONG,        /* PING */
    AR_CONVERT_PY_SET,      /* list -> set */
    AR_CONVERT_PAIRS,       /* flat list -> dict */
    AR_CONVERT_FLOAT,       /* float(reply), None stays */
    AR_CONVERT_SCORES,      /* as it is, unless withscores was asked for */
    AR_CONVERT_IDENTITY,    /* as it is */
    AR_CONVERT_ZADD,        /* int, None stays */
};

/* Applies `callbacks[name]` (a dict with upper-case keys; may be NULL) to the reply, which it steals.
 * `options` are the callback's keyword arguments, or NULL. */
PyObject *ar_convert(ar_state *state, PyObject *callbacks, PyObject *name, PyObject *options,
                     PyObject *reply);

/* The same in two steps, for many replies: the number of the native twin of `callbacks[name]` (0: a
 * Python callback; AR_CONVERT_IDENTITY: no callback), and its application to a borrowed reply. */
int ar_convert_find(ar_state *state, PyObject *callbacks, PyObject *name, long *operation);
/* NULL without an exception: this reply is for the Python callback. */
PyObject *ar_convert_natively(long operation, PyObject *options, PyObject *reply);

#endif
