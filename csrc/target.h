/* What clients and pipelines have in common: command methods that end in one dispatch function. */
#ifndef AR_TARGET_H
#define AR_TARGET_H

#include "command.h"

struct ArTarget;

/* Sends (client) or queues (pipeline) a command; `options` may be NULL, `properties` are known. */
typedef PyObject *(*ar_dispatch)(struct ArTarget *self, PyObject *name, PyObject *const *rest,
                                 Py_ssize_t rest_count, PyObject *options, uint8_t properties);

typedef struct ArTarget {
    PyObject_HEAD
    ar_state *state;
    ar_dispatch dispatch;
    PyObject *python_class; /* redis-py's own class: what the native methods fall back to */
    int overridden;         /* execute_command is not ours in this class or instance */
    int diverted;           /* commands are to take redis-py's own way for now */
} ArTarget;

/* True when the command methods need not go through Python's execute_command. */
static inline int
ar_target_is_direct(const ArTarget *self)
{
    return !self->overridden && !self->diverted;
}

/* Calls python_class.<name>(self, ...) with the arguments of a fast call. */
PyObject *ar_target_fall_back(ArTarget *self, PyObject *name, PyObject *const *args,
                              Py_ssize_t nargs, PyObject *kwnames);

/* Whether the class, or the instance's own attributes, replace execute_command. */
int ar_target_check_override(ArTarget *self, PyObject *native_method);

/* The module state by way of the class (any subclass of a type of ours). */
ar_state *ar_state_of_type(PyTypeObject *type);

#endif
