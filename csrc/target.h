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
    PyObject *python_class;     /* redis-py's own class: what the native methods fall back to */
    PyObject *native_method;    /* execute_command as the class shows it when nobody replaced it */
    unsigned int class_version; /* of the class when it was last looked at */
    PyObject *face;       /* weak reference to what Python calls by these methods, or NULL: self */
    PyObject *face_class; /* its class */
    int overridden;       /* execute_command is not ours in this class or instance */
    int diverted;         /* commands are to take redis-py's own way for now */
} ArTarget;

/* Whether the class, or the instance's own attributes, replace execute_command. */
int ar_target_check_override(ArTarget *self);

/* What the methods belong to in Python: a new reference; NULL with an exception set: it is gone. */
PyObject *ar_target_subject(ArTarget *self);
/* From now on the methods belong to `face`, which is to fall back to the methods of `python_class`. `method`:
 * what its class has for execute_command when nobody has replaced it. */
int ar_target_set_face(ArTarget *self, PyObject *face, PyObject *python_class, PyObject *method);
int ar_target_traverse(ArTarget *self, visitproc visit, void *arg);
void ar_target_clear(ArTarget *self);

static inline PyTypeObject *
ar_target_class(const ArTarget *self)
{
    return self->face_class != NULL ? (PyTypeObject *)self->face_class : Py_TYPE(self);
}

/* True when the command methods need not go through Python's execute_command. A class that was patched
 * since the last look has another version. */
static inline int
ar_target_is_direct(ArTarget *self)
{
    if (self->class_version != ar_target_class(self)->tp_version_tag &&
        ar_target_check_override(self) < 0) {
        PyErr_Clear(); /* no such attribute any more: redis-py's way will say so */
        return 0;
    }
    return !self->overridden && !self->diverted;
}

/* Calls python_class.<name>(self, ...) with the arguments of a fast call. */
PyObject *ar_target_fall_back(ArTarget *self, PyObject *name, PyObject *const *args,
                              Py_ssize_t nargs, PyObject *kwnames);

/* The module state by way of the class (any subclass of a type of ours). */
ar_state *ar_state_of_type(PyTypeObject *type);

#endif
