/* What the two Python types of a command share: coroutine.c is the new one, future.c the one on its way. */
#ifndef AR_AWAITABLE_H
#define AR_AWAITABLE_H

#include "command.h"

#include <structmember.h>

/* The await protocol in three ways out: 1 finished (*value set), 0 pending, -1 with an exception set. */
int ar_awaitable_advance(ArCommand *self, PyObject **value);
/* Such a verdict as an iterator gives it, the value being what is yielded while it is pending. Steals
 * `value`. */
PyObject *ar_awaitable_iterate(int verdict, PyObject *value);
#if PY_VERSION_HEX >= 0x030A0000
/* Such a verdict as am_send gives it. */
PySendResult ar_awaitable_send_result(int verdict);
#endif
/* The result as a new reference, or NULL with what it failed with set. Only when finished. */
PyObject *ar_awaitable_outcome(ArCommand *self);
/* Sets CancelledError with the message of the cancellation. */
void ar_awaitable_set_cancelled_error(ArCommand *self);
/* Changes the type, once, from the coroutine's to the future's. */
void ar_awaitable_become_future(ArCommand *self);

/* Slots and accessors of both types. */
void ar_awaitable_dealloc(ArCommand *self);
void ar_awaitable_finalize(ArCommand *self);
int ar_awaitable_traverse(ArCommand *self, visitproc visit, void *arg);
int ar_awaitable_clear(ArCommand *self);
PyObject *ar_awaitable_repr(ArCommand *self);
PyObject *ar_awaitable_get_name(ArCommand *self, void *closure);
PyObject *ar_awaitable_get_qualname(ArCommand *self, void *closure);
int ar_awaitable_set_blocking(ArCommand *self, PyObject *value, void *closure);
extern PyMemberDef ar_awaitable_members[];

#define AR_AWAITABLE_GETSET                                                                        \
    {"__name__", (getter)ar_awaitable_get_name, NULL, NULL, NULL},                                 \
    {                                                                                              \
        "__qualname__", (getter)ar_awaitable_get_qualname, NULL, NULL, NULL                        \
    }
#define AR_AWAITABLE_SLOTS                                                                         \
    {Py_tp_dealloc, ar_awaitable_dealloc}, {Py_tp_finalize, ar_awaitable_finalize},                \
        {Py_tp_traverse, ar_awaitable_traverse}, {Py_tp_clear, ar_awaitable_clear},                \
        {Py_tp_repr, ar_awaitable_repr},                                                           \
    {                                                                                              \
        Py_tp_members, ar_awaitable_members                                                        \
    }
#define AR_AWAITABLE_FLAGS                                                                         \
    (Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION)

/* Makes one of the two types and adds it to the module. */
PyTypeObject *ar_awaitable_make_type(PyObject *module, PyType_Spec *spec, const char *name);

/* coroutine.c, future.c */
int ar_coroutine_setup(PyObject *module, ar_state *state);
int ar_future_setup(PyObject *module, ar_state *state);

#endif
