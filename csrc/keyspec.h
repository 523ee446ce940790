/* Where the keys of a command are, by its name. */
#ifndef AR_KEYSPEC_H
#define AR_KEYSPEC_H

#include "state.h"

/* Positions among the arguments behind the name. */
typedef struct {
    Py_ssize_t first, last, step; /* the last one included */
    Py_ssize_t other;             /* one more key, before those; -1: none */
} ar_keys;

/* The position of the first key, and of the one behind `position`; -1: there is none. */
static inline Py_ssize_t
ar_keys_first(const ar_keys *keys)
{
    return keys->other >= 0 ? keys->other : keys->first;
}

static inline Py_ssize_t
ar_keys_next(const ar_keys *keys, Py_ssize_t position)
{
    Py_ssize_t next = position == keys->other ? keys->first : position + keys->step;
    return next <= keys->last ? next : -1;
}

/* 1: `keys` says where they are, and there is one at least. 0: the command has none, or is not known. */
int ar_keyspec_find(ar_state *state, PyObject *name, PyObject *const *rest, Py_ssize_t count,
                    ar_keys *keys);
/* Lets go of the names that are remembered. */
void ar_keyspec_forget(ar_state *state);

/* How a command whose keys are in several slots is put together again. */
typedef enum {
    AR_JOIN_NONE, /* it cannot be taken apart */
    AR_JOIN_LIST, /* MGET: values in the order of the keys */
    AR_JOIN_SUM,  /* DEL and the like: numbers of keys */
    AR_JOIN_OK,   /* MSET */
} ar_join;
ar_join ar_keyspec_join(PyObject *name);

#endif
